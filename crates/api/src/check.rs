//! Checks that both interfaces make before the engine sees a request: names, limits and bounds that need
//! no collection to be known. Messages say what to change.

use std::time::Duration;

use lodestone_types::limits::{
    MAX_DIMENSIONS, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, MAX_IDS, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES,
    MAX_PAYLOAD_DEPTH, MAX_SHARDS, MAX_VECTORS_PER_COLLECTION, MAX_WINDOW,
};
use lodestone_types::{
    CollectionConfig, CollectionPatch, Condition, Error, Filter, GeoPoint, HnswConfig, JsonPath,
    OptimizersConfig, Payload, Point, QuantizationSearch, Result, VectorParams,
};
use serde_json::Value;

/// The longest time-out that a request may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A collection's or alias's name, when it is given.
pub fn collection_name(name: &str) -> Result<()> {
    let forbidden = |c: char| c.is_control() || "/\\<>:\"|?*".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "Validation error: a collection name must have 1 to {MAX_NAME_BYTES} bytes, not {}",
            name.len()
        )));
    }
    match name.chars().find(|&c| forbidden(c)) {
        Some(c) => Err(Error::invalid(format!(
            "Validation error: collection name cannot contain {c:?}; control characters and / \\ < > : \" | ? * are refused"
        ))),
        None if name == "." || name == ".." => {
            Err(Error::invalid("Validation error: a collection name cannot be `.` or `..`"))
        }
        None => Ok(()),
    }
}

/// A vector's name; `""` is the unnamed one.
pub fn vector_name(name: &str) -> Result<()> {
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "Validation error: a vector name must have at most {MAX_NAME_BYTES} bytes and no control characters"
        )));
    }
    Ok(())
}

/// `limit` and `offset` of a query or a page.
pub fn window(limit: usize, offset: usize) -> Result<()> {
    if limit == 0 {
        return Err(Error::invalid(
            "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]",
        ));
    }
    match limit.checked_add(offset) {
        Some(n) if n <= MAX_WINDOW => Ok(()),
        _ => Err(Error::invalid(format!(
            "Validation error in JSON body: [limit: limit {limit} and offset {offset} together must be {MAX_WINDOW} or smaller]"
        ))),
    }
}

/// What a search is to make of codes.
pub fn quantization_search(params: QuantizationSearch) -> Result<QuantizationSearch> {
    match params.oversampling {
        Some(factor) if !(1.0..f64::INFINITY).contains(&factor) => Err(Error::invalid(format!(
            "Validation error in JSON body: [params.quantization.oversampling: value {factor} invalid, must be 1.0 or larger]"
        ))),
        _ => Ok(params),
    }
}

/// A number of ids.
pub fn ids(count: usize) -> Result<()> {
    if count > MAX_IDS {
        return Err(Error::invalid(format!(
            "Validation error: {count} ids given, at most {MAX_IDS} are allowed"
        )));
    }
    Ok(())
}

/// A time-out in seconds.
pub fn timeout(seconds: u64) -> Result<Duration> {
    let timeout = Duration::from_secs(seconds);
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(Error::invalid(format!(
            "Validation error: [timeout: value {seconds} invalid, must be from 1 to {} seconds]",
            MAX_TIMEOUT.as_secs()
        )));
    }
    Ok(timeout)
}

/// A vector given by a user: finite, not empty, not too long.
pub fn vector(values: &[f32]) -> Result<()> {
    if values.is_empty() {
        return Err(Error::bad_request("Wrong input: a vector must have at least one component"));
    }
    if values.len() as u64 > MAX_DIMENSIONS {
        return Err(Error::bad_request(format!(
            "Wrong input: a vector of {} components is over the limit of {MAX_DIMENSIONS}",
            values.len()
        )));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::bad_request(format!(
            "Wrong input: component {i} of a vector is {}; components must be finite",
            values[i]
        ))),
        None => Ok(()),
    }
}

/// A point: its vectors and the size of its payload.
pub fn point(point: &Point) -> Result<()> {
    for (name, values) in &point.vectors.0 {
        vector_name(name)?;
        vector(values)?;
    }
    payload(&point.payload, None)
}

/// The size of a payload as JSON, and its depth where it is set at `key`.
pub fn payload(payload: &Payload, key: Option<&JsonPath>) -> Result<()> {
    let above = key.map_or(1, |key| key.0.len() + 1);
    let fits = |value| above <= MAX_PAYLOAD_DEPTH && is_within(value, MAX_PAYLOAD_DEPTH - above);
    if !payload.0.values().all(fits) {
        return Err(Error::bad_request(format!(
            "Wrong input: objects and arrays of a payload may nest at most {MAX_PAYLOAD_DEPTH} deep"
        )));
    }
    let mut counter = ByteCounter(0);
    // Serialising a map of values into a counter cannot fail except by the counter's own limit.
    match serde_json::to_writer(&mut counter, &payload.0) {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::bad_request(format!(
            "Wrong input: a payload is over the limit of {MAX_PAYLOAD_BYTES} bytes"
        ))),
    }
}

