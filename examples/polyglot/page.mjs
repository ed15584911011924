// The page: each order is a trace that begins here. The first order goes out when the page opens.
import { SpanKind, context, propagation, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { telemetry } from "./telemetry.mjs";

const livespan = document.documentElement.dataset.livespan;
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
const tracer = new BasicTracerProvider(telemetry("page", crypto.randomUUID(), livespan)).getTracer("page");

async function order() {
  const span = tracer.startSpan("order", { kind: SpanKind.CLIENT });
  document.querySelector("a").href = `${livespan}/?trace=${span.spanContext().traceId}`;
  document.querySelector("output").textContent = "ordering …";
  const headers = {};
  propagation.inject(trace.setSpan(context.active(), span), headers);
  const answer = await fetch("order", { method: "POST", headers });
  document.querySelector("output").textContent = await answer.text();
  span.end();
}

document.querySelector("button").addEventListener("click", order);
order();
