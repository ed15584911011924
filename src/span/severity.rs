//! Severities of log records: OpenTelemetry's numbers 1 to 24, and their names. Pure; any thread calls it.

/// The names in steps of four numbers, from 1.
const NAMES: [[&str; 4]; 6] = [
    ["TRACE", "TRACE2", "TRACE3", "TRACE4"],
    ["DEBUG", "DEBUG2", "DEBUG3", "DEBUG4"],
    ["INFO", "INFO2", "INFO3", "INFO4"],
    ["WARN", "WARN2", "WARN3", "WARN4"],
    ["ERROR", "ERROR2", "ERROR3", "ERROR4"],
    ["FATAL", "FATAL2", "FATAL3", "FATAL4"],
];

/// Other common names, with the numbers that OpenTelemetry's data model assigns to them.
const ALIASES: [(&str, u8); 6] = [
    ("INFORMATION", 9),
    ("NOTICE", 10),
    ("WARNING", 13),
    ("CRITICAL", 18),
    ("ALERT", 19),
    ("EMERGENCY", 21),
];

/// Returns the name of a number. It is empty if the number is not a severity.
pub(crate) fn severity_name(number: u8) -> &'static str {
    let index = usize::from(number.wrapping_sub(1));
    let names = NAMES.get(index / 4);
    names.and_then(|names| names.get(index % 4)).unwrap_or(&"")
}

/// Returns the number of a name, in any case, or `None` for other texts.
pub(crate) fn severity_number(name: &str) -> Option<u8> {
    let named = NAMES.as_flattened().iter().zip(1..);
    let named = named.map(|(name, number)| (*name, number));
    let mut all = named.chain(ALIASES);
    all.find(|(one, _)| one.eq_ignore_ascii_case(name))
        .map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::{severity_name, severity_number};

    #[test]
    fn every_number_has_a_name_that_reads_back() {
        for number in 1..=24 {
            assert_eq!(severity_number(severity_name(number)), Some(number));
        }
        assert_eq!([0, 25, 255].map(severity_name), ["", "", ""]);
    }

    #[test]
    fn names_are_read_in_any_case() {
        let cases = [
            ("info", Some(9)),
            ("Warning", Some(13)),
            ("ERROR3", Some(19)),
            ("fatal", Some(21)),
            ("", None),
            ("9", None),
            ("INFO5", None),
        ];
        for (name, expected) in cases {
            assert_eq!(severity_number(name), expected, "{name}");
        }
    }
}