/// Whether objects and arrays in `value` nest at most `depth` deep.
fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(object) => depth > 0 && object.values().all(|v| is_within(v, depth - 1)),
        Value::Array(array) => depth > 0 && array.iter().all(|v| is_within(v, depth - 1)),
        _ => true,
    }
}

/// Counts what is written, and refuses to go over the limit of a payload.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MAX_PAYLOAD_BYTES {
            Err(std::io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Depth and size of a filter.
pub fn filter(filter: &Filter) -> Result<()> {
    let mut conditions = 0;
    let mut level = vec![filter];
    for _ in 0..MAX_FILTER_DEPTH {
        let mut next = Vec::new();
        for condition in level.iter().flat_map(|f| f.conditions()) {
            conditions += 1;
            match condition {
                Condition::Filter(inner) | Condition::Nested { filter: inner, .. } => next.push(inner),
                Condition::HasId(set) => ids(set.len())?,
                _ => {}
            }
        }
        if conditions > MAX_FILTER_CONDITIONS {
            return Err(too_many_conditions());
        }
        if next.is_empty() {
            return Ok(());
        }
        level = next;
    }
    Err(too_deep())
}

/// The error for a filter with more than the allowed conditions.
pub fn too_many_conditions() -> Error {
    Error::bad_request(format!("Wrong input: a filter may have at most {MAX_FILTER_CONDITIONS} conditions"))
}

/// The error for a filter nested deeper than allowed.
pub fn too_deep() -> Error {
    Error::bad_request(format!("Wrong input: filters may nest at most {MAX_FILTER_DEPTH} deep"))
}

/// A position on the globe.
pub fn geo_point(lon: f64, lat: f64) -> Result<GeoPoint> {
    if !(-180.0..=180.0).contains(&lon) || !(-90.0..=90.0).contains(&lat) {
        return Err(Error::bad_request(format!(
            "Wrong input: lon {lon}, lat {lat} is no position: lon must be from -180 to 180, lat from -90 to 90"
        )));
    }
    Ok(GeoPoint { lon, lat })
}

/// The radius of a circle on the globe, in metres.
pub fn geo_radius(metres: f64) -> Result<f64> {
    if !metres.is_finite() || metres < 0.0 {
        return Err(Error::bad_request("Wrong input: a geo radius must be a positive number of metres"));
    }
    Ok(metres)
}

/// A ring of a polygon.
pub fn geo_ring(points: &[GeoPoint]) -> Result<()> {
    if points.len() < 4 || points.first() != points.last() {
        return Err(Error::bad_request(
            "Wrong input: a polygon's line needs at least 4 points, and its first and last must be the same",
        ));
    }
    Ok(())
}

/// The settings a collection is created with.
pub fn collection_config(config: &CollectionConfig) -> Result<()> {
    let params = &config.params;
    if params.vectors.len() > MAX_VECTORS_PER_COLLECTION {
        return Err(Error::invalid(format!(
            "Validation error in JSON body: [vectors: a collection may have at most {MAX_VECTORS_PER_COLLECTION} vectors]"
        )));
    }
    for (name, vector) in &params.vectors {
        vector_name(name)?;
        vector_params(vector)?;
    }
    in_range("shard_number", u64::from(params.shard_number), 1, u64::from(MAX_SHARDS))?;
    in_range("replication_factor", u64::from(params.replication_factor), 1, u64::from(u32::MAX))?;
    in_range("write_consistency_factor", u64::from(params.write_consistency_factor), 1, u64::from(u32::MAX))?;
    hnsw(&config.hnsw)?;
    optimizers(&config.optimizers)
}

/// Changed settings of a collection.
pub fn collection_patch(patch: &CollectionPatch) -> Result<()> {
    for (name, vector) in &patch.vectors {
        vector_name(name)?;
        vector.hnsw.as_ref().map_or(Ok(()), hnsw)?;
    }
    for factor in [patch.replication_factor, patch.write_consistency_factor].into_iter().flatten() {
        in_range("replication_factor", u64::from(factor), 1, u64::from(u32::MAX))?;
    }
    patch.hnsw.as_ref().map_or(Ok(()), hnsw)?;
    patch.optimizers.as_ref().map_or(Ok(()), optimizers)
}

fn vector_params(vector: &VectorParams) -> Result<()> {
    in_range("vectors.size", vector.size, 1, MAX_DIMENSIONS)?;
    vector.hnsw.as_ref().map_or(Ok(()), hnsw)
}

fn hnsw(config: &HnswConfig) -> Result<()> {
    in_range("hnsw_config.m", config.m.unwrap_or(0), 0, 1 << 16)?;
    in_range("hnsw_config.ef_construct", config.ef_construct.unwrap_or(4), 4, 1 << 32)?;
    in_range("hnsw_config.payload_m", config.payload_m.unwrap_or(0), 0, 1 << 16)
}

fn optimizers(config: &OptimizersConfig) -> Result<()> {
    let threshold = config.deleted_threshold.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&threshold) {
        return Err(Error::invalid(format!(
            "Validation error in JSON body: [optimizers_config.deleted_threshold: value {threshold} invalid, must be from 0 to 1]"
        )));
    }
    in_range(
        "optimizers_config.vacuum_min_vector_number",
        config.vacuum_min_vector_number.unwrap_or(100),
        100,
        u64::MAX,
    )?;
    in_range("optimizers_config.max_segment_size", config.max_segment_size.unwrap_or(1), 1, u64::MAX)
}

