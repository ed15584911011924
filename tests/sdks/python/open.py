"""Keeps a span open until standard input ends it: `set` adds an attribute, `end` ends the span. It uses a copy of the
start sender, as users do, and prints what the start sender exported."""
import json, sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from start_sender import StartSender
from common import trace_exporter

exporter, sent = trace_exporter(), []


class Recording:
    def export(self, spans):
        sent.extend({"name": span.name, "ended": span.end_time is not None} for span in spans)
        return exporter.export(spans)


provider = TracerProvider(resource=Resource({"service.name": "shop", "service.instance.id": "one"}))
provider.add_span_processor(StartSender(Recording()))
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50))
tracer = provider.get_tracer("shop.checkout")
span = tracer.start_span("long", attributes={"rows": 0})
for _ in range(100):
    tracer.start_span("short").end()
for line in sys.stdin:
    if line == "set\n":
        span.set_attribute("rows", 7)
    elif line == "end\n":
        break
span.end()
provider.shutdown()
print(json.dumps(sent))
