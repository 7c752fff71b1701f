//! A second evaluator, as plain as possible: no preparation, no shared code, everything from the definition.

use lodestone_types::{
    AnyOf, Condition, FieldIndexKind, Filter, GeoPoint, JsonPath, Match, PathSegment, Point, Predicate,
    Range, Scalar,
};
use serde_json::{Map, Value};

/// A text index as far as it changes answers.
#[derive(Debug, Clone)]
pub struct NaiveText {
    pub tokenizer: &'static str,
    pub lowercase: bool,
    pub longest: usize,
    pub stopword: Option<&'static str>,
}

/// The kind of the index on a path, and how it cuts texts.
pub type KindAt<'a> = &'a dyn Fn(&str) -> Option<(FieldIndexKind, NaiveText)>;

pub fn matches(filter: &Filter, point: &Point, kind_at: KindAt<'_>) -> bool {
    holds(filter, Some(point), &point.payload.0, "", kind_at)
}

fn holds(
    filter: &Filter,
    point: Option<&Point>,
    payload: &Map<String, Value>,
    prefix: &str,
    kind_at: KindAt<'_>,
) -> bool {
    let check = |c: &Condition| condition(c, point, payload, prefix, kind_at);
    let count = |all: &[Condition]| all.iter().filter(|c| check(c)).count();
    count(&filter.must) == filter.must.len()
        && count(&filter.must_not) == 0
        && (filter.should.is_empty() || count(&filter.should) > 0)
        && filter.min_should.as_ref().is_none_or(|m| count(&m.conditions) >= m.min_count)
}

fn condition(
    condition: &Condition,
    point: Option<&Point>,
    payload: &Map<String, Value>,
    prefix: &str,
    kind_at: KindAt<'_>,
) -> bool {
    match condition {
        Condition::IsEmpty(path) => empty(&reach(path, payload)),
        Condition::IsNull(path) => null(&reach(path, payload)),
        Condition::HasId(ids) => point.is_some_and(|p| ids.contains(&p.id)),
        Condition::HasVector(name) => point.is_some_and(|p| p.vectors.0.iter().any(|(n, _)| n == name)),
        Condition::Filter(filter) => holds(filter, point, payload, prefix, kind_at),
        Condition::Nested { key, filter } => {
            let mut array = key.clone();
            if array.0.last() == Some(&PathSegment::Wildcard) {
                array.0.pop();
            }
            let prefix = format!("{prefix}{array}[].");
            reach(&array, payload).iter().any(|value| match value {
                Value::Array(elements) => elements.iter().any(|element| match element {
                    Value::Object(object) => holds(filter, None, object, &prefix, kind_at),
                    _ => false,
                }),
                _ => false,
            })
        }
        Condition::Field(field) => {
            let reached = reach(&field.key, payload);
            let index = kind_at(&format!("{prefix}{}", field.key));
            let mut counted = None;
            for predicate in &field.predicates {
                let rank = match predicate {
                    Predicate::ValuesCount(_) => 1,
                    Predicate::IsEmpty(_) => 2,
                    Predicate::IsNull(_) => 3,
                    _ => continue,
                };
                if counted.is_none_or(|(best, _)| rank < best) {
                    counted = Some((rank, predicate));
                }
            }
            match counted {
                Some((_, Predicate::ValuesCount(range))) => {
                    let mut counts: Vec<u64> = reached.iter().map(size).collect();
                    if reached.iter().all(Value::is_null) {
                        counts = vec![0];
                    }
                    counts.into_iter().any(|n| in_range(range, n))
                }
                Some((_, Predicate::IsEmpty(true))) => {
                    reached.is_empty() || reached.iter().any(|v| empty(std::slice::from_ref(v)))
                }
                Some((_, Predicate::IsEmpty(false))) => !empty(&reached),
                Some((_, Predicate::IsNull(true))) => null(&reached),
                Some((_, Predicate::IsNull(false))) => {
                    reached.is_empty() || reached.iter().any(|v| !null(std::slice::from_ref(v)))
                }
                _ => field.predicates.iter().any(|p| predicate(p, &flat(&reached), &index)),
            }
        }
    }
}

