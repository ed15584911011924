//! Timestamps as text: RFC 3339 in UTC with exactly nine decimals, so that text order is time order.
//! The calendar is Howard Hinnant's `civil_from_days` (proleptic Gregorian).

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    time::{SystemTime, UNIX_EPOCH},
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59: the last second that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// Nanoseconds since 1970-01-01T00:00:00Z. Earlier moments are clamped to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the time as the standard library's type.
    pub(crate) fn to_system_time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(std::time::Duration::from_nanos(self.0))
    }

    /// Appends the thirty bytes of `2026-11-22T11:39:00.123456789Z`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let seconds = (self.0 / NANOS_PER_SECOND).min(LAST_SECOND);
        let mut text = text_of_second(seconds);
        // The remainder is below a billion, so it fits.
        let nanos = u32::try_from(self.0 % NANOS_PER_SECOND).unwrap_or(0);
        if let Some(first) = text.get_mut(20) {
            *first = b'0' + (nanos / 100_000_000) as u8;
        }
        if let Some(others) = text.get_mut(21..29) {
            others.copy_from_slice(&eight_decimals(nanos % 100_000_000));
        }
        out.extend_from_slice(&text);
    }

    pub(crate) fn text(self) -> String {
        let mut out = Vec::with_capacity(30);
        self.write(&mut out);
        out.into_iter().map(char::from).collect()
    }

    /// Parses the form that [`write`](Self::write) writes. Returns `None` for any other form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 30] = text.as_bytes().try_into().ok()?;
        if !has_form(text) {
            return None;
        }
        let digit = |at: usize| u64::from(text.get(at).map_or(0, |byte| byte & 0x0f));
        let two = |at: usize| 10 * digit(at) + digit(at + 1);
        let (month, day) = (two(5), two(8));
        let (hour, minute, second) = (two(11), two(14), two(17));
        if !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let days = days_from_civil(100 * two(0) + two(2), month, day)?;
        let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        let nanos = (20..29).fold(0, |nanos, at| 10 * nanos + digit(at));
        seconds
            .checked_mul(NANOS_PER_SECOND)?
            .checked_add(nanos)
            .map(Self)
    }
}

impl From<SystemTime> for Timestamp {
    #[inline]
    fn from(time: SystemTime) -> Self {
        clock_nanos(&time).map_or_else(|| Self::subtracted(time), Self)
    }
}

/// Returns the nanoseconds of a `SystemTime` or an `Instant` since the clock's zero. Returns `None` if the system
/// represents times in another form, or if the time is out of range.
#[inline]
pub(crate) fn clock_nanos(time: &impl Hash) -> Option<u64> {
    let mut parts = Parts::default();
    time.hash(&mut parts);
    parts.nanos()
}

/// The numbers inside a `SystemTime` or an `Instant`, read through its `Hash`: seconds and nanoseconds on every Unix.
/// Subtracting the epoch instead would take fifty more instructions at every start and every end. The subtraction
/// is used only on systems where a time consists of other numbers.
#[derive(Default)]
struct Parts {
    seconds: Option<i64>,
    nanos: Option<u32>,
    others: bool,
}

/// Exclusive upper bound on the seconds that, together with any `u32` of nanoseconds, fit into a `u64` of nanoseconds.
const QUICK_SECONDS: u64 = u64::MAX / NANOS_PER_SECOND - 4;

impl Parts {
    #[inline]
    fn nanos(&self) -> Option<u64> {
        match (self.seconds, self.nanos, self.others) {
            (Some(seconds), Some(nanos), false) => {
                // One comparison checks both bounds: a time before the epoch is a large unsigned number.
                let seconds = seconds.cast_unsigned();
                (seconds < QUICK_SECONDS).then(|| seconds * NANOS_PER_SECOND + u64::from(nanos))
            }
            _ => None,
        }
    }
}

impl Hasher for Parts {
    #[inline]
    fn write_i64(&mut self, i: i64) {
        self.others |= self.seconds.replace(i).is_some();
    }

    #[inline]
    fn write_u32(&mut self, i: u32) {
        self.others |= self.nanos.replace(i).is_some();
    }

