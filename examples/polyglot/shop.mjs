// The Node service: serves the page, takes its orders, and asks the Rust service to reserve the goods.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as work } from "node:timers/promises";
import { SpanKind, context, propagation, trace } from "@opentelemetry/api";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { buildSync } from "esbuild";
import { telemetry } from "./telemetry.mjs";

const { LIVESPAN, WAREHOUSE } = process.env;
const provider = new NodeTracerProvider(telemetry("shop", randomUUID(), LIVESPAN));
provider.register();
const tracer = trace.getTracer("shop");
const here = (file) => new URL(file, import.meta.url).pathname;
const page = readFileSync(here("page.html"), "utf8").replace("<html", `<html data-livespan="${LIVESPAN}"`);
const script = buildSync({ entryPoints: [here("page.mjs")], bundle: true, format: "esm", write: false }).outputFiles[0].text;

async function span(name, options, run) {
  return tracer.startActiveSpan(name, options, async (span) => {
    try { return await run(); } finally { span.end(); }
  });
}

async function order() {
  await span("check cart", {}, () => work(600));
  return span("reserve", { kind: SpanKind.CLIENT }, async () => {
    const headers = {};
    propagation.inject(context.active(), headers);
    const answer = await fetch(`${WAREHOUSE}/reserve`, { method: "POST", headers });
    return answer.text();
  });
}

createServer(async (request, response) => {
  if (request.url === "/") return response.setHeader("content-type", "text/html").end(page);
  if (request.url === "/page.js") return response.setHeader("content-type", "text/javascript").end(script);
  if (request.method !== "POST" || request.url !== "/order") return response.writeHead(404).end();
  const caller = propagation.extract(context.active(), request.headers);
  const answer = await context.with(caller, () => span("POST /order", { kind: SpanKind.SERVER }, order));
  response.end(answer);
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });

// The parent process holds this one's standard input open. When the parent ends for any reason, the
// input closes and this process exits.
process.stdin.on("close", () => process.exit()).resume();
