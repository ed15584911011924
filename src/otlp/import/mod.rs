//! Reads trace files: livespan's own events, OTLP/JSON from exporters and collectors, and files of
//! Tempo, Jaeger and Zipkin. Everything except livespan's own events is first converted to OTLP and
//! then uses the same mapping as received requests, so an imported span looks like a received one.
//! The test cases, for this reader and for the page's, are in `tests/otlp.json`. A file is
//! untrusted: no input may cause a panic, and parts that are left out are counted. Pure, except for
//! reading the input; the caller's thread runs it.

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
