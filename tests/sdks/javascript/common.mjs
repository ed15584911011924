// Shared by the programs: the exporters of each protocol, and the conversion of the SDK's spans and
// log records to livespan's events. The contents of the SDK's own in-memory exporters are
// converted, not the sent bytes.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPTraceExporter as JsonTraces } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufTraces } from "@opentelemetry/exporter-trace-otlp-proto";
import { OTLPTraceExporter as GrpcTraces } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPLogExporter as JsonLogs } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPLogExporter as ProtobufLogs } from "@opentelemetry/exporter-logs-otlp-proto";
import { OTLPLogExporter as GrpcLogs } from "@opentelemetry/exporter-logs-otlp-grpc";

const [Traces, Logs] = {
  "http-json": [JsonTraces, JsonLogs],
  "http-proto": [ProtobufTraces, ProtobufLogs],
  grpc: [GrpcTraces, GrpcLogs],
}[process.argv[2]];
// The address comes from OTEL_EXPORTER_OTLP_ENDPOINT, as in any program.
export const traceExporter = () => new Traces();
export const logExporter = () => new Logs();

const KINDS = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

function time([seconds, nanos]) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
}

function status({ code, message }) {
  if (code === 2) return message === undefined ? { code: "ERROR" } : { code: "ERROR", message };
  return code === 1 ? { code: "OK", explicit: true } : { code: "OK" };
}

function unlessEmpty(name, list) {
  return list.length === 0 ? {} : { [name]: list };
}

function dropped(span) {
  const counts = {
    attributes: span.droppedAttributesCount,
    events: span.droppedEventsCount,
    links: span.droppedLinksCount,
  };
  return Object.values(counts).some((count) => count > 0) ? { dropped: counts } : {};
}

function scope({ name, version }) {
  return { scope: name, ...(version ? { scopeVersion: version } : {}) };
}

export function ended(span) {
  const { traceId, spanId, traceState } = span.spanContext();
  return {
    type: "ended",
    traceId,
    spanId,
    parentSpanId: span.parentSpanContext?.spanId ?? null,
    name: span.name,
    kind: KINDS[span.kind],
    service: span.resource.attributes["service.name"],
    ...scope(span.instrumentationScope),
    ...(traceState ? { traceState: traceState.serialize() } : {}),
    ...(span.parentSpanContext?.isRemote ? { parentRemote: true } : {}),
    status: status(span.status),
    attributes: span.attributes,
    startTimestamp: time(span.startTime),
    timestamp: time(span.endTime),
    ...unlessEmpty("events", span.events.map(({ name, time: at, attributes }) => ({ name, timestamp: time(at), attributes: attributes ?? {} }))),
    ...unlessEmpty("links", span.links.map(({ context, attributes }) => ({ traceId: context.traceId, spanId: context.spanId, attributes: attributes ?? {} }))),
    ...dropped(span),
  };
}

export function log(record) {
  return {
    type: "log",
    traceId: record.spanContext?.traceId ?? null,
    spanId: record.spanContext?.spanId ?? null,
    service: record.resource.attributes["service.name"],
    scope: record.instrumentationScope.name,
    severityNumber: record.severityNumber,
    severityText: record.severityText ?? SeverityNumber[record.severityNumber],
    body: record.body,
    attributes: record.attributes,
    timestamp: time(record.hrTime),
    observedTimestamp: time(record.hrTimeObserved),
    ...(record.eventName ? { eventName: record.eventName } : {}),
  };
}
