"""Forks while a span is open, like a server with workers. Prints the spans that the child's start sender exported while
a span of the child was open."""
import json, os, time
from opentelemetry.sdk.trace import TracerProvider
from start_sender import StartSender
from common import trace_exporter

exporter, sent = trace_exporter(), []


class Recording:
    def export(self, spans):
        sent.extend(span.name for span in spans)
        return exporter.export(spans)


provider = TracerProvider()
provider.add_span_processor(StartSender(Recording()))
tracer = provider.get_tracer("shop.worker")
parent = tracer.start_span("of the parent")
if os.fork() == 0:
    child = tracer.start_span("of the child")
    deadline = time.monotonic() + 60
    while "of the child" not in sent and time.monotonic() < deadline:
        time.sleep(0.01)
    print(json.dumps(sent), flush=True)
    os._exit(0)
os.wait()