fn in_range(field: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if value < least || value > most {
        let most = if most == u64::MAX { "above".into() } else { most.to_string() };
        return Err(Error::invalid(format!(
            "Validation error in JSON body: [{field}: value {value} invalid, must be from {least} to {most}]"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Filter {
        (1..depth).fold(Filter::default(), |inner, _| Filter::must(Condition::Filter(inner)))
    }

    #[test]
    fn filters_have_a_greatest_depth_and_size() {
        assert!(filter(&nested(MAX_FILTER_DEPTH)).is_ok());
        assert!(filter(&nested(MAX_FILTER_DEPTH + 1)).is_err());
        let wide = |n| Filter { must: vec![Condition::HasVector(String::new()); n], ..Filter::default() };
        assert!(filter(&wide(MAX_FILTER_CONDITIONS)).is_ok());
        assert!(filter(&wide(MAX_FILTER_CONDITIONS + 1)).is_err());
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "größe", "with space", "a.b"] {
            assert!(collection_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "a\u{0}", "..", "a:b", "a\nb", &"x".repeat(256)] {
            assert!(collection_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_and_times_are_bounded() {
        assert!(window(1, 0).is_ok() && window(MAX_WINDOW, 0).is_ok());
        for (limit, offset) in [(0, 0), (MAX_WINDOW, 1), (1, usize::MAX), (1_000_000_000, 0)] {
            assert!(window(limit, offset).is_err(), "{limit} {offset}");
        }
        assert!(timeout(1).is_ok() && timeout(0).is_err() && timeout(u64::MAX).is_err());
    }

    #[test]
    fn oversampling_is_one_or_more() {
        let of = |oversampling| QuantizationSearch { oversampling, ..QuantizationSearch::default() };
        for good in [None, Some(1.0), Some(1e300)] {
            assert_eq!(quantization_search(of(good)).unwrap(), of(good));
        }
        for bad in [0.0, 0.99, -2.0, f64::NAN, f64::INFINITY] {
            assert!(quantization_search(of(Some(bad))).is_err(), "{bad}");
        }
    }

    #[test]
    fn vectors_are_finite_and_not_empty() {
        assert!(vector(&[1.0, -0.0]).is_ok());
        for bad in [vec![], vec![f32::NAN], vec![1.0, f32::INFINITY], vec![0.0; MAX_DIMENSIONS as usize + 1]]
        {
            assert!(vector(&bad).is_err());
        }
    }

    #[test]
    fn payloads_have_a_greatest_size() {
        let of = |n: usize| Payload([("k".to_owned(), "x".repeat(n).into())].into_iter().collect());
        assert!(payload(&of(1000), None).is_ok());
        assert!(payload(&of(MAX_PAYLOAD_BYTES), None).is_err());
    }

    #[test]
    fn payloads_have_a_greatest_depth() {
        let of = |depth: usize, array: bool| {
            let wrap = |inner, _| if array { json!([inner]) } else { json!({"k": inner}) };
            let value = (1..depth).fold(json!(1), wrap);
            Payload([("k".to_owned(), value)].into_iter().collect())
        };
        let path = |keys: usize| Some(vec!["k"; keys].join(".").parse().unwrap());
        for array in [true, false] {
            let check = |depth, key: Option<JsonPath>| payload(&of(depth, array), key.as_ref());
            assert!(check(MAX_PAYLOAD_DEPTH, None).is_ok());
            assert!(check(MAX_PAYLOAD_DEPTH + 1, None).is_err());
            assert!(check(MAX_PAYLOAD_DEPTH - 2, path(2)).is_ok());
            assert!(check(MAX_PAYLOAD_DEPTH - 1, path(2)).is_err());
            assert!(check(1, path(MAX_PAYLOAD_DEPTH)).is_err());
        }
    }

    #[test]
    fn rings_are_closed_and_positions_on_the_globe() {
        let at = |lon, lat| GeoPoint { lon, lat };
        let ring = [at(0.0, 0.0), at(1.0, 0.0), at(1.0, 1.0), at(0.0, 0.0)];
        assert!(geo_ring(&ring).is_ok());
        assert!(geo_ring(&ring[..3]).is_err() && geo_ring(&ring[1..]).is_err());
        assert!(geo_point(180.0, -90.0).is_ok());
        assert!(geo_point(180.1, 0.0).is_err() && geo_point(0.0, f64::NAN).is_err());
    }
}
