//! Whether one point matches a filter, decided exactly from the point itself.
//!
//! A filter is prepared once ([`Evaluator::new`]: token lists, hash sets, shapes) and then asked about many
//! points. Points are seen through [`RowView`], so that a filter which needs no payload never loads one.

mod field;
mod value;

use std::collections::BTreeSet;

use lodestone_types::{Condition, Filter, JsonPath, PathSegment, Point, PointId};
use serde_json::{Map, Value};

use crate::schema::IndexSchema;
use field::FieldTest;
pub(crate) use field::deciding;
pub(crate) use value::{counts, each_value, is_null, same_text};

/// What a filter may ask of a point. Implementations load lazily.
pub trait RowView {
    /// Its id.
    fn id(&self) -> PointId;
    /// Its payload. Only called where [`Evaluator::needs_payload`].
    fn payload(&self) -> &Map<String, Value>;
    /// Whether it has a vector called `name` (`""` is the unnamed one).
    fn has_vector(&self, name: &str) -> bool;
}

impl RowView for Point {
    fn id(&self) -> PointId {
        self.id
    }

    fn payload(&self) -> &Map<String, Value> {
        &self.payload.0
    }

    fn has_vector(&self, name: &str) -> bool {
        self.vectors.get(name).is_some()
    }
}

impl<R: RowView + ?Sized> RowView for &R {
    fn id(&self) -> PointId {
        (**self).id()
    }

    fn payload(&self) -> &Map<String, Value> {
        (**self).payload()
    }

    fn has_vector(&self, name: &str) -> bool {
        (**self).has_vector(name)
    }
}

/// A filter, prepared.
#[derive(Debug, Clone)]
pub struct Evaluator {
    root: Clauses,
}

impl Evaluator {
    /// Prepares `filter` for a collection with these indexes.
    pub fn new(filter: &Filter, schema: &IndexSchema) -> Self {
        Self { root: Clauses::new(filter, &Scope { schema, within: None }) }
    }

    /// Whether the point matches.
    pub fn matches(&self, row: &dyn RowView) -> bool {
        self.root.hold(&Subject::Point(row))
    }

    /// Whether any condition looks into the payload.
    pub fn needs_payload(&self) -> bool {
        self.root.need_payload()
    }
}

/// What a condition is about: a point, or an element of an array within a nested condition.
enum Subject<'a> {
    Point(&'a dyn RowView),
    Element(&'a Map<String, Value>),
}

impl<'a> Subject<'a> {
    fn payload(&self) -> &'a Map<String, Value> {
        match self {
            Subject::Point(row) => (*row).payload(),
            Subject::Element(object) => object,
        }
    }
}

/// Where a filter stands: paths within a nested condition start at the element.
struct Scope<'a> {
    schema: &'a IndexSchema,
    within: Option<JsonPath>,
}

impl Scope<'_> {
    fn full_path(&self, path: &JsonPath) -> JsonPath {
        self.within.as_ref().map_or_else(|| path.clone(), |array| array.through_array(path))
    }
}

#[derive(Debug, Clone)]
struct Clauses {
    must: Vec<Test>,
    should: Vec<Test>,
    must_not: Vec<Test>,
    min_should: Option<(usize, Vec<Test>)>,
}

#[derive(Debug, Clone)]
enum Test {
    Field(FieldTest),
    HasId(BTreeSet<PointId>),
    HasVector(String),
    Nested { array: JsonPath, clauses: Clauses },
    Filter(Clauses),
}

impl Clauses {
    fn new(filter: &Filter, scope: &Scope<'_>) -> Self {
        let prepare = |conditions: &[Condition]| conditions.iter().map(|c| Test::new(c, scope)).collect();
        Self {
            must: prepare(&filter.must),
            should: prepare(&filter.should),
            must_not: prepare(&filter.must_not),
            min_should: filter.min_should.as_ref().map(|m| (m.min_count, prepare(&m.conditions))),
        }
    }

    fn hold(&self, subject: &Subject<'_>) -> bool {
        self.must.iter().all(|t| t.holds(subject))
            && !self.must_not.iter().any(|t| t.holds(subject))
            && (self.should.is_empty() || self.should.iter().any(|t| t.holds(subject)))
            && self.min_should.as_ref().is_none_or(|(count, tests)| {
                // Lazy: stops at the first that completes the count.
                *count == 0 || tests.iter().filter(|t| t.holds(subject)).nth(count - 1).is_some()
            })
    }

    fn need_payload(&self) -> bool {
        let least = self.min_should.iter().flat_map(|(_, tests)| tests);
        self.must.iter().chain(&self.should).chain(&self.must_not).chain(least).any(Test::needs_payload)
    }
}

impl Test {
    fn new(condition: &Condition, scope: &Scope<'_>) -> Self {
        match condition {
            Condition::Field(field) => {
                let schema = scope.schema.field(&scope.full_path(&field.key));
                Test::Field(FieldTest::new(field, schema))
            }
            Condition::IsEmpty(path) => Test::Field(FieldTest::is_empty(path)),
            Condition::IsNull(path) => Test::Field(FieldTest::is_null(path)),
            Condition::HasId(ids) => Test::HasId(ids.clone()),
            Condition::HasVector(name) => Test::HasVector(name.clone()),
            Condition::Nested { key, filter } => {
                let within = Scope { schema: scope.schema, within: Some(scope.full_path(key)) };
                Test::Nested { array: without_brackets(key), clauses: Clauses::new(filter, &within) }
            }
            Condition::Filter(filter) => Test::Filter(Clauses::new(filter, scope)),
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Test::Field(test) => test.matches(subject.payload()),
            // An element of an array is no point: it has no id and no vectors.
            Test::HasId(ids) => matches!(subject, Subject::Point(row) if ids.contains(&row.id())),
            Test::HasVector(name) => matches!(subject, Subject::Point(row) if row.has_vector(name)),
            Test::Nested { array, clauses } => {
                let arrays = array.values(subject.payload());
                let elements = arrays.into_iter().filter_map(Value::as_array).flatten();
                elements.filter_map(Value::as_object).any(|object| clauses.hold(&Subject::Element(object)))
            }
            Test::Filter(clauses) => clauses.hold(subject),
        }
    }

    fn needs_payload(&self) -> bool {
        match self {
            Test::Field(_) | Test::Nested { .. } => true,
            Test::HasId(_) | Test::HasVector(_) => false,
            Test::Filter(clauses) => clauses.need_payload(),
        }
    }
}

/// `k[]` as the key of a nested condition means the same as `k`.
fn without_brackets(key: &JsonPath) -> JsonPath {
    match key.0.split_last() {
        Some((PathSegment::Wildcard, array)) if !array.is_empty() => JsonPath(array.to_vec()),
        _ => key.clone(),
    }
}
