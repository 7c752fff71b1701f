//! What a read may take, as the headers of its request say. The same over gRPC, as metadata.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lodestone_types::{AtLimit, Error, Limit, Limits, Result};

/// Bytes of segments and tails that may be asked of the bucket.
const MAX_BYTES: HeaderName = HeaderName::from_static("x-lodestone-max-bytes");
/// Milliseconds that may pass.
const MAX_MS: HeaderName = HeaderName::from_static("x-lodestone-max-ms");
/// What becomes of the request where that is not enough: `error` or `partial`.
const AT_LIMIT: HeaderName = HeaderName::from_static("x-lodestone-at-limit");
/// Comes with answers that are not all there is, and says because of what: `bytes`, `ms` or `bytes, ms`.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-lodestone-partial");

/// Whether answers to the request may be partial.
pub(crate) fn may_cut_short(headers: &HeaderMap) -> bool {
    headers.contains_key(&AT_LIMIT)
}

/// What the headers allow.
pub(crate) fn limits(headers: &HeaderMap) -> Result<Limits> {
    let at_limit = match headers.get(&AT_LIMIT).map(HeaderValue::as_bytes) {
        None | Some(b"error") => AtLimit::Error,
        Some(b"partial") => AtLimit::Partial,
        Some(_) => {
            return Err(Error::bad_request(format!(
                "Wrong input: header `{AT_LIMIT}` is `error` or `partial`"
            )));
        }
    };
    let max_ms: Option<u32> = number(headers, &MAX_MS)?;
    if max_ms == Some(0) {
        return Err(Error::bad_request(format!("Wrong input: header `{MAX_MS}` must be at least 1")));
    }
    let max_time = max_ms.map(|ms| Duration::from_millis(ms.into()));
    Ok(Limits { max_bytes: number(headers, &MAX_BYTES)?, max_time, at_limit })
}

fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<Option<T>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        let most = u64::MAX >> (64 - 8 * size_of::<T>());
        Error::bad_request(format!("Wrong input: header `{name}` must be a whole number, at most {most}"))
    })
}

/// What [`PARTIAL`] says of an answer that these limits cut short; `None` for one that is all there is.
pub(crate) fn partial(cut_short: &[Limit]) -> Option<HeaderValue> {
    Some(HeaderValue::from_static(match cut_short {
        [] => return None,
        [Limit::Bytes] => "bytes",
        [Limit::Time] => "ms",
        _ => "bytes, ms",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Limits> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        limits(&pairs.iter().map(pair).collect())
    }

    #[test]
    fn headers_say_what_a_read_may_take() {
        assert_eq!(read(&[]).unwrap(), Limits::default());
        let all = read(&[
            ("x-lodestone-max-bytes", "18446744073709551615"),
            ("x-lodestone-max-ms", " 250"),
            ("x-lodestone-at-limit", "partial"),
        ]);
        let max_time = Some(Duration::from_millis(250));
        let expected = Limits { max_bytes: Some(u64::MAX), max_time, at_limit: AtLimit::Partial };
        assert_eq!(all.unwrap(), expected);
        assert_eq!(read(&[("x-lodestone-max-bytes", "0")]).unwrap().max_bytes, Some(0));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value, part) in [
            ("x-lodestone-max-bytes", "1e6", "at most 18446744073709551615"),
            ("x-lodestone-max-bytes", "-1", "whole number"),
            ("x-lodestone-max-ms", "", "at most 4294967295"),
            ("x-lodestone-max-ms", "0", "at least 1"),
            ("x-lodestone-at-limit", "Partial", "`error` or `partial`"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.message.contains(name) && error.message.contains(part), "{error}");
        }
    }
}
