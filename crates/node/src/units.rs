//! Durations and sizes as people write them: `100ms`, `2s`, `15min`, `64MiB`, `1GiB`.

use std::fmt::Display;
use std::time::Duration;

/// Reads `250ms`, `2s`, `15min`, `1h` or `2d`; the number may have a fraction.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 100ms, 2s, 15min, 1h or 2d");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// Reads `4096`, `64KiB`, `16MiB`, `1.5GiB` or `1TiB`; `KB`, `MB`, `GB` and `TB` are powers of ten.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it like 4096, 64KiB, 16MiB or 1GiB");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number * scale as f64;
    // Above 2^53 a float no longer holds every whole number, and no limit of ours is so large.
    if bytes.fract() != 0.0 || bytes > (1u64 << 53) as f64 {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// The shortest exact form that [`parse_duration`] reads back.
pub fn format_duration(duration: Duration) -> impl Display {
    let micros = duration.as_micros();
    let (scale, unit) =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")]
            .into_iter()
            .find(|(scale, _)| micros > 0 && micros.is_multiple_of(*scale))
            .unwrap_or((1, "us"));
    format!("{}{unit}", micros / scale)
}

/// The shortest exact form that [`parse_bytes`] reads back.
pub fn format_bytes(bytes: u64) -> impl Display {
    let (shift, unit) = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1u64 << shift))
        .unwrap_or((0, ""));
    format!("{}{unit}", bytes >> shift)
}

/// For people: `12.3 MiB`.
pub fn approximate_bytes(bytes: u64) -> impl Display {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(scale, _)| bytes >= *scale) {
        Some((scale, unit)) => format!("{:.1} {unit}", bytes as f64 / scale as f64),
        None => format!("{bytes} B"),
    }
}

/// For `#[serde(deserialize_with)]` on durations.
pub(crate) fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text(parse_duration, "a duration such as \"100ms\""))
}

/// As [`duration`], for settings that may be left out.
pub(crate) fn some_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]` on sizes.
pub(crate) fn bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Text(parse_bytes, "a size such as \"64MiB\""))
}

/// As [`bytes`], for settings that may be left out.
pub(crate) fn some_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bytes(deserializer).map(Some)
}

/// Reads a text by a function; a plain whole number is read as if it were written as text.
struct Text<T>(fn(&str) -> Result<T, String>, &'static str);

impl<T> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration(" 1.5 s "), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("15min"), Ok(Duration::from_secs(900)));
        for wrong in ["", "5", "ms", "-1s", "1e9s", "5 parsecs", "99999999999999999999d", "1.2.3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("16 mib"), Ok(16 << 20));
        assert_eq!(parse_bytes("2MB"), Ok(2_000_000));
        for wrong in ["", "-1", "0.3", "MiB", "5 furlongs", "9999999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_see_one_digit_after_the_point() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(approximate_bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for micros in [0, 1, 999, 1_000, 2_500, 60_000_000, 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&format_duration(duration).to_string()), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 3 << 29, 16 << 20, 5 << 40] {
            assert_eq!(parse_bytes(&format_bytes(bytes).to_string()), Ok(bytes));
        }
    }
}
