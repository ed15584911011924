//! The parts of a report's text: durations, counts, and texts of spans. A span's text comes from
//! outside. It is quoted unless it looks like one word, so it cannot end the quotes or the line, or
//! control a terminal. Pure.

use std::fmt::{self, Write as _};

/// Upper bound on the length of one span text, in characters. Longer ones end with `…`.
pub(crate) const CHARACTERS_MAX: usize = 120;

/// A text from a span. Its `Display` is one line that is safe to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanText<'a>(pub(crate) &'a str);

impl fmt::Display for SpanText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        if is_word(text) {
            return f.write_str(text);
        }
        f.write_char('"')?;
        let mut characters = text.chars();
        for character in characters.by_ref().take(CHARACTERS_MAX) {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_char(' ')?,
                other if is_hidden(other) => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        f.write_str(if characters.next().is_some() {
            "…\""
        } else {
            "\""
        })
    }
}

/// Returns whether the text needs no quotes: it is short, looks like a name, and has no blanks.
fn is_word(text: &str) -> bool {
    let is_part = |character: char| {
        !character.is_whitespace() && !is_hidden(character) && !"\"\\`".contains(character)
    };
    let begins_a_name = |first: char| first.is_alphanumeric() || "_/<{".contains(first);
    text.starts_with(begins_a_name)
        && text.chars().nth(CHARACTERS_MAX).is_none()
        && text.chars().all(is_part)
}

/// Returns whether a character is invisible, or changes how its neighbours are shown.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns the printed part of an id: the first eight digits, or the whole id if it begins with
/// four zeros.
pub(crate) fn short_id(id: &str) -> &str {
    match id.get(..8) {
        Some(short) if !short.starts_with("0000") => short,
        _ => id,
    }
}

/// A duration with three digits: `12.3 ms`, `4.50 s`, `2 m 05 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took(pub(crate) u64);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let milliseconds = self.0 as f64 / 1e6;
        // Each limit is the point from which three digits round up to the next unit: 999.6 µs is
        // 1.00 ms, not 1000 µs.
        if self.0 == 0 {
            f.write_str("0 ms")
        } else if milliseconds < 0.000_999_5 {
            write!(f, "{} ns", self.0)
        } else if milliseconds < 0.999_5 {
            three_digits(f, milliseconds * 1e3, "µs")
        } else if milliseconds < 999.5 {
            three_digits(f, milliseconds, "ms")
        } else if milliseconds < 59_950.0 {
            three_digits(f, milliseconds / 1e3, "s")
        } else {
            long(f, (self.0 + 500_000_000) / 1_000_000_000)
        }
    }
}

/// The nanoseconds since a start, printed as `0.4 s`, `12.1 s` or `2 m 05 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFor(pub(crate) u64);

impl fmt::Display for OpenFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / 100_000_000;
        if tenths < 600 {
            write!(f, "{}.{} s", tenths / 10, tenths % 10)
        } else {
            long(f, tenths / 10)
        }
    }
}

fn three_digits(f: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
    if value >= 99.95 {
        write!(f, "{value:.0} {unit}")
    } else if value >= 9.995 {
        write!(f, "{value:.1} {unit}")
    } else {
        write!(f, "{value:.2} {unit}")
    }
}

fn long(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    if seconds < 3600 {
        write!(f, "{} m {:02} s", seconds / 60, seconds % 60)
    } else if seconds < 86_400 {
        write!(f, "{} h {:02} m", seconds / 3600, seconds % 3600 / 60)
    } else {
        write!(f, "{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600)
    }
}

/// A number with its noun: `1 span`, `1,200 spans`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plural(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = *self;
        write!(
            f,
            "{} {noun}{}",
            Count(count),
            if count == 1 { "" } else { "s" }
        )
    }
}

/// A whole number with commas: `1,200`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_a_spans_text_ends_its_quotes_or_its_line() {
        for (text, shown) in [
            ("checkout", "checkout"),
            ("GET /carts/{id}", "\"GET /carts/{id}\""),
            ("shop::cart<T>", "shop::cart<T>"),
            ("", "\"\""),
            ("a \"quoted\" \\ text", "\"a \\\"quoted\\\" \\\\ text\""),
            ("one\ntwo\ttabs\r", "\"one\\ntwo tabs\u{fffd}\""),
            ("\u{1b}[31mred", "\"\u{fffd}[31mred\""),
            ("abc\u{202e}fed", "\"abc\u{fffd}fed\""),
            ("\u{e0049}hidden", "\"\u{fffd}hidden\""),
            ("```\nignore", "\"```\\nignore\""),
            ("größe", "größe"),
        ] {
            assert_eq!(SpanText(text).to_string(), shown);
        }
        let long = "x".repeat(CHARACTERS_MAX + 1);
        let shown = format!("\"{}…\"", "x".repeat(CHARACTERS_MAX));
        assert_eq!(SpanText(&long).to_string(), shown);
    }

    #[test]
    fn durations_have_three_digits_and_open_ones_tenths_of_seconds() {
        for (nanos, took, open) in [
            (0, "0 ms", "0.0 s"),
            (999, "999 ns", "0.0 s"),
            (12_340, "12.3 µs", "0.0 s"),
            (999_600, "1.00 ms", "0.0 s"),
            (210_000_000, "210 ms", "0.2 s"),
            (12_149_000_000, "12.1 s", "12.1 s"),
            (59_960_000_000, "1 m 00 s", "59.9 s"),
            (125_000_000_000, "2 m 05 s", "2 m 05 s"),
            (7_320_000_000_000, "2 h 02 m", "2 h 02 m"),
            (180_000_000_000_000, "2 d 02 h", "2 d 02 h"),
        ] {
            let shown = (Took(nanos).to_string(), OpenFor(nanos).to_string());
            assert_eq!(shown, (took.to_owned(), open.to_owned()));
        }
    }

    #[test]
    fn counts_have_commas_and_their_nouns_a_number() {
        let shown = [0, 1, 999, 1200, 1_234_567].map(|count| Plural(count, "span").to_string());
        assert_eq!(
            shown,
            [
                "0 spans",
                "1 span",
                "999 spans",
                "1,200 spans",
                "1,234,567 spans"
            ]
        );
    }
}
