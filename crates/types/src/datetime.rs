//! Date-times as payloads and filters have them: RFC 3339 text, and microseconds since 1970 UTC.
//!
//! The accepted forms are Qdrant's: RFC 3339 with some liberties (a space for the `T`, spaces before the offset,
//! one-digit months, `UTC`), without an offset (then it is UTC), without seconds, and a date alone.

use crate::{Error, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const YEARS: std::ops::RangeInclusive<i64> = -262_143..=262_142;

/// Microseconds since 1970 UTC of a text such as `2024-02-29T12:30:00.5+02:00`, or `None` where it is no
/// date-time. Digits past the sixth of a fraction are cut off.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let mut cursor = Cursor { rest: text.trim_start() };
    let days = cursor.date()?;
    if cursor.rest.is_empty() {
        return Some(days * SECONDS_PER_DAY * MICROS_PER_SECOND);
    }
    let separator = cursor.separator()?;
    let time = cursor.time()?;
    let offset = if cursor.rest.is_empty() {
        // Only the strict form with an offset takes a small `t`.
        (separator != 't').then_some(0)?
    } else {
        time.has_seconds.then_some(())?;
        cursor.offset()?
    };
    let seconds = days * SECONDS_PER_DAY + time.seconds - offset;
    Some(seconds * MICROS_PER_SECOND + time.micros)
}

/// Like [`parse_datetime`], with an error for people.
pub fn require_datetime(text: &str) -> Result<i64> {
    parse_datetime(text)
        .ok_or_else(|| Error::bad_request(format!("'{text}' is not a date-time; give one in RFC 3339 form")))
}