/// Everything at a path, by recursion over the path.
fn reach(path: &JsonPath, payload: &Map<String, Value>) -> Vec<Value> {
    fn go(segments: &[PathSegment], value: &Value, found: &mut Vec<Value>) {
        match (segments.split_first(), value) {
            (None, _) => found.push(value.clone()),
            (Some((PathSegment::Key(key), rest)), Value::Object(object)) => {
                if let Some(value) = object.get(key) {
                    go(rest, value, found);
                }
            }
            (Some((PathSegment::Index(i), rest)), Value::Array(array)) if *i < array.len() => {
                go(rest, &array[*i], found);
            }
            (Some((PathSegment::Wildcard, rest)), Value::Array(array)) => {
                array.iter().for_each(|value| go(rest, value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    go(&path.0, &Value::Object(payload.clone()), &mut found);
    found
}

fn flat(values: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Array(elements) => all.extend(elements.clone()),
            Value::Null => {}
            other => all.push(other.clone()),
        }
    }
    all.retain(|v| *v != Value::Null);
    all
}

fn size(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len() as u64,
        _ => 1,
    }
}

fn empty(values: &[Value]) -> bool {
    values.iter().filter(|v| **v != Value::Null && **v != Value::Array(vec![])).count() == 0
}

fn null(values: &[Value]) -> bool {
    values.iter().any(|v| match v {
        Value::Null => true,
        Value::Array(elements) => elements.contains(&Value::Null),
        _ => false,
    })
}

fn in_range<T: PartialOrd + Copy>(range: &Range<T>, value: T) -> bool {
    !(range.gt.is_some_and(|b| value <= b)
        || range.gte.is_some_and(|b| value < b)
        || range.lt.is_some_and(|b| value >= b)
        || range.lte.is_some_and(|b| value > b))
}

fn predicate(predicate: &Predicate, values: &[Value], index: &Option<(FieldIndexKind, NaiveText)>) -> bool {
    let point = |v: &Value| match (&v["lon"], &v["lat"]) {
        (Value::Number(lon), Value::Number(lat)) => {
            Some(GeoPoint { lon: lon.as_f64().unwrap(), lat: lat.as_f64().unwrap() })
        }
        _ => None,
    };
    let inside = |f: &dyn Fn(GeoPoint) -> bool| values.iter().filter_map(point).any(f);
    match predicate {
        Predicate::Match(wanted) => match_any(wanted, values, index),
        Predicate::Range(range) => values.iter().filter_map(Value::as_f64).any(|n| in_range(range, n)),
        Predicate::DatetimeRange(range) => values.iter().any(|v| match v {
            // The generated dates are days of January 1970.
            Value::String(text) => text
                .strip_prefix("1970-01-")
                .and_then(|day| day.parse::<i64>().ok())
                .is_some_and(|day| in_range(range, (day - 1) * 86_400_000_000)),
            _ => false,
        }),
        Predicate::GeoBox { top_left, bottom_right } => inside(&|p| {
            let lon = if top_left.lon > bottom_right.lon {
                p.lon > top_left.lon || p.lon < bottom_right.lon
            } else {
                p.lon > top_left.lon && p.lon < bottom_right.lon
            };
            lon && p.lat < top_left.lat && p.lat > bottom_right.lat
        }),
        // By vectors in space instead of by the haversine formula.
        Predicate::GeoRadius { center, radius } => inside(&|p| angle(p, *center) * 6_371_008.8 < *radius),
        Predicate::GeoPolygon { exterior, .. } => {
            // The generated polygons are boxes along the axes.
            let (a, b) = (exterior[0], exterior[2]);
            inside(&|p| p.lon > a.lon && p.lon < b.lon && p.lat > a.lat && p.lat < b.lat)
        }
        Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_) => unreachable!(),
    }
}

fn angle(a: GeoPoint, b: GeoPoint) -> f64 {
    let space = |p: GeoPoint| {
        let (lon, lat) = (p.lon.to_radians(), p.lat.to_radians());
        [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
    };
    let (a, b) = (space(a), space(b));
    let chord: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    2.0 * (chord / 2.0).min(1.0).asin()
}

fn match_any(wanted: &Match, values: &[Value], index: &Option<(FieldIndexKind, NaiveText)>) -> bool {
    let as_uuid = index.as_ref().is_some_and(|(kind, _)| *kind == FieldIndexKind::Uuid);
    let spell = |text: &str| {
        let plain: String = text.to_lowercase().chars().filter(|c| *c != '-').collect();
        let is_uuid = plain.len() == 32 && plain.chars().all(|c| c.is_ascii_hexdigit());
        if as_uuid && is_uuid { plain } else { text.to_owned() }
    };
    let one_of = |value: &Value, any: &AnyOf| match any {
        AnyOf::Keywords(texts) => {
            value.as_str().is_some_and(|v| texts.iter().any(|text| spell(text) == spell(v)))
        }
        AnyOf::Integers(numbers) => numbers.iter().any(|n| value.as_i64() == Some(*n)),
    };
    match wanted {
        Match::Value(Scalar::Bool(wanted)) => values.contains(&Value::Bool(*wanted)),
        Match::Value(Scalar::Integer(n)) => values.iter().any(|v| one_of(v, &AnyOf::Integers([*n].into()))),
        Match::Value(Scalar::Keyword(t)) => {
            values.iter().any(|v| one_of(v, &AnyOf::Keywords([t.clone()].into())))
        }
        Match::Any(any) => values.iter().any(|v| one_of(v, any)),
        Match::Except(any) => values.iter().any(|v| !one_of(v, any)),
        Match::Text(query) => text(query, values, index, |words, query| {
            query.iter().all(|q| words.iter().flatten().any(|w| fits(w, q)))
        }),
        Match::TextAny(query) => text(query, values, index, |words, query| {
            query.iter().any(|q| words.iter().flatten().any(|w| fits(w, q)))
        }),
        Match::Phrase(query) => text(query, values, index, |words, query| {
            words.iter().any(|words| {
                words.windows(query.len()).any(|run| run.iter().zip(query).all(|(w, q)| fits(w, q)))
            })
        }),
    }
}

/// A word of a document, and whether a query may be a prefix of it.
struct Word {
    text: String,
    by_prefix: bool,
}

fn fits(word: &Word, query: &str) -> bool {
    if word.by_prefix { word.text.starts_with(query) } else { word.text == query }
}

/// Hands the words of each text to `test`: all texts together where there is an index, else one by one.
fn text(
    query: &str,
    values: &[Value],
    index: &Option<(FieldIndexKind, NaiveText)>,
    test: impl Fn(&[Vec<Word>], &[String]) -> bool,
) -> bool {
    let default = NaiveText { tokenizer: "word", lowercase: true, longest: usize::MAX, stopword: None };
    let index = index.as_ref().filter(|(kind, _)| *kind == FieldIndexKind::Text);
    let rules = index.map_or(&default, |(_, rules)| rules);
    let by_prefix = rules.tokenizer == "prefix";
    let cut = |text: &str| -> Vec<String> {
        let spaced: String = match rules.tokenizer {
            "whitespace" => text.to_owned(),
            _ => text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect(),
        };
        let words = spaced.split_whitespace();
        let words = words.map(|w| if rules.lowercase { w.to_lowercase() } else { w.to_owned() });
        let words = words.filter(|w| Some(w.as_str()) != rules.stopword);
        words.filter(|w| by_prefix || w.chars().count() <= rules.longest).collect()
    };
    let query: Vec<String> = cut(query)
        .into_iter()
        .map(|w| if by_prefix { w.chars().take(rules.longest).collect() } else { w })
        .collect();
    let documents = values.iter().filter_map(Value::as_str);
    let documents = documents.map(|d| cut(d).into_iter().map(|text| Word { text, by_prefix }).collect());
    let documents: Vec<Vec<Word>> = documents.collect();
    if query.is_empty() {
        return false;
    }
    match index {
        Some(_) => test(&documents, &query),
        None => documents.chunks(1).any(|one| test(one, &query)),
    }
}
