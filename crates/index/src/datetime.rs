//! Date-times as users write them, to microseconds since 1970 UTC.
//!
//! The accepted forms are those of Qdrant: RFC 3339 with some liberties (a space for the `T`, spaces before
//! the offset, one-digit months, `UTC`), without an offset (then it is UTC), without seconds, and a date alone.
//! Digits past the sixth of a fraction are cut off.

const MICROS: i64 = 1_000_000;
const YEARS: std::ops::RangeInclusive<i64> = -262_143..=262_142;

/// Microseconds since 1970 UTC, or `None` where `text` is no date-time.
pub fn parse(text: &str) -> Option<i64> {
    let mut cursor = Cursor { rest: text.trim_start() };
    let days = cursor.date()?;
    if cursor.rest.is_empty() {
        return days.checked_mul(86_400 * MICROS);
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
    let seconds = days * 86_400 + time.seconds - offset;
    seconds.checked_mul(MICROS)?.checked_add(time.micros)
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
        let year = self.digits(1, if sign.is_some() { 6 } else { 4 })?;
        let year = if sign == Some('-') { -year } else { year };
        self.expect('-')?;
        let month = self.spaced_number()?;
        self.expect('-')?;
        let day = self.spaced_number()?;
        let valid = YEARS.contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        valid.then(|| days_since_1970(year, month, day))
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

/// Days of the proleptic Gregorian calendar. Years begin in March here, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const Y2024: i64 = 1_704_067_200 * MICROS;

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
            assert_eq!(parse(text), Some(Y2024), "{text:?}");
        }
        assert_eq!(parse("2024-01-01T00:00:00.5"), Some(Y2024 + 500_000));
        assert_eq!(parse("2024-01-01T00:00:00.123456789123Z"), Some(Y2024 + 123_456));
        assert_eq!(parse("2024-01-01T00:00:00\u{2212}01:00"), Some(Y2024 + 3_600 * MICROS));
        assert_eq!(parse("1969-12-31T23:59:59.9999999Z"), Some(-1));
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("2000-03-01"), Some(951_868_800 * MICROS));
        for text in ["0000-01-01", "-0001-01-01", "+262142-12-31", "-262143-01-01", "24-01-01", "2024-02-29"]
        {
            assert!(parse(text).is_some(), "{text:?}");
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
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
