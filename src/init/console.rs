//! Formats the fields of a span for the console like `tracing_subscriber::fmt()`, but leaves out later records that
//! have only progress fields. `fmt()` appends each recorded value to the earlier ones, so the line of a long job would
//! grow with each step.

use std::fmt;

use tracing::{
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FormatFields, FormattedFields,
        format::{DefaultFields, Writer},
    },
};

/// Upper bound on the text of one span's fields, in bytes. Values recorded after that are not printed.
const TEXT_BYTES_MAX: usize = 4_096;

/// Formats fields for the console.
#[derive(Debug, Default)]
pub(super) struct ConsoleFields(DefaultFields);

impl<'w> FormatFields<'w> for ConsoleFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let mut steps = Steps { only: true };
        fields.record(&mut steps);
        if steps.only || current.fields.len() > TEXT_BYTES_MAX {
            return Ok(());
        }
        if !current.fields.is_empty() {
            current.fields.push(' ');
        }
        self.0.format_fields(current.as_writer(), fields)
    }
}

/// Checks whether all fields report progress.
struct Steps {
    only: bool,
}

impl Visit for Steps {
    fn record_debug(&mut self, field: &Field, _value: &dyn fmt::Debug) {
        self.only &= field.name().starts_with("progress.");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{Span, info, info_span, subscriber::with_default};
    use tracing_subscriber::{fmt, fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Printed {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Printed {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// Returns the lines that `work` prints, without time and level.
    fn printed(work: impl FnOnce()) -> Vec<String> {
        let printed = Printed::default();
        let console = fmt::layer()
            .fmt_fields(ConsoleFields::default())
            .with_writer(printed.clone())
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false);
        with_default(tracing_subscriber::registry().with(console), work);
        let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn job() -> Span {
        info_span!(
            "job",
            file = "a.csv",
            progress.current = 0,
            rows = tracing::field::Empty,
            note = tracing::field::Empty
        )
    }

    #[test]
    fn steps_of_a_loop_do_not_make_the_line_longer() {
        let lines = printed(|| {
            let _job = job().entered();
            for step in 0..1_000 {
                Span::current().record("progress.current", step);
            }
            Span::current().record("rows", 7);
            info!(answer = 42, "done");
        });
        assert_eq!(
            lines,
            [r#"job{file="a.csv" progress.current=0 rows=7}: done answer=42"#]
        );
    }

    #[test]
    fn other_values_beyond_the_bound_are_not_printed() {
        let lines = printed(|| {
            let _job = job().entered();
            for _ in 0..10_000 {
                Span::current().record("note", "again");
            }
            info!("done");
        });
        let length = lines.first().map_or(0, String::len);
        assert!(
            (TEXT_BYTES_MAX..TEXT_BYTES_MAX + 100).contains(&length),
            "{length}"
        );
    }
}
