//! Points in the order of a payload value.

use std::cmp::Ordering;

use lodestone_types::{
    Error, FieldIndexKind, JsonPath, OrderBy, OrderDirection, OrderValue, Payload, PointId, Result,
    parse_datetime,
};
use serde_json::Value;

/// How to find the values a point is ordered by: an [`OrderBy`] and the kind of the index on its key.
#[derive(Debug, Clone)]
pub struct ValueOrder {
    key: JsonPath,
    kind: FieldIndexKind,
    /// Which way.
    pub direction: OrderDirection,
    start_from: Option<OrderValue>,
}

impl ValueOrder {
    /// `kind` is that of the index on the key, which has to be one of numbers or date-times.
    pub fn new(order_by: &OrderBy, kind: Option<FieldIndexKind>) -> Result<Self> {
        match kind {
            Some(kind @ (FieldIndexKind::Integer | FieldIndexKind::Float | FieldIndexKind::Datetime)) => {
                Ok(Self {
                    key: order_by.key.clone(),
                    kind,
                    direction: order_by.direction,
                    start_from: order_by.start_from,
                })
            }
            _ => Err(Error::bad_request(format!(
                "No range index for `order_by` key: `{}`. Please create one to use `order_by`. Integer, float \
                 and datetime payload indexes can be used for it",
                order_by.key
            ))),
        }
    }

    /// Where the values are.
    pub fn key(&self) -> &JsonPath {
        &self.key
    }

    /// The kind of the index on the key.
    pub fn kind(&self) -> FieldIndexKind {
        self.kind
    }

    /// The first value to return.
    pub fn start_from(&self) -> Option<OrderValue> {
        self.start_from
    }

    /// A row at one of its values.
    pub(crate) fn at<K>(&self, value: OrderValue, id: PointId, key: K) -> Ordered<K> {
        Ordered { direction: self.direction, value, id, key }
    }

    /// Whether `value` comes after `other`.
    pub(crate) fn is_after(&self, value: OrderValue, other: OrderValue) -> bool {
        let order = compare(value, other);
        if self.direction == OrderDirection::Asc { order.is_gt() } else { order.is_lt() }
    }

    /// The values of a payload, each once, from where the order starts. A point appears once for each.
    pub fn values(&self, payload: &Payload) -> Vec<OrderValue> {
        let mut values = Vec::new();
        for value in self.key.values(&payload.0) {
            match value {
                Value::Array(elements) => values.extend(elements.iter().filter_map(|v| self.value(v))),
                value => values.extend(self.value(value)),
            }
        }
        values.retain(|value| self.has_started(*value));
        values.sort_by(|a, b| compare(*a, *b));
        values.dedup_by(|a, b| compare(*a, *b) == Ordering::Equal);
        values
    }

    fn value(&self, value: &Value) -> Option<OrderValue> {
        match self.kind {
            FieldIndexKind::Integer => value.as_i64().map(OrderValue::Int),
            FieldIndexKind::Float => value.as_f64().map(OrderValue::Float),
            FieldIndexKind::Datetime => parse_datetime(value.as_str()?).map(OrderValue::Int),
            _ => None,
        }
    }

    pub(crate) fn has_started(&self, value: OrderValue) -> bool {
        self.start_from.is_none_or(|start| !self.is_after(start, value))
    }
}

/// A point at one of its values, in the order of pages: by value, then by id, both in the order's direction.
#[derive(Debug, Clone, Copy)]
pub struct Ordered<K> {
    /// Which way.
    pub direction: OrderDirection,
    /// Of the point.
    pub value: OrderValue,
    /// Its id.
    pub id: PointId,
    /// Where it is; not part of the order.
    pub key: K,
}

impl<K> Ord for Ordered<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = compare(self.value, other.value).then_with(|| self.id.cmp(&other.id));
        if self.direction == OrderDirection::Asc { ascending } else { ascending.reverse() }
    }
}

impl<K> PartialOrd for Ordered<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Ordered<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K> Eq for Ordered<K> {}

/// The order of values. Integers and floats mix where a user starts an order of floats at an integer.
pub fn compare(a: OrderValue, b: OrderValue) -> Ordering {
    match (a, b) {
        (OrderValue::Int(a), OrderValue::Int(b)) => a.cmp(&b),
        (OrderValue::Float(a), OrderValue::Float(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
        (OrderValue::Int(a), OrderValue::Float(b)) => compare_mixed(a, b),
        (OrderValue::Float(a), OrderValue::Int(b)) => compare_mixed(b, a).reverse(),
    }
}

/// An integer and a float without rounding the integer: the float's whole part fits in 128 bits or it is
/// beyond all integers.
fn compare_mixed(int: i64, float: f64) -> Ordering {
    if float.is_nan() || float.abs() >= 1e30 {
        return 0.0_f64.total_cmp(&float);
    }
    let whole = float.floor();
    i128::from(int).cmp(&(whole as i128)).then(if float > whole { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(kind: FieldIndexKind, direction: OrderDirection, start: Option<OrderValue>) -> Vec<OrderValue> {
        let by = OrderBy { key: "k[].v".parse().unwrap(), direction, start_from: start };
        let payload = json!({"k": [
            {"v": 3}, {"v": [1, 3, 2.5, true, null, "2024-01-01"]}, {"w": 9}, {"v": "2020-01-01T00:00:00Z"}
        ]});
        let order = ValueOrder::new(&by, Some(kind)).unwrap();
        order.values(&serde_json::from_value(payload).unwrap())
    }

    #[test]
    fn finds_values_of_its_kind() {
        use OrderValue::{Float, Int};
        let (asc, desc) = (OrderDirection::Asc, OrderDirection::Desc);
        assert_eq!(values(FieldIndexKind::Integer, asc, None), [Int(1), Int(3)]);
        assert_eq!(values(FieldIndexKind::Float, asc, None), [Float(1.0), Float(2.5), Float(3.0)]);
        assert_eq!(values(FieldIndexKind::Float, asc, Some(Int(2))), [Float(2.5), Float(3.0)]);
        assert_eq!(values(FieldIndexKind::Integer, desc, Some(Float(2.9))), [Int(1)]);
        let dates = values(FieldIndexKind::Datetime, asc, None);
        assert_eq!(dates, [Int(1_577_836_800_000_000), Int(1_704_067_200_000_000)]);
    }

    #[test]
    fn refuses_a_key_without_a_range_index() {
        let by = OrderBy { key: "k".parse().unwrap(), direction: OrderDirection::Asc, start_from: None };
        assert!(ValueOrder::new(&by, None).is_err());
        assert!(ValueOrder::new(&by, Some(FieldIndexKind::Keyword)).is_err());
    }

    #[test]
    fn integers_and_floats_mix_exactly() {
        let big = (1_i64 << 53) + 1;
        assert_eq!(compare(OrderValue::Int(big), OrderValue::Float((1_i64 << 53) as f64)), Ordering::Greater);
        assert_eq!(compare(OrderValue::Int(-1), OrderValue::Float(-0.5)), Ordering::Less);
        assert_eq!(compare(OrderValue::Float(-0.5), OrderValue::Int(-1)), Ordering::Greater);
        assert_eq!(compare(OrderValue::Int(2), OrderValue::Float(2.0)), Ordering::Equal);
        assert_eq!(compare(OrderValue::Int(i64::MAX), OrderValue::Float(1e300)), Ordering::Less);
        assert_eq!(
            compare(OrderValue::Int(i64::MIN), OrderValue::Float(f64::NEG_INFINITY)),
            Ordering::Greater
        );
    }
}
