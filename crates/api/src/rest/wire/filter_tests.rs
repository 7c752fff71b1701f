//! Every filter survives its JSON form, and every bad one is refused with a word on why.

use lodestone_types::limits::{MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
use lodestone_types::{AnyOf, GeoPoint, Match, PointId, Range, Scalar, format_datetime};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::arbitrary::any_filter;

/// The JSON form of `filter`, as a client would write it.
fn form(filter: &Filter) -> Value {
    let mut object = json!({});
    for (name, conditions) in
        [("must", &filter.must), ("should", &filter.should), ("must_not", &filter.must_not)]
    {
        match conditions.as_slice() {
            [] => {}
            // One condition may stand without a list.
            [only] => object[name] = condition_form(only),
            all => object[name] = all.iter().map(condition_form).collect(),
        }
    }
    if let Some(min) = &filter.min_should {
        let conditions: Vec<Value> = min.conditions.iter().map(condition_form).collect();
        object["min_should"] = json!({"conditions": conditions, "min_count": min.min_count});
    }
    object
}

fn condition_form(condition: &Condition) -> Value {
    match condition {
        Condition::Field(field) => {
            // The key comes last: the order of fields must not matter.
            let mut object = serde_json::Map::new();
            for (name, value) in field.predicates.iter().map(predicate_form) {
                object.insert(name.into(), value);
            }
            object.insert("key".into(), json!(field.key));
            Value::Object(object)
        }
        Condition::IsEmpty(key) => json!({"is_empty": {"key": key}}),
        Condition::IsNull(key) => json!({"is_null": {"key": key}}),
        Condition::HasId(ids) => json!({"has_id": ids.iter().map(id_form).collect::<Vec<_>>()}),
        Condition::HasVector(name) => json!({"has_vector": name}),
        Condition::Nested { key, filter } => json!({"nested": {"key": key, "filter": form(filter)}}),
        Condition::Filter(filter) => form(filter),
    }
}

fn id_form(id: &PointId) -> Value {
    match id {
        PointId::Num(number) => json!(number),
        PointId::Uuid(uuid) => json!(uuid.to_string()),
    }
}

fn predicate_form(predicate: &Predicate) -> (&'static str, Value) {
    let place = |at: &GeoPoint| json!({"lon": at.lon, "lat": at.lat});
    let line = |ring: &Vec<GeoPoint>| json!({"points": ring.iter().map(place).collect::<Vec<_>>()});
    match predicate {
        Predicate::Match(value) => ("match", match_form(value)),
        Predicate::Range(range) => ("range", range_form(range, |n| json!(n))),
        Predicate::DatetimeRange(range) => ("range", range_form(range, |t| json!(format_datetime(*t)))),
        Predicate::GeoBox { top_left, bottom_right } => {
            ("geo_bounding_box", json!({"top_left": place(top_left), "bottom_right": place(bottom_right)}))
        }
        Predicate::GeoRadius { center, radius } => {
            ("geo_radius", json!({"center": place(center), "radius": radius}))
        }
        Predicate::GeoPolygon { exterior, interiors } => (
            "geo_polygon",
            json!({"exterior": line(exterior), "interiors": interiors.iter().map(line).collect::<Vec<_>>()}),
        ),
        Predicate::ValuesCount(range) => ("values_count", range_form(range, |n| json!(n))),
        Predicate::IsEmpty(flag) => ("is_empty", json!(flag)),
        Predicate::IsNull(flag) => ("is_null", json!(flag)),
    }
}

/// Some bounds are written as `null`: clients do so with those that are not set.
fn range_form<T>(range: &Range<T>, bound: impl Fn(&T) -> Value) -> Value {
    let bound = |given: &Option<T>| given.as_ref().map(&bound);
    json!({"gt": bound(&range.gt), "gte": bound(&range.gte), "lt": bound(&range.lt), "lte": bound(&range.lte)})
}

fn match_form(value: &Match) -> Value {
    let set = |set: &AnyOf| match set {
        AnyOf::Keywords(texts) => json!(texts),
        AnyOf::Integers(numbers) => json!(numbers),
    };
    match value {
        Match::Value(Scalar::Keyword(text)) => json!({"value": text}),
        Match::Value(Scalar::Integer(number)) => json!({"value": number}),
        Match::Value(Scalar::Bool(flag)) => json!({"value": flag}),
        Match::Any(values) => json!({"any": set(values)}),
        Match::Except(values) => json!({"except": set(values)}),
        Match::Text(text) => json!({"text": text}),
        Match::TextAny(text) => json!({"text_any": text}),
        Match::Phrase(text) => json!({"phrase": text}),
    }
}

/// Two things look alike in JSON: a list without values, and a range without bounds.
fn as_read(mut filter: Filter) -> Filter {
    let lists = [&mut filter.must, &mut filter.should, &mut filter.must_not].into_iter();
    let least = filter.min_should.as_mut().map(|min| &mut min.conditions);
    for condition in lists.chain(least).flatten() {
        match condition {
            Condition::Field(field) => field.predicates.iter_mut().for_each(predicate_as_read),
            Condition::Filter(inner) | Condition::Nested { filter: inner, .. } => {
                *inner = as_read(std::mem::take(inner));
            }
            _ => {}
        }
    }
    filter
}

fn predicate_as_read(predicate: &mut Predicate) {
    let no_values = AnyOf::Keywords(Default::default());
    match predicate {
        Predicate::Match(Match::Any(AnyOf::Integers(set))) if set.is_empty() => {
            *predicate = Predicate::Match(Match::Any(no_values));
        }
        Predicate::Match(Match::Except(AnyOf::Integers(set))) if set.is_empty() => {
            *predicate = Predicate::Match(Match::Except(no_values));
        }
        Predicate::DatetimeRange(range) if *range == Range::default() => {
            *predicate = Predicate::Range(Range::default());
        }
        _ => {}
    }
}

fn read(text: &str) -> Result<Filter, String> {
    serde_json::from_str::<WireFilter>(text).map(|filter| filter.0).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn every_filter_survives_its_form(original in any_filter()) {
        prop_assert_eq!(read(&form(&original).to_string()).unwrap(), as_read(original));
    }

    #[test]
    fn no_text_is_too_strange_to_read(text in "[\\[\\]{}:,\"a-z0-9 .]{0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn no_damage_to_a_filter_is_too_strange(original in any_filter(), at in any::<prop::sample::Index>()) {
        let mut text = form(&original).to_string().into_bytes();
        let at = at.index(text.len());
        text.remove(at);
        let _ = serde_json::from_slice::<WireFilter>(&text);
    }
}

#[test]
fn several_predicates_and_nulls_beside_them() {
    let filter = read(
        r#"{"must": {"key": "a", "match": {"any": [1, 2]}, "range": {"gte": 1, "lt": null}, "geo_radius": null,
            "is_null": null, "has_id": null, "must": null}, "should": null, "must_not": [], "min_should": null}"#,
    )
    .unwrap();
    let [Condition::Field(field)] = filter.must.as_slice() else { panic!("{filter:?}") };
    assert_eq!(
        field.predicates,
        [
            Predicate::Match(Match::Any(AnyOf::Integers([1, 2].into()))),
            Predicate::Range(Range { gte: Some(1.0), ..Range::default() }),
        ]
    );
    assert!(filter.should.is_empty() && filter.must_not.is_empty() && filter.min_should.is_none());
}

