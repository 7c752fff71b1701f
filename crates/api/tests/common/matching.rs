//! Whether a point matches a filter: the kinds of conditions that the tests of the interfaces use.

use lodestone_types::{
    AnyOf, Condition, Error, FieldCondition, Filter, Match, Point, Predicate, Result, Scalar,
};
use serde_json::Value;

/// Whether `point` matches `filter`.
pub fn matches(filter: &Filter, point: &Point) -> Result<bool> {
    let count = |conditions: &[Condition]| -> Result<usize> {
        let mut held = 0;
        for condition in conditions {
            held += usize::from(holds(condition, point)?);
        }
        Ok(held)
    };
    let least = match &filter.min_should {
        Some(min) => count(&min.conditions)? >= min.min_count,
        None => true,
    };
    Ok(count(&filter.must)? == filter.must.len()
        && count(&filter.must_not)? == 0
        && (filter.should.is_empty() || count(&filter.should)? > 0)
        && least)
}

fn holds(condition: &Condition, point: &Point) -> Result<bool> {
    Ok(match condition {
        Condition::Field(field) => field_holds(field, point)?,
        Condition::HasId(ids) => ids.contains(&point.id),
        Condition::HasVector(name) => point.vectors.get(name).is_some(),
        Condition::IsEmpty(key) => key.values(&point.payload.0).is_empty(),
        Condition::IsNull(key) => key.values(&point.payload.0).iter().any(|v| v.is_null()),
        Condition::Filter(filter) => matches(filter, point)?,
        Condition::Nested { .. } => return Err(Error::unsupported("nested conditions in the test engine")),
    })
}

fn field_holds(field: &FieldCondition, point: &Point) -> Result<bool> {
    let found = field.key.values(&point.payload.0);
    let values: Vec<&Value> =
        found.iter().flat_map(|v| v.as_array().map_or(vec![*v], |a| a.iter().collect())).collect();
    for predicate in &field.predicates {
        let holds = match predicate {
            Predicate::Match(m) => values.iter().any(|v| equals(m, v)),
            Predicate::Range(range) => values.iter().filter_map(|v| v.as_f64()).any(|n| range.contains(n)),
            Predicate::ValuesCount(range) => range.contains(values.len() as u64),
            Predicate::DatetimeRange(range) => values
                .iter()
                .filter_map(|v| lodestone_types::parse_datetime(v.as_str()?))
                .any(|t| range.contains(t)),
            _ => return Err(Error::unsupported("this predicate in the test engine")),
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(m: &Match, value: &Value) -> bool {
    let within = |any: &AnyOf| match any {
        AnyOf::Keywords(set) => value.as_str().is_some_and(|s| set.contains(s)),
        AnyOf::Integers(set) => value.as_i64().is_some_and(|n| set.contains(&n)),
    };
    match m {
        Match::Value(Scalar::Keyword(s)) => value.as_str() == Some(s),
        Match::Value(Scalar::Integer(n)) => value.as_i64() == Some(*n),
        Match::Value(Scalar::Bool(b)) => value.as_bool() == Some(*b),
        Match::Any(any) => within(any),
        Match::Except(any) => !within(any),
        Match::Text(s) | Match::TextAny(s) | Match::Phrase(s) => {
            value.as_str().is_some_and(|v| v.contains(s))
        }
    }
}
