// Turns OpenTelemetry on, in the page and in the Node service alike.
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { StartSender } from "./start_sender.mjs"; // copied from `clients`

export function telemetry(service, instance, livespan) {
  const exporter = new OTLPTraceExporter({ url: `${livespan}/v1/traces` });
  return {
    resource: resourceFromAttributes({ "service.name": service, "service.instance.id": instance }),
    spanProcessors: [new StartSender(exporter), new BatchSpanProcessor(exporter, { scheduledDelayMillis: 200 })],
  };
}
