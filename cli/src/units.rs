//! Parses values with units, from the command line and the configuration. Pure.

use std::{fmt::Write as _, time::Duration};

/// Parses a duration such as `500ms`, `30s`, `5m`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is not a duration such as 500ms, 30s, 5m, 1h or 7d");
    let (number, unit) = split(text).ok_or_else(refused)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    let total = number.checked_mul(milliseconds).ok_or_else(refused)?;
    Ok(Duration::from_millis(total))
}

/// Parses a duration as [`duration`] does, or a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text),
    }
}

/// Parses a size such as `64MiB`, `8GiB`, `500MB` or `1048576`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let refused = || format!("{text:?} is not a size such as 64MiB, 8GiB or 500MB");
    let (number, unit) = split(text).ok_or_else(refused)?;
    let factor = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(refused()),
    };
    let total = number.checked_mul(factor).ok_or_else(refused)?;
    usize::try_from(total).map_err(|_too_large| refused())
}

/// Splits a number from its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.parse().ok()?, unit))
}

/// Percent-encodes every byte except the unreserved ones (RFC 3986, section 2.3), for a query or a
/// header.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _written = write!(out, "%{byte:02X}").is_ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        let known = [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ];
        for (text, milliseconds) in known {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1w",
            "99999999999999999d",
        ] {
            let expected = format!("{text:?} is not a duration such as 500ms, 30s, 5m, 1h or 7d");
            assert_eq!(duration(text), Err(expected));
        }
    }

    #[test]
    fn a_size_is_of_bytes_unless_it_has_a_unit() {
        for (text, expected) in [
            ("7", 7),
            ("2KiB", 2_048),
            ("3MB", 3_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "1 GiB", "1Gib", "-1", "99999999999GiB"] {
            let expected = format!("{text:?} is not a size such as 64MiB, 8GiB or 500MB");
            assert_eq!(bytes(text), Err(expected));
        }
    }
}
