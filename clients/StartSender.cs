using System.Collections.Concurrent;
using System.Diagnostics;
using OpenTelemetry;

/// <summary>
/// Sends OpenTelemetry spans to livespan while they are still open. It needs the SDK and the OTLP exporter. Register it
/// beside your own exporter, with an exporter of its own:
/// <code>
/// var options = new OtlpExporterOptions { Endpoint = new("http://127.0.0.1:4380/v1/traces"), Protocol = OtlpExportProtocol.HttpProtobuf };
/// builder.AddProcessor(new StartSender(new OtlpTraceExporter(options))).AddOtlpExporter();
/// </code>
/// It sends a span that is still open after 100 ms. It sends the span again when it has changed (at most every 200 ms),
/// and at least every 5 s, so that livespan knows that the span is still open. A shorter span costs one entry of a map.
/// It follows at most 4,096 open spans. Livespan receives further spans only when they have ended.
/// </summary>
public sealed class StartSender : CompositeProcessor<Activity> // a composite passes the resource to the exporter
{
    private readonly ConcurrentDictionary<Activity, (long Due, string? Sent)> open = new();
    private readonly BaseExporter<Activity> exporter;
    private readonly Timer timer;
    private int count, sending;

    public StartSender(BaseExporter<Activity> exporter) : base([new SimpleActivityExportProcessor(exporter)])
    {
        this.exporter = exporter;
        timer = new Timer(_ => Send(Environment.TickCount64), null, 50, 50);
    }
    public override void OnStart(Activity span)
    {
        if (!span.Recorded || Volatile.Read(ref count) >= 4096) return;
        if (open.TryAdd(span, (Environment.TickCount64 + 100, null))) Interlocked.Increment(ref count);
    }
    public override void OnEnd(Activity span)
    {
        if (open.TryRemove(span, out _)) Interlocked.Decrement(ref count);
    }
    protected override void Dispose(bool disposing) { timer.Dispose(); base.Dispose(disposing); }
    private void Send(long now)
    {
        if (Interlocked.Exchange(ref sending, 1) == 1) return; // one request at a time
        try
        {
            bool IsChanged(Activity span, long due, string? sent) => sent != null && now >= due - 4800 && sent != Describe(span);
            var due = open.Where(e => now >= e.Value.Due || IsChanged(e.Key, e.Value.Due, e.Value.Sent)).Take(512).ToArray();
            var sent = due.Select(e => Describe(e.Key)).ToArray();
            try { if (due.Length > 0) exporter.Export(new Batch<Activity>(due.Select(e => e.Key).ToArray(), due.Length)); }
            finally // a failed batch is sent again after 5 s
            {
                for (var i = 0; i < due.Length; i++) open.TryUpdate(due[i].Key, (Environment.TickCount64 + 5000, sent[i]), due[i].Value);
            }
        }
        catch (Exception) { } // an exception here would end the program
        finally { Volatile.Write(ref sending, 0); }
    }
    private static string Describe(Activity s)
    {
        try { return $"{s.DisplayName} {s.Status} {s.Events.Count()} {s.Links.Count()} {string.Join(' ', s.TagObjects)}"; }
        catch (Exception) { return ""; } // a value that has no text
    }
}
