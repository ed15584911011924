import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.*;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.*;
import java.util.concurrent.*;

/**
 * Sends OpenTelemetry spans to livespan while they are still open. It needs the SDK and your OTLP exporter. Register it
 * beside your own processor:
 *
 * <pre>
 * var exporter = OtlpHttpSpanExporter.builder().setEndpoint("http://127.0.0.1:4380/v1/traces").build();
 * SdkTracerProvider.builder()
 *     .addSpanProcessor(new StartSender(exporter))
 *     .addSpanProcessor(BatchSpanProcessor.builder(exporter).setScheduleDelay(Duration.ofMillis(200)).build())
 * </pre>
 *
 * It sends a span that is still open after 100 ms. It sends the span again when it has changed (at most every 200 ms),
 * and at least every 5 s, so that livespan knows that the span is still open. A shorter span costs one entry of a map.
 * It follows at most 4,096 open spans. Livespan receives further spans only when they have ended.
 */
public final class StartSender implements SpanProcessor {
  private static final class Open { ReadableSpan span; long due; SpanData sent; }
  private final Map<String, Open> open = new ConcurrentHashMap<>(); // by span id
  private final SpanExporter exporter;
  private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(task -> {
    Thread thread = new Thread(task, "StartSender");
    thread.setDaemon(true);
    return thread;
  });
  public StartSender(SpanExporter exporter) {
    this.exporter = exporter;
    timer.scheduleWithFixedDelay(() -> {
      try { send(); } catch (RuntimeException e) { /* an exception here would end the timer */ }
    }, 50, 50, TimeUnit.MILLISECONDS);
  }
  @Override public boolean isStartRequired() { return true; }
  @Override public boolean isEndRequired() { return true; }
  @Override public void onStart(Context parent, ReadWriteSpan span) {
    if (open.size() >= 4096 || !span.getSpanContext().isSampled()) return;
    Open entry = new Open();
    entry.span = span;
    entry.due = System.nanoTime() + 100_000_000L;
    open.put(span.getSpanContext().getSpanId(), entry);
  }
  @Override public void onEnd(ReadableSpan span) { open.remove(span.getSpanContext().getSpanId()); }
  @Override public CompletableResultCode shutdown() { timer.shutdownNow(); return CompletableResultCode.ofSuccess(); }
  private void send() {
    List<Open> due = new ArrayList<>();
    List<SpanData> spans = new ArrayList<>();
    for (Open entry : open.values()) {
      if (spans.size() == 512) break;
      long late = System.nanoTime() - entry.due;
      boolean mayHaveChanged = entry.sent != null && late >= -4_800_000_000L;
      if (late < 0 && !(mayHaveChanged && !entry.sent.equals(entry.span.toSpanData()))) continue;
      due.add(entry);
      entry.sent = entry.span.toSpanData();
      if (!entry.sent.hasEnded()) spans.add(entry.sent);
    }
    try {
      if (!spans.isEmpty()) exporter.export(spans).join(10, TimeUnit.SECONDS); // a failed batch is sent again after 5 s
    } finally {
      for (Open entry : due) entry.due = System.nanoTime() + 5_000_000_000L;
    }
  }
}
