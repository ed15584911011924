// Package startsender sends OpenTelemetry spans to livespan while they are still open.
// It needs the SDK and your OTLP exporter. Register it beside your own processor:
//
//	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL("http://127.0.0.1:4380/v1/traces"))
//	provider := trace.NewTracerProvider(trace.WithSpanProcessor(startsender.New(exporter)),
//		trace.WithBatcher(exporter, trace.WithBatchTimeout(200*time.Millisecond)))
//
// It sends a span that is still open after 100 ms. It sends the span again when it has changed (at most every 200 ms),
// and at least every 5 s, so that livespan knows that the span is still open. A shorter span costs one entry of a map.
// It follows at most 4,096 open spans. Livespan receives further spans only when they have ended.
//
// Up to v1.45.0, the SDK has a data race between reading and setting the attributes of an open span (#8706).
package startsender

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
)

type openSpan struct {
	trace.ReadOnlySpan
	due  time.Time
	sent string
}

type startSender struct {
	exporter trace.SpanExporter
	lock     sync.Mutex
	open     map[any]*openSpan // by span id
	stop     context.CancelFunc
}

// New returns a processor that exports open spans. It never closes the exporter: the processor that exports ended spans does.
func New(exporter trace.SpanExporter) trace.SpanProcessor {
	ctx, stop := context.WithCancel(context.Background())
	s := &startSender{exporter: exporter, open: map[any]*openSpan{}, stop: stop}
	go func() {
		timer := time.NewTicker(50 * time.Millisecond)
		defer timer.Stop()
		for ctx.Err() == nil {
			s.send(ctx, <-timer.C)
		}
	}()
	return s
}
func (s *startSender) OnStart(_ context.Context, span trace.ReadWriteSpan) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if len(s.open) < 4096 && span.SpanContext().IsSampled() {
		s.open[span.SpanContext().SpanID()] = &openSpan{ReadOnlySpan: span, due: time.Now().Add(100 * time.Millisecond)}
	}
}
func (s *startSender) OnEnd(span trace.ReadOnlySpan) {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.open, span.SpanContext().SpanID())
}
func (s *startSender) ForceFlush(context.Context) error { return nil }
func (s *startSender) Shutdown(context.Context) error   { s.stop(); return nil }
func (s *startSender) send(ctx context.Context, now time.Time) {
	var due []*openSpan
	var spans []trace.ReadOnlySpan
	s.lock.Lock()
	for _, span := range s.open {
		isChanged := span.sent != "" && now.After(span.due.Add(-4800*time.Millisecond)) && span.sent != describe(span)
		if len(spans) < 512 && (isChanged || now.After(span.due)) {
			span.sent = describe(span)
			due, spans = append(due, span), append(spans, span.ReadOnlySpan)
		}
	}
	s.lock.Unlock()
	if len(spans) > 0 {
		_ = s.exporter.ExportSpans(ctx, spans) // a failed batch is sent again after 5 s
	}
	for _, span := range due {
		span.due = time.Now().Add(5 * time.Second)
	}
}
func describe(s trace.ReadOnlySpan) string {
	return fmt.Sprint(s.Name(), s.Attributes(), s.Status(), len(s.Events()), len(s.Links()))
}