    #[inline]
    fn write(&mut self, _bytes: &[u8]) {
        self.others = true;
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl Timestamp {
    #[cold]
    fn subtracted(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

thread_local! {
    /// The last second that this thread formatted, and its text. Most times are in the same second as the previous
    /// time.
    static LAST: Cell<(u64, [u8; 30])> = const { Cell::new((0, *b"1970-01-01T00:00:00.000000000Z")) };
}

/// Returns the text of this second's first nanosecond.
#[inline]
fn text_of_second(seconds: u64) -> [u8; 30] {
    let (last, text) = LAST.get();
    if last == seconds {
        return text;
    }
    let text = written_second(seconds);
    LAST.set((seconds, text));
    text
}

fn written_second(seconds: u64) -> [u8; 30] {
    // All these numbers fit into a `u32`: the year 9999 is three million days after 1970.
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let (year, month, day) = civil_from_days(small(seconds / SECONDS_PER_DAY));
    let of_day = small(seconds % SECONDS_PER_DAY);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    pair(&mut text, 0, year / 100);
    pair(&mut text, 2, year);
    pair(&mut text, 5, month);
    pair(&mut text, 8, day);
    pair(&mut text, 11, of_day / 3600);
    pair(&mut text, 14, of_day / 60 % 60);
    pair(&mut text, 17, of_day % 60);
    text
}

/// Writes the last two digits of a number. Callers pass a constant offset, so the compiler removes the bounds check.
#[inline]
fn pair(text: &mut [u8; 30], at: usize, value: u32) {
    let digits = [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
    if let Some(slot) = text.get_mut(at..at + 2) {
        slot.copy_from_slice(&digits);
    }
}

/// Returns the digits of a number below a hundred million, computed all at once.
#[inline]
fn eight_decimals(number: u32) -> [u8; 8] {
    const PAIRS: u64 = 0x0000_007f_0000_007f;
    const DIGITS: u64 = 0x000f_000f_000f_000f;
    // Four digits in each half, then two in each quarter, then one in each byte. The multiplications divide by a
    // hundred and by ten. The lowest byte has the first digit.
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & PAIRS;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & DIGITS;
    let ones = tens | (twos - 10 * tens) << 8;
    (ones + 0x3030_3030_3030_3030).to_le_bytes()
}

/// Returns whether the text is a time, except that its numbers may be out of range. Checks eight bytes at a time.
#[inline]
fn has_form(text: &[u8; 30]) -> bool {
    const FORM: [u8; 30] = *b"0000-00-00T00:00:00.000000000Z";
    const HIGH: u64 = u64::MAX / 255 * 0x80;
    let word_at = |bytes: &[u8; 30], at: usize| {
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u64::from_le_bytes(*word))
    };
    [0, 8, 16, 22].into_iter().all(|at| {
        let form = word_at(&FORM, at);
        // The exclusive or turns a digit into its value, and the expected byte between digits into zero.
        let values = word_at(text, at) ^ form;
        // The sum sets the high bit of a byte if the value of a digit is ten or more, or if another byte is not zero.
        let is_digit = |byte: u8| byte == b'0';
        let limits = form
            .to_le_bytes()
            .map(|byte| if is_digit(byte) { 0x76 } else { 0x7f });
        let sums = (values & !HIGH) + u64::from_le_bytes(limits);
        (sums | values) & HIGH == 0
    })
}

fn civil_from_days(days: u32) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    (year, month, day)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::Timestamp;

    #[test]
    fn both_ways_to_the_nanoseconds_agree() {
        let mut times = vec![UNIX_EPOCH, SystemTime::now()];
        for nanos in [
            1,
            999_999_999,
            1_000_000_000,
            1_795_347_540_123_456_789,
            u64::MAX,
        ] {
            times.push(UNIX_EPOCH + Duration::from_nanos(nanos));
            times.push(UNIX_EPOCH - Duration::from_nanos(nanos));
        }
        times.extend(UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40)));
        for time in times {
            assert_eq!(Timestamp::from(time), Timestamp::subtracted(time));
        }
    }

    #[test]
    fn eight_digits_are_those_of_the_number() {
        let numbers = (0..100_000_000).step_by(997).chain(0..20_000);
        for number in numbers.chain(99_980_000..100_000_000) {
            assert_eq!(
                super::eight_decimals(number),
                *format!("{number:08}").as_bytes()
            );
        }
    }

    #[test]
    fn known_moments_are_written_and_read_back() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_347_540_123_456_789, "2026-11-22T11:39:00.123456789Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Timestamp::from_nanos(nanos).text(), text);
            assert_eq!(Timestamp::parse(text), Some(Timestamp::from_nanos(nanos)));
        }
    }

    /// Reads a time number by number.
    fn read_slowly(text: &[u8]) -> Option<Timestamp> {
        let is_form = |(byte, form): (&u8, &u8)| {
            if *form == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == form
            }
        };
        let form = b"dddd-dd-ddTdd:dd:dd.dddddddddZ";
        if text.len() != 30 || !text.iter().zip(form).all(is_form) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
        let (month, day) = (number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        let is_in_range = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_in_range || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = super::days_from_civil(number(0, 4), month, day)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        let nanos = seconds.checked_mul(1_000_000_000)?;
        nanos.checked_add(number(20, 29)).map(Timestamp)
    }

    #[test]
    fn fast_and_slow_parsing_agree_for_every_byte_at_every_position() {
        for text in [
            "2026-11-22T11:39:00.123456789Z",
            "1970-01-01T00:00:00.000000000Z",
            "2019-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            for at in 0..text.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = text.as_bytes().to_vec();
                    changed[at] = byte;
                    let expected = read_slowly(&changed);
                    if let Ok(changed) = str::from_utf8(&changed) {
                        assert_eq!(Timestamp::parse(changed), expected, "{changed}");
                    }
                }
            }
            let (short, long) = (&text[1..], format!("{text}Z"));
            assert_eq!([short, &long].map(Timestamp::parse), [None, None]);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2026-11-22T11:39:00Z",
            "2026-13-22T11:39:00.123456789Z",
            "2026-11-22 11:39:00.123456789Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
