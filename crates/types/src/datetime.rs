//! Date-times as payloads and filters have them: RFC 3339 text, and microseconds since 1970 UTC.

use crate::{Error, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Microseconds since 1970 UTC of a text such as `2024-02-29T12:30:00.5+02:00`. The time, its seconds and the
/// zone may be missing (midnight, 0, UTC); a space may stand for the `T`. Digits below a microsecond are dropped.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = parse_date(date.as_bytes())?;
    let (micros, offset) = match rest.as_bytes().first() {
        None => (0, 0),
        Some(b'T' | b't' | b' ') => {
            let (time, zone) = split_zone(&rest[1..]);
            (parse_time(time)?, parse_zone(zone)?)
        }
        Some(_) => (0, parse_zone(rest)?),
    };
    Some((days * SECONDS_PER_DAY - offset) * MICROS_PER_SECOND + micros)
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

fn parse_date(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = digits(&[y1, y2, y3, y4])?;
    let month = digits(&[m1, m2])?;
    let day = digits(&[d1, d2])?;
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then(|| days_of(year, month, day))
}

/// Microseconds since midnight of `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`.
fn parse_time(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let (hour, minute, second) = match *whole.as_bytes() {
        [h1, h2, b':', m1, m2] if fraction.is_none() => (digits(&[h1, h2])?, digits(&[m1, m2])?, 0),
        [h1, h2, b':', m1, m2, b':', s1, s2] => (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?),
        _ => return None,
    };
    // A leap second counts as the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let below = fraction.map_or(Some(0), parse_fraction)?;
    Some((hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + below)
}

fn parse_fraction(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

/// Splits a time from the zone that may follow it.
fn split_zone(text: &str) -> (&str, &str) {
    let at = text.find(['Z', 'z', '+', '-', ' ']).unwrap_or(text.len());
    let (time, zone) = text.split_at(at);
    (time, zone.strip_prefix(' ').unwrap_or(zone))
}

/// Seconds east of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    let (sign, hour, minute) = match *text.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, digits(&[h1, h2])?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            (sign, digits(&[h1, h2])?, digits(&[m1, m2])?)
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
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
            "2024-1-1",
            "1e3",
            "+024-01-01",
        ] {
            assert_eq!(parse_datetime(text), None, "{text}");
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