#[test]
fn date_times_of_ranges_in_every_accepted_form() {
    let at = |text: &str| {
        let filter = read(&format!(r#"{{"must":[{{"key":"t","range":{{"gt":"{text}"}}}}]}}"#)).unwrap();
        match filter.must.as_slice() {
            [Condition::Field(field)] => field.predicates.clone(),
            other => panic!("{other:?}"),
        }
    };
    let noon = [Predicate::DatetimeRange(Range { gt: Some(1_704_110_400_000_000), ..Range::default() })];
    for text in
        ["2024-01-01T12:00:00Z", "2024-01-01T12:00:00", "2024-01-01 12:00", "2024-01-01T14:00:00+02:00"]
    {
        assert_eq!(at(text), noon, "{text}");
    }
}

#[test]
fn mistakes_are_named() {
    for (text, word) in [
        (r#"{"musst": []}"#, "unknown field `musst`"),
        (r#"{"must": [{"key": "a", "mach": {"value": 1}}]}"#, "unknown field `mach`"),
        (r#"{"must": [{"key": "a", "match": {"value": 1.5}}]}"#, "a text, a 64-bit integer or a boolean"),
        (r#"{"must": [{"key": "a", "match": {"value": 9223372036854775808}}]}"#, "64-bit integer"),
        (r#"{"must": [{"key": "a", "match": {"any": ["x", 1]}}]}"#, "all texts or all integers"),
        (r#"{"must": [{"key": "a", "match": {"any": [true]}}]}"#, "a list of texts or a list of integers"),
        (r#"{"must": [{"key": "a", "match": {"vlaue": 1}}]}"#, "unknown variant `vlaue`"),
        (r#"{"must": [{"key": "a", "match": {"value": 1, "text": "x"}}]}"#, "line 1"),
        (r#"{"must": [{"key": "a"}]}"#, "the condition on `a` has no predicate"),
        (r#"{"must": [{"key": "a", "match": {"value": 1}, "match": {"value": 2}}]}"#, "same field twice"),
        (r#"{"must": [{"match": {"value": 1}}]}"#, "missing field `key`"),
        (r#"{"must": [{"key": "a[", "match": {"value": 1}}]}"#, "Invalid json path"),
        (r#"{"must": [{"key": "a", "match": {"value": 1}, "has_id": [1]}]}"#, "not several of them"),
        (r#"{"must": [{"has_id": [1], "has_vector": "v"}]}"#, "not several of them"),
        (r#"{"must": [{"has_id": [1], "must": [{"has_id": [2]}]}]}"#, "not several of them"),
        (r#"{"must": [{"has_id": ["abc"]}]}"#, "not a valid point ID"),
        (r#"{"must": [{"has_id": [-1]}]}"#, "a point ID"),
        (
            r#"{"must": [{"key": "a", "range": {"gt": 1, "lt": "2024-01-01"}}]}"#,
            "all numbers or all date-times",
        ),
        (r#"{"must": [{"key": "a", "range": {"gt": "yesterday"}}]}"#, "not a date-time"),
        (r#"{"must": [{"key": "a", "range": {"above": 1}}]}"#, "unknown field `above`"),
        (
            r#"{"must": [{"key": "a", "geo_radius": {"center": {"lon": 0, "lat": 91}, "radius": 1}}]}"#,
            "lat 91",
        ),
        (
            r#"{"must": [{"key": "a", "geo_radius": {"center": {"lon": 0, "lat": 0}, "radius": -1}}]}"#,
            "positive",
        ),
        (
            r#"{"must": [{"key": "a", "geo_polygon": {"exterior": {"points": [{"lon": 0, "lat": 0}]}}}]}"#,
            "at least 4",
        ),
        (r#"{"must": [{"nested": {"key": "a"}}]}"#, "missing field `filter`"),
        (r#"{"min_should": {"conditions": []}}"#, "missing field `min_count`"),
        (
            r#"{"must": [{"slice": {"total": 2, "index": 0}}]}"#,
            "not supported yet: the filter condition `slice`",
        ),
        (r#"{"must": [{"key": "a", "match": {"prefix": "x"}}]}"#, "not supported yet: `match` with `prefix`"),
        (r#"{"must": 3}"#, "a condition or a list of conditions"),
        ("[]", "a filter"),
        ("null", "a filter"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn depth_and_size_are_limited_while_reading() {
    let deep =
        |levels: usize| format!("{}{{}}{}", r#"{"must":["#.repeat(levels - 1), "]}".repeat(levels - 1));
    assert!(read(&deep(MAX_FILTER_DEPTH)).is_ok());
    assert!(read(&deep(MAX_FILTER_DEPTH + 1)).unwrap_err().contains("at most 32 deep"));
    assert!(read(&deep(10_000)).is_err());
    let single = |levels: usize| format!("{}{{}}{}", r#"{"must":"#.repeat(levels), "}".repeat(levels));
    assert!(read(&single(10_000)).unwrap_err().contains("deep"));
    let nested = r#"{"must":[{"nested":{"key":"a","filter":"#.repeat(10_000);
    assert!(read(&nested).is_err());
    let wide = |n: usize| format!(r#"{{"should":[{}]}}"#, vec![r#"{"has_id":[]}"#; n].join(","));
    assert!(read(&wide(MAX_FILTER_CONDITIONS)).is_ok());
    assert!(read(&wide(MAX_FILTER_CONDITIONS + 1)).unwrap_err().contains("at most 10000 conditions"));
}
