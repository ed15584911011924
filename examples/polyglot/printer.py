"""The Python service: prints the label of a parcel, and reports its progress."""
import os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from start_sender import StartSender  # from `clients`

exporter = OTLPSpanExporter(endpoint=os.environ["LIVESPAN"] + "/v1/traces")
provider = TracerProvider(resource=Resource.create({"service.name": "printer"}))
provider.add_span_processor(StartSender(exporter))
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
tracer = provider.get_tracer("printer")


class Printer(BaseHTTPRequestHandler):
    def do_POST(self):
        caller = propagate.extract(self.headers)
        with tracer.start_as_current_span("print label", context=caller, kind=SpanKind.SERVER) as span:
            span.set_attributes({"progress.total": 20, "progress.units": "lines"})
            for line in range(1, 21):
                time.sleep(0.2)
                span.set_attribute("progress.current", line)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"label is printed")

    def log_message(self, *_):
        pass


def end_with_parent():
    """Exits when standard input closes: the parent process holds it open, so this process ends with its parent."""
    while sys.stdin.buffer.raw.read(1024):
        pass
    os._exit(0)


server = ThreadingHTTPServer(("127.0.0.1", 0), Printer)
threading.Thread(target=end_with_parent, daemon=True).start()
print(server.server_port, flush=True)
server.serve_forever()
