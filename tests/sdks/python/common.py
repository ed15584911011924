"""Shared by the programs: the exporters of each protocol, and the conversion of the SDK's spans and log records to
livespan's events. The contents of the SDK's own in-memory exporters are converted, not the sent bytes."""
import math, sys
from datetime import datetime, timezone

PROTOCOL = sys.argv[1]
if PROTOCOL.startswith("grpc"):
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    GZIP, NONE = grpc.Compression.Gzip, grpc.Compression.NoCompression
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    GZIP, NONE = Compression.Gzip, Compression.NoCompression

COMPRESSION = GZIP if PROTOCOL.endswith("-gzip") else NONE


# The address comes from OTEL_EXPORTER_OTLP_ENDPOINT, as in any program.
def trace_exporter():
    return OTLPSpanExporter(compression=COMPRESSION)


def log_exporter():
    return OTLPLogExporter(compression=COMPRESSION)


def time(nanos):
    whole = datetime.fromtimestamp(nanos // 1_000_000_000, timezone.utc)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanos % 1_000_000_000:09}Z"


def value(one):
    """Returns a value, and the name of its type if JSON cannot represent the type."""
    if isinstance(one, bool) or one is None or isinstance(one, str):
        return one, None
    if isinstance(one, int):
        return (one, None) if abs(one) < 2**53 else (str(one), "int")
    if isinstance(one, float):
        if math.isnan(one):
            return "NaN", "double"
        return (one, None) if math.isfinite(one) else ("Infinity" if one > 0 else "-Infinity", "double")
    if isinstance(one, bytes):
        return one.hex(), "bytes"
    if isinstance(one, (list, tuple)):
        values = [value(item) for item in one]
        name = next((name for _, name in values if name), None)
        return [item for item, _ in values], name and name + "[]"
    return {key: value(item)[0] for key, item in one.items()}, None


def attributes(of):
    pairs = {key: value(one) for key, one in (of or {}).items()}
    types = {key: name for key, (_, name) in pairs.items() if name}
    return {"attributes": {key: one for key, (one, _) in pairs.items()}} | ({"attributeTypes": types} if types else {})


def scope(one):
    return {"scope": one.name} | ({"scopeVersion": one.version} if one.version else {})


def hexadecimal(number, digits):
    return f"{number:0{digits}x}"


def status(one):
    name = one.status_code.name
    if name == "ERROR":
        return {"code": "ERROR"} | ({"message": one.description} if one.description else {})
    return {"code": "OK"} | ({"explicit": True} if name == "OK" else {})


def ended(span):
    context, parent = span.context, span.parent
    events = [{"name": e.name, "timestamp": time(e.timestamp)} | attributes(e.attributes) for e in span.events]
    links = [
        {"traceId": hexadecimal(k.context.trace_id, 32), "spanId": hexadecimal(k.context.span_id, 16)}
        | attributes(k.attributes)
        for k in span.links
    ]
    dropped = {"attributes": span.dropped_attributes, "events": span.dropped_events, "links": span.dropped_links}
    return (
        {
            "type": "ended",
            "traceId": hexadecimal(context.trace_id, 32),
            "spanId": hexadecimal(context.span_id, 16),
            "parentSpanId": parent and hexadecimal(parent.span_id, 16),
            "name": span.name,
            "kind": span.kind.name,
            "service": span.resource.attributes["service.name"],
            "status": status(span.status),
            "startTimestamp": time(span.start_time),
            "timestamp": time(span.end_time),
        }
        | scope(span.instrumentation_scope)
        | attributes(span.attributes)
        | ({"traceState": context.trace_state.to_header()} if context.trace_state else {})
        | ({"parentRemote": True} if parent and parent.is_remote else {})
        | ({"events": events} if events else {})
        | ({"links": links} if links else {})
        | ({"dropped": dropped} if any(dropped.values()) else {})
    )


def log(data):
    record = data.log_record
    return (
        {
            "type": "log",
            "traceId": hexadecimal(record.trace_id, 32) if record.trace_id else None,
            "spanId": hexadecimal(record.span_id, 16) if record.span_id else None,
            "service": data.resource.attributes["service.name"],
            "severityNumber": record.severity_number.value,
            "severityText": record.severity_text or record.severity_number.name,
            "body": value(record.body)[0],
            "timestamp": time(record.timestamp),
            "observedTimestamp": time(record.observed_timestamp),
            "scope": data.instrumentation_scope.name,
        }
        | attributes(record.attributes)
        | ({"eventName": record.event_name} if record.event_name else {})
    )
