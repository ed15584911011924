//! Reads files of traces: our own events, OTLP/JSON as exporters and collectors write it, and what Tempo, Jaeger and
//! Zipkin save. Everything becomes OTLP first and goes through the one mapping, so a span of a file looks as if it had
//! been received. `tests/otlp.json` has the cases, for this reader and for the one of the page. A file comes from
//! anywhere: nothing may panic, and what is left out is counted. Pure, but for reading; the caller's thread runs it.

mod compact;
mod document;
mod file;
mod jaeger;
mod left_out;
mod otlp_events;
mod values;
mod zipkin;

#[cfg(test)]
mod tests;

pub use self::file::ImportedFile;
