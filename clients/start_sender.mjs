// Sends OpenTelemetry spans to livespan while they are still open. For Node and for browsers.
// It needs @opentelemetry/api, @opentelemetry/core and your OTLP exporter. Register it beside your own processor:
//
//   const exporter = new OTLPTraceExporter({ url: "http://127.0.0.1:4380/v1/traces" });
//   spanProcessors: [new StartSender(exporter), new BatchSpanProcessor(exporter, { scheduledDelayMillis: 200 })]
//
// It sends a span that is still open after 100 ms. It sends the span again when it has changed (at most every 200 ms),
// and at least every 5 s, so that livespan knows that the span is still open. A shorter span costs one entry of a map.
// It follows at most 4,096 open spans. Livespan receives further spans only when they have ended.
import { context } from "@opentelemetry/api";
import { suppressTracing } from "@opentelemetry/core";

function describe({ name, attributes, status, events, links }) {
  try { return JSON.stringify([name, attributes, status, events.length, links.length]); } catch { return ""; }
}

export class StartSender {
  #open = new Map(); // span → its next send time, and its last sent state
  #exporter;
  #timer;
  #isSending = false;
  constructor(exporter) { this.#exporter = exporter; }
  onStart(span) {
    if (this.#open.size >= 4096 || !(span.spanContext().traceFlags & 1)) return;
    this.#open.set(span, { due: performance.now() + 100 });
    if (this.#timer === undefined) (this.#timer = setInterval(() => this.#send(performance.now()), 50)).unref?.();
  }
  onEnd(span) { this.#open.delete(span); }
  async forceFlush() {}
  async shutdown() { this.#open.clear(); } // the processor that exports ended spans closes the exporter
  async #send(now) {
    if (this.#open.size === 0) this.#timer = clearInterval(this.#timer);
    const isDue = ([span, { due, sent }]) => now >= due || (sent !== undefined && now >= due - 4800 && sent !== describe(span));
    const due = this.#isSending ? [] : [...this.#open].filter(isDue).slice(0, 512);
    if (due.length === 0) return;
    this.#isSending = true;
    for (const [span, entry] of due) entry.sent = describe(span);
    const spans = due.map(([span]) => span);
    await Promise.all(spans.map((span) => span.resource.waitForAsyncAttributes?.())).catch(() => {});
    const send = (done) => this.#exporter.export(spans.filter((span) => !span.ended), done);
    await new Promise((done) => context.with(suppressTracing(context.active()), send, undefined, done)).catch(() => {});
    for (const [, entry] of due) entry.due = performance.now() + 5000;
    this.#isSending = false;
  }
}