/// The RFC 3339 text of microseconds since 1970 UTC, without a fraction if it is 0.
pub fn format_datetime(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(MICROS_PER_SECOND), micros.rem_euclid(MICROS_PER_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

struct Time {
    seconds: i64,
    micros: i64,
    has_seconds: bool,
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let sign = self.rest.chars().next().filter(|c| matches!(c, '+' | '-'));
        if sign.is_some() {
            self.rest = &self.rest[1..];
        }
        let year = self.digits(1, if sign.is_some() { 18 } else { 4 })?;
        let year = if sign == Some('-') { -year } else { year };
        self.expect('-')?;
        let month = self.spaced_number()?;
        self.expect('-')?;
        let day = self.spaced_number()?;
        let valid = YEARS.contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        valid.then(|| days_of(year, month, day))
    }

    fn separator(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        match first {
            'T' | 't' => self.rest = &self.rest[1..],
            _ if first.is_whitespace() => self.rest = self.rest.trim_start(),
            _ => return None,
        }
        Some(first)
    }

    fn time(&mut self) -> Option<Time> {
        let hours = self.spaced_number().filter(|h| *h < 24)?;
        self.expect(':')?;
        let minutes = self.spaced_number().filter(|m| *m < 60)?;
        let mut time = Time { seconds: hours * 3600 + minutes * 60, micros: 0, has_seconds: false };
        if self.expect(':').is_none() {
            return Some(time);
        }
        // 60 is a leap second; it counts as the first second of the next minute.
        time.seconds += self.spaced_number().filter(|s| *s <= 60)?;
        time.has_seconds = true;
        if self.expect('.').is_some() {
            time.micros = self.fraction()?;
        }
        Some(time)
    }

    fn fraction(&mut self) -> Option<i64> {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        let kept = &digits[..count.min(6)];
        let value: i64 = kept.parse().ok()?;
        Some(value * 10_i64.pow(6 - kept.len() as u32))
    }

    /// Seconds east of UTC. Takes all that is left.
    fn offset(&mut self) -> Option<i64> {
        self.rest = self.rest.trim_start();
        let east = if self.rest.eq_ignore_ascii_case("utc") || self.rest.trim_end().eq_ignore_ascii_case("z")
        {
            return Some(0);
        } else if let Some(rest) = self.rest.strip_prefix('+') {
            self.rest = rest;
            1
        } else {
            self.rest = self.rest.strip_prefix(['-', '\u{2212}'])?;
            -1
        };
        let hours = self.digits(2, 2).filter(|h| *h < 24)?;
        if self.rest.is_empty() {
            return Some(east * hours * 3600);
        }
        self.rest = self.rest.trim_start();
        self.expect(':');
        self.rest = self.rest.trim_start();
        let minutes = self.digits(2, 2).filter(|m| *m < 60)?;
        self.rest.trim_start().is_empty().then_some(east * (hours * 60 + minutes) * 60)
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    fn spaced_number(&mut self) -> Option<i64> {
        self.rest = self.rest.trim_start();
        self.digits(1, 2)
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().ok()
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is the last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_accepted_form() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 0),
            ("1970-01-01 00:00", 0),
            ("2000-03-01T00:00:00+00:00", 951_868_800_000_000),
            ("2024-02-29T12:30:00.5+02:00", 1_709_202_600_500_000),
            ("2024-02-29T12:30:00.5+0200", 1_709_202_600_500_000),
            ("2024-02-29t10:30:00.50000099z", 1_709_202_600_500_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ] {
            assert_eq!(parse_datetime(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_date_time() {
        for text in [
            "",
            "now",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-01-32",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+25:00",
            "2024-01-01X",
            "2024-01-01T",
            "2024-01-01T00:00:00Zx",
            "２０２４-01-01",
            "1e3",
        ] {
            assert_eq!(parse_datetime(text), None, "{text}");
        }
    }

    const Y2024: i64 = 1_704_067_200 * MICROS_PER_SECOND;

    /// What Qdrant's engine answered for each text.
    #[test]
    fn accepts_the_same_forms_for_the_same_instant() {
        for text in [
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00",
            "2024-01-01",
            "2024-01-01T00:00",
            "2024-01-01 00:00",
            "2024-01-01T00:00:00+00:00",
            "2024-01-01T00:00:00+0000",
            "2024-01-01T00:00:00+00",
            "2024-01-01T01:00:00+01:00",
            "2024-01-01T00:00:00.000000001Z",
            "2024-01-01T00:00:00z",
            "2024-01-01t00:00:00Z",
            " 2024-01-01",
            "2024-1-1",
            "2024-01-01T0:0:0Z",
            "2024-01-01 00:00:00 UTC",
            "2024-01-01 00:00:00 +0000",
            "2024-01-01T00:00:00 Z",
            "+2024-01-01",
            "2024-01-01T00:00:00-00:00",
            "2024-01-01  00:00:00",
            "2024-01-01T 00:00:00",
            "2024- 1-01",
            "\u{a0}2024-01-01",
            "\n2024-01-01",
            "2024-01-01t00:00:00+00:00",
            "2024-01-01 00:00:00UTC",
            "2024-01-01\t00:00:00",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00: 00:00",
            "2024-01-01T00:00:00+00 00",
            "2024-01-01T00:00:00+00: 00",
            "2024-01-01T00:00:00 utc",
            "2023-12-31T23:59:60Z",
        ] {
            assert_eq!(parse_datetime(text), Some(Y2024), "{text:?}");
        }
        assert_eq!(parse_datetime("2024-01-01T00:00:00.5"), Some(Y2024 + 500_000));
        assert_eq!(parse_datetime("2024-01-01T00:00:00.123456789123Z"), Some(Y2024 + 123_456));
        assert_eq!(
            parse_datetime("2024-01-01T00:00:00\u{2212}01:00"),
            Some(Y2024 + 3_600 * MICROS_PER_SECOND)
        );
        assert_eq!(parse_datetime("1969-12-31T23:59:59.9999999Z"), Some(-1));
        assert_eq!(parse_datetime("1970-01-01"), Some(0));
        assert_eq!(parse_datetime("2000-03-01"), Some(951_868_800 * MICROS_PER_SECOND));
        for text in ["0000-01-01", "-0001-01-01", "+262142-12-31", "-262143-01-01", "24-01-01", "2024-02-29"]
        {
            assert!(parse_datetime(text).is_some(), "{text:?}");
        }
    }

    /// What Qdrant's engine refused.
    #[test]
    fn refuses_the_same_forms() {
        for text in [
            "",
            "T",
            "2024-01-01 ",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00",
            "20240101",
            "2024-01-01Z",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+24:00",
            "1704067200",
            "2024-02-30",
            "10000-01-01",
            "99999-01-01",
            "2024-01-01T00:00:00+ 01:00",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00+01:30:00",
            "2024-01-01T00:00:00+01:60",
            "2024-01-01t00:00:00",
            "2024-01-01 00:00 UTC",
            "2024-01-01T00 :00:00",
            "2024-01-01T00:00:00+0",
            "2024-01-01T00:00:00+000",
            "2024-01-01T00:00:00+00000",
            "2024-01-01T00:00:00GMT",
            "2024-13-01",
            "2023-02-29",
            "2024-001-01",
            "2024-01-001",
            "2024-01-01T00:00:00,5",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T12",
            "2024 -01-01",
            "2024/01/01",
            "2024-01",
            "2024",
            "2024-01-01T00:00:00. 5",
            "2024-01-01T00:00:00 .5",
            "+262143-01-01",
            "-262144-01-01",
            "2024-01-01 T00:00:00",
            "2024-01-01T00:00.5",
            "２０２４-01-01",
            "2024-01-01T00:00:00+00:0",
            "2024-01-01T00:00:00Z+00:00",
            "+ 2024-01-01",
            "2024-01-01T000:00:00",
            "2024-01-01T00:00:00 ",
        ] {
            assert_eq!(parse_datetime(text), None, "{text:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for micros in [0, -1, 951_782_400_000_000, 1_709_202_600_500_000, -62_135_596_800_000_000] {
            assert_eq!(parse_datetime(&format_datetime(micros)), Some(micros));
        }
        for day in (-719_000..800_000).step_by(97) {
            let micros = day * SECONDS_PER_DAY * MICROS_PER_SECOND;
            assert_eq!(parse_datetime(&format_datetime(micros)), Some(micros));
        }
    }
}
