// Keeps a span open until standard input ends it: `set` adds an attribute, `end` ends the span. It
// uses a copy of the start sender, as users do, and prints what the start sender exported.
import readline from "node:readline";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { StartSender } from "./start_sender.mjs";
import { traceExporter } from "./common.mjs";

const exporter = traceExporter();
const sent = [];
const recording = { export: (spans, done) => { sent.push(...spans.map(({ name, ended }) => ({ name, ended }))); exporter.export(spans, done); } };
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "shop", "service.instance.id": "one" }),
  spanProcessors: [new StartSender(recording), new BatchSpanProcessor(exporter, { scheduledDelayMillis: 50 })],
});
const tracer = provider.getTracer("shop.checkout");
const span = tracer.startSpan("long", { attributes: { rows: 0 } });
for (let n = 0; n < 100; n += 1) tracer.startSpan("short").end();
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line === "set") span.setAttribute("rows", 7);
  if (line === "end") break;
}
span.end();
await provider.shutdown();
console.log(JSON.stringify(sent));
process.exit(0);
