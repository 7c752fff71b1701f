//! One field condition: the predicates on the values at a path, prepared.

use std::collections::{BTreeSet, HashSet};

use lodestone_types::{
    AnyOf, FieldCondition, FieldIndexKind, JsonPath, Match, Predicate, Range, Scalar, ValuesCount,
    parse_datetime,
};
use serde_json::{Map, Value};

use super::value::{counts, each_value, is_empty, is_null, same_text};
use crate::geo::{Shape, point_of};
use crate::schema::FieldSchema;
use crate::text::{TextMode, TextTest};

/// The test of a path.
#[derive(Debug, Clone)]
pub(super) struct FieldTest {
    path: JsonPath,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Count(ValuesCount),
    /// Everything reached is empty, or (`false`) not everything is.
    Empty(bool),
    /// Something reached is null.
    Null,
    /// Something reached is empty, or nothing is reached.
    SomeEmpty,
    /// Something reached is not null, or nothing is reached.
    SomeNotNull,
    AnyOf(Vec<ValueTest>),
}

#[derive(Debug, Clone)]
enum ValueTest {
    Integers { set: BTreeSet<i64>, negated: bool },
    Keywords { set: HashSet<String>, as_uuid: bool, negated: bool },
    Bool(bool),
    Range(Range<f64>),
    Datetime(Range<i64>),
    Geo(Shape),
    Text(TextTest),
}

/// Whether the predicate is about how many values there are rather than what they are. One of these decides
/// a condition alone, whatever other predicates stand beside it.
fn is_counting(predicate: &Predicate) -> bool {
    matches!(predicate, Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_))
}

impl FieldTest {
    pub(super) fn new(condition: &FieldCondition, schema: Option<&FieldSchema>) -> Self {
        let test = counting_test(&condition.predicates).unwrap_or_else(|| {
            Test::AnyOf(condition.predicates.iter().filter_map(|p| ValueTest::new(p, schema)).collect())
        });
        Self { path: condition.key.clone(), test }
    }

    pub(super) fn is_empty(path: &JsonPath) -> Self {
        Self { path: path.clone(), test: Test::Empty(true) }
    }

    pub(super) fn is_null(path: &JsonPath) -> Self {
        Self { path: path.clone(), test: Test::Null }
    }

    pub(super) fn matches(&self, payload: &Map<String, Value>) -> bool {
        let reached = self.path.values(payload);
        match &self.test {
            Test::Count(range) => counts(&reached).into_iter().any(|n| range.contains(n)),
            Test::Empty(wanted) => is_empty(&reached) == *wanted,
            Test::Null => is_null(&reached),
            Test::SomeEmpty => reached.is_empty() || reached.iter().any(|v| is_empty(&[v])),
            Test::SomeNotNull => reached.is_empty() || !reached.iter().all(|v| is_null(&[v])),
            Test::AnyOf(tests) => tests.iter().any(|t| t.matches(&reached)),
        }
    }
}

/// Which of several counting predicates decides, in order of precedence.
pub(crate) fn deciding(predicates: &[Predicate]) -> Option<&Predicate> {
    let rank = |p: &&Predicate| match p {
        Predicate::ValuesCount(_) => 0,
        Predicate::IsEmpty(_) => 1,
        _ => 2,
    };
    predicates.iter().filter(|p| is_counting(p)).min_by_key(rank)
}

fn counting_test(predicates: &[Predicate]) -> Option<Test> {
    match deciding(predicates)? {
        Predicate::ValuesCount(range) => Some(Test::Count(*range)),
        // As predicates of a field these ask each value, and one is enough; the conditions of the same names ask
        // all values at once. The difference shows only on paths that reach several.
        Predicate::IsEmpty(true) => Some(Test::SomeEmpty),
        Predicate::IsEmpty(false) => Some(Test::Empty(false)),
        Predicate::IsNull(true) => Some(Test::Null),
        Predicate::IsNull(false) => Some(Test::SomeNotNull),
        _ => None,
    }
}

impl ValueTest {
    fn new(predicate: &Predicate, schema: Option<&FieldSchema>) -> Option<Self> {
        Some(match predicate {
            Predicate::Match(wanted) => Self::of_match(wanted, schema),
            Predicate::Range(range) => ValueTest::Range(*range),
            Predicate::DatetimeRange(range) => ValueTest::Datetime(*range),
            Predicate::GeoBox { .. } | Predicate::GeoRadius { .. } | Predicate::GeoPolygon { .. } => {
                ValueTest::Geo(Shape::of(predicate)?)
            }
            Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_) => return None,
        })
    }

    fn of_match(wanted: &Match, schema: Option<&FieldSchema>) -> Self {
        let as_uuid = schema.is_some_and(|s| s.kind == FieldIndexKind::Uuid);
        let set = |any: &AnyOf, negated| match any {
            AnyOf::Integers(set) => ValueTest::Integers { set: set.clone(), negated },
            AnyOf::Keywords(set) => {
                let set = set.iter().map(|t| same_text(t, as_uuid).into_owned()).collect();
                ValueTest::Keywords { set, as_uuid, negated }
            }
        };
        let text = |mode, query: &str| {
            let analyzer = schema.and_then(|s| s.analyzer.clone());
            let joint = analyzer.is_some();
            ValueTest::Text(TextTest::new(mode, query, analyzer.unwrap_or_default(), joint))
        };
        match wanted {
            Match::Value(Scalar::Bool(wanted)) => ValueTest::Bool(*wanted),
            Match::Value(Scalar::Integer(wanted)) => {
                ValueTest::Integers { set: BTreeSet::from([*wanted]), negated: false }
            }
            Match::Value(Scalar::Keyword(wanted)) => {
                let set = HashSet::from([same_text(wanted, as_uuid).into_owned()]);
                ValueTest::Keywords { set, as_uuid, negated: false }
            }
            Match::Any(any) => set(any, false),
            Match::Except(any) => set(any, true),
            Match::Text(query) => text(TextMode::All, query),
            Match::TextAny(query) => text(TextMode::Any, query),
            Match::Phrase(query) => text(TextMode::Phrase, query),
        }
    }

    fn matches(&self, reached: &[&Value]) -> bool {
        let mut values = each_value(reached);
        match self {
            // A null is no value, so it is not "another value" either.
            ValueTest::Integers { set, negated } => {
                values.any(|v| !v.is_null() && v.as_i64().is_some_and(|n| set.contains(&n)) != *negated)
            }
            ValueTest::Keywords { set, as_uuid, negated } => values.any(|v| {
                let found = v.as_str().is_some_and(|t| set.contains(same_text(t, *as_uuid).as_ref()));
                !v.is_null() && found != *negated
            }),
            ValueTest::Bool(wanted) => values.any(|v| v.as_bool() == Some(*wanted)),
            ValueTest::Range(range) => values.any(|v| v.as_f64().is_some_and(|n| range.contains(n))),
            ValueTest::Datetime(range) => {
                values.any(|v| v.as_str().and_then(parse_datetime).is_some_and(|t| range.contains(t)))
            }
            ValueTest::Geo(shape) => values.any(|v| point_of(v).is_some_and(|p| shape.contains(p))),
            ValueTest::Text(test) => test.matches(values.filter_map(Value::as_str)),
        }
    }
}
