"""Sends OpenTelemetry spans to livespan while they are still open.

It needs the SDK and your OTLP exporter. Register it beside your own processor:

    exporter = OTLPSpanExporter(endpoint="http://127.0.0.1:4380/v1/traces")
    provider.add_span_processor(StartSender(exporter))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))

It sends a span that is still open after 100 ms. It sends the span again when it has changed (at most every 200 ms),
and at least every 5 s, so that livespan knows that the span is still open. A shorter span costs one entry of a dict.
It follows at most 4,096 open spans. Livespan receives further spans only when they have ended.
"""
import contextlib, os, threading, time
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.trace import SpanProcessor

class StartSender(SpanProcessor):
    def __init__(self, exporter):
        self._exporter, self._stopped = exporter, False
        self._start()
        if hasattr(os, "register_at_fork"):  # a forked worker inherits no threads, and must not send the parent's spans
            os.register_at_fork(after_in_child=self._start)
    def _start(self):
        self._open, self._wake = {}, threading.Event()  # by span id: the span, its next send time, and its last sent state
        threading.Thread(target=self._run, name="StartSender", daemon=True).start()
    def on_start(self, span, parent_context=None):
        if span.context.trace_flags.sampled and len(self._open) < 4096:
            self._open[span.context.span_id] = [span, time.monotonic() + 0.1, None]
            if not self._wake.is_set():
                self._wake.set()
    def on_end(self, span):
        self._open.pop(span.context.span_id, None)
    def shutdown(self):  # the processor that exports ended spans closes the exporter
        self._stopped = True
        self._wake.set()
    def _run(self):
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # the exporter's own requests make no spans
        while self._wake.wait() and not self._stopped:
            time.sleep(0.05)
            with contextlib.suppress(Exception):  # a failed batch is sent again after 5 s
                self._send(time.monotonic())
            self._wake.clear()
            if self._open:  # read after `clear`, so that no start is missed
                self._wake.set()
    def _send(self, now):
        changed = lambda span, due, sent: sent and now >= due - 4.8 and sent != _describe(span)
        due = [entry for entry in list(self._open.values()) if now >= entry[1] or changed(*entry)][:512]
        for entry in due:
            entry[2] = _describe(entry[0])
        try:
            due and self._exporter.export([entry[0] for entry in due])
        finally:
            for entry in due:
                entry[1] = time.monotonic() + 5

def _describe(span):
    return span.name, dict(span.attributes), span.status.status_code, len(span.events), len(span.links)
