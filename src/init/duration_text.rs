//! Parses a duration as a person writes it: a whole number and its unit. Pure.

use std::time::Duration;

/// Returns the duration. Returns `None` unless the text is a number with `ms`, `s`, `m` or `h`, such as `500ms` or
/// `30s`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    let milliseconds = match text.get(digits.len()..)? {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let total = number.checked_mul(milliseconds)?;
    Some(Duration::from_millis(total))
}
