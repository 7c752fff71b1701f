//! What is asked, and conditions with a meaning of their own to compare with.

use lodestone_types::{Condition, FieldCondition, Filter, Match, PointId, Predicate, Range, Scalar};
use proptest::prelude::*;
use serde_json::Value;

use super::model::{Stored, any_id};

#[derive(Debug, Clone)]
pub struct Question {
    pub filter: Option<Cond>,
    pub using: &'static str,
    pub vector: Vec<f32>,
    pub threshold: Option<f32>,
    pub except: Option<PointId>,
    pub limit: usize,
    pub start: Option<i64>,
    pub seed: u64,
}

#[derive(Debug, Clone)]
pub enum Cond {
    /// `k` is, or has, this text.
    Keyword(&'static str),
    /// `n` is, or has, a number that is not less.
    AtLeast(i64),
    /// `o.a` is 1. No index.
    Inner,
    /// `n` is absent, null or an empty array.
    NoNumber,
    Ids(Vec<PointId>),
    HasVector(&'static str),
    Not(Box<Cond>),
    Both(Box<Cond>, Box<Cond>),
    Either(Box<Cond>, Box<Cond>),
}

impl Cond {
    pub fn filter(&self) -> Filter {
        match self {
            Cond::Not(inner) => Filter { must_not: vec![inner.condition()], ..Filter::default() },
            Cond::Both(a, b) => Filter { must: vec![a.condition(), b.condition()], ..Filter::default() },
            Cond::Either(a, b) => Filter { should: vec![a.condition(), b.condition()], ..Filter::default() },
            _ => Filter::must(self.condition()),
        }
    }

    fn condition(&self) -> Condition {
        let field = |key: &str, predicate| {
            Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates: vec![predicate] })
        };
        match self {
            Cond::Keyword(text) => {
                field("k", Predicate::Match(Match::Value(Scalar::Keyword((*text).to_owned()))))
            }
            Cond::AtLeast(n) => {
                field("n", Predicate::Range(Range { gte: Some(*n as f64), ..Range::default() }))
            }
            Cond::Inner => field("o.a", Predicate::Match(Match::Value(Scalar::Integer(1)))),
            Cond::NoNumber => Condition::IsEmpty("n".parse().unwrap()),
            Cond::Ids(ids) => Condition::HasId(ids.iter().copied().collect()),
            Cond::HasVector(name) => Condition::HasVector((*name).to_owned()),
            _ => Condition::Filter(self.filter()),
        }
    }

    pub fn holds(&self, id: PointId, point: &Stored) -> bool {
        let any = |key: &str, test: &dyn Fn(&Value) -> bool| match point.payload.get(key) {
            Some(Value::Array(values)) => values.iter().any(test),
            Some(value) => test(value),
            None => false,
        };
        match self {
            Cond::Keyword(text) => any("k", &|value| value.as_str() == Some(text)),
            Cond::AtLeast(n) => any("n", &|value| value.as_f64().is_some_and(|v| v >= *n as f64)),
            Cond::Inner => point.payload.get("o").is_some_and(|o| o["a"] == 1),
            Cond::NoNumber => match point.payload.get("n") {
                None | Some(Value::Null) => true,
                Some(Value::Array(values)) => values.is_empty(),
                Some(_) => false,
            },
            Cond::Ids(ids) => ids.contains(&id),
            Cond::HasVector(name) => point.vectors.contains_key(*name),
            Cond::Not(inner) => !inner.holds(id, point),
            Cond::Both(a, b) => a.holds(id, point) && b.holds(id, point),
            Cond::Either(a, b) => a.holds(id, point) || b.holds(id, point),
        }
    }
}

fn any_condition() -> impl Strategy<Value = Cond> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["x", "y", "z"]).prop_map(Cond::Keyword),
        (0i64..6).prop_map(Cond::AtLeast),
        Just(Cond::Inner),
        Just(Cond::NoNumber),
        prop::collection::vec(any_id(), 0..6).prop_map(Cond::Ids),
        prop::sample::select(vec!["", "bytes", "half"]).prop_map(Cond::HasVector),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|c| Cond::Not(Box::new(c))),
            pair.clone().prop_map(|(a, b)| Cond::Both(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Cond::Either(Box::new(a), Box::new(b))),
        ]
    })
}

pub fn any_question() -> impl Strategy<Value = Question> {
    (
        prop::option::weighted(0.7, any_condition()),
        prop::sample::select(vec!["", "bytes", "half"]),
        prop::collection::vec((0u8..4).prop_map(f32::from), 3),
        prop::option::weighted(0.3, (0u8..8).prop_map(f32::from)),
        prop::option::weighted(0.3, any_id()),
        1usize..6,
        prop::option::of(0i64..5),
        any::<u64>(),
    )
        .prop_map(|(filter, using, vector, threshold, except, limit, start, seed)| Question {
            filter,
            using,
            vector,
            threshold,
            except,
            limit,
            start,
            seed,
        })
}
