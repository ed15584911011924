"""Makes spans and log records with every feature of the SDK, sends them, and prints the contents of the SDK's in-memory
exporters as livespan's events."""
import json, time
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from common import ended, log, log_exporter, trace_exporter, value

resource = Resource({"service.name": "shop", "service.instance.id": "one", "host.name": "test", "cores": 2})
spans, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_span_attributes=20, max_events=4))
provider.add_span_processor(SimpleSpanProcessor(spans))
provider.add_span_processor(BatchSpanProcessor(trace_exporter()))
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
loggers.add_log_record_processor(BatchLogRecordProcessor(log_exporter()))
tracer, logger = provider.get_tracer("shop.checkout", "1.2.3"), loggers.get_logger("shop.log", "4.5")


def emit(body, severity, **more):
    now = time.time_ns()
    logger.emit(LogRecord(timestamp=now - 1000, observed_timestamp=now, body=body, severity_number=severity, **more))


TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
remote = SpanContext(TRACE, 0x00F067AA0BA902B7, True, TraceFlags(1), TraceState([("vendor", "value")]))
parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
with tracer.start_as_current_span("order", context=parent, kind=SpanKind.SERVER) as order:
    order.set_attributes({
        "text": "na\u00efve \U0001f680\0\"\\\n", "empty": "", "yes": True, "no": False, "int": 42, "negative": -7,
        "largest": 2**63 - 1, "smallest": -(2**63), "double": 0.1, "whole": 3.0, "tiny": 5e-324, "nan": float("nan"),
        "infinite": [float("inf"), float("-inf"), 1.5], "texts": ["a", "", "\u00e9"], "ints": [1, -2, 2**60],
        "bools": [True, False], "none": [], "bytes": b"\x00\xff",
    })  # fmt: skip
    order.add_event("reserved", {"stock.left": 3, "share": 0.5})
    order.add_event("packed")
    emit("stock is low", SeverityNumber.WARN, severity_text="WARN", attributes={"left": 3})
    emit({"order": 7, "items": ["a", "b"], "paid": False}, SeverityNumber.INFO, event_name="order.state")
    emit(b"\x01\x02", SeverityNumber.DEBUG)
    again = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False)
    card = tracer.start_span("charge card", kind=SpanKind.CLIENT, links=[Link(again, {"why": "retry"})])
    card.record_exception(ValueError("card declined"))
    card.set_status(Status(StatusCode.ERROR, "card declined"))
    card.end()
    limited = tracer.start_span("limited", kind=SpanKind.PRODUCER)
    for n in range(24):
        limited.set_attribute(f"n{n}", n)
        limited.add_event(f"e{n}")
    limited.set_status(Status(StatusCode.OK))
    limited.update_name("limited, renamed")
    limited.end()
    tracer.start_span("consume", kind=SpanKind.CONSUMER).end()
    try:
        with tracer.start_as_current_span("compute"):
            raise KeyError("total")
    except KeyError:
        pass

loggers.force_flush()
provider.force_flush()
print(json.dumps({
    "traceId": f"{TRACE:032x}",
    "resource": {key: value(one)[0] for key, one in resource.attributes.items()},
    "spans": [ended(span) for span in spans.get_finished_spans()],
    "logs": [log(record) for record in logs.get_finished_logs()],
}))
loggers.shutdown()
provider.shutdown()
