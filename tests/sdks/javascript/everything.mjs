// Makes spans and log records with every feature of the SDK, sends them, and prints the contents of
// the SDK's in-memory exporters as livespan's events.
import { SpanKind, SpanStatusCode, context, createTraceState, trace } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { InMemoryLogRecordExporter, BatchLogRecordProcessor, LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { BatchSpanProcessor, InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { ended, log, logExporter, traceExporter } from "./common.mjs";

const resource = resourceFromAttributes({ "service.name": "shop", "service.instance.id": "one", "host.name": "test" });
const spans = new InMemorySpanExporter();
const provider = new NodeTracerProvider({
  resource,
  spanLimits: { attributeCountLimit: 16, eventCountLimit: 4 },
  spanProcessors: [new SimpleSpanProcessor(spans), new BatchSpanProcessor(traceExporter())],
});
provider.register();
const logs = new InMemoryLogRecordExporter();
const loggers = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter: logs }), new BatchLogRecordProcessor({ exporter: logExporter() })] });
const tracer = provider.getTracer("shop.checkout", "1.2.3");
const logger = loggers.getLogger("shop.log", "4.5");

const remote = trace.setSpanContext(context.active(), {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7", traceFlags: 1, isRemote: true,
  traceState: createTraceState("vendor=value"),
});
tracer.startActiveSpan("order", { kind: SpanKind.SERVER }, remote, (order) => {
  order.setAttributes({
    text: "na\u00efve \u{1f680}\u0000\"\\\n", empty: "", yes: true, no: false, int: 42, negative: -7, zero: 0, largest: Number.MAX_SAFE_INTEGER,
    double: 0.1, tiny: 5e-324, texts: ["a", "", "\u00e9"], ints: [1, -2, 3], doubles: [0.5, -1.25], bools: [true, false], none: [],
  });
  order.addEvent("reserved", { "stock.left": 3, warehouse: "north" });
  order.addEvent("packed");
  logger.emit({ severityNumber: SeverityNumber.WARN, severityText: "WARN", body: "stock is low", attributes: { left: 3 } });
  logger.emit({ severityNumber: SeverityNumber.INFO, body: { order: 7, items: ["a", "b"], paid: false }, eventName: "order.state" });
  const card = tracer.startSpan("charge card", {
    kind: SpanKind.CLIENT,
    links: [{ context: { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", traceFlags: 1 }, attributes: { why: "retry" } }],
  });
  card.recordException(Object.assign(new Error("card declined"), { stack: "Error: card declined\n    at charge" }));
  card.setStatus({ code: SpanStatusCode.ERROR, message: "card declined" });
  card.end();
  const limited = tracer.startSpan("limited", { kind: SpanKind.PRODUCER });
  for (let n = 0; n < 20; n += 1) limited.setAttribute(`n${n}`, n).addEvent(`e${n}`);
  limited.setStatus({ code: SpanStatusCode.OK }).updateName("limited, renamed").end();
  tracer.startSpan("consume", { kind: SpanKind.CONSUMER }).end();
  tracer.startSpan("compute").setStatus({ code: SpanStatusCode.ERROR }).end();
  order.end();
});

await loggers.forceFlush();
await provider.forceFlush();
console.log(JSON.stringify({
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  resource: resource.attributes,
  spans: spans.getFinishedSpans().map(ended),
  logs: logs.getFinishedLogRecords().map(log),
}));
await Promise.all([loggers.shutdown(), provider.shutdown()]);
