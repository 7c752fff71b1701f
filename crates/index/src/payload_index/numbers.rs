//! Integer, float and date-time indexes: values in sorted order with their rows.
//!
//! Keys are stored so that unsigned order is the order of values. `zones` repeats every 1,024th key: a search
//! over ranges of a bucket reads it first and then one zone at either end. `by_row` is the permutation of the
//! entries by row, to find the values of a row.

use std::ops::Range as Span;

use lodestone_types::{
    AnyOf, FieldIndexKind, Match, OrderDirection, OrderValue, Predicate, Range, Result, Scalar,
    parse_datetime,
};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::Taken;
use super::presence::Presence;
use super::section::{Blob, Section, SectionWriter};
use super::value_order::RareValues;
use crate::codec::{Column, bitmap_of_rows, damaged};
use crate::matches::Matches;

const ZONE: usize = 1024;
const SIGN: u64 = 1 << 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberKind {
    Integer,
    Float,
    Datetime,
}

impl NumberKind {
    pub(super) fn of(kind: FieldIndexKind) -> Option<Self> {
        match kind {
            FieldIndexKind::Integer => Some(NumberKind::Integer),
            FieldIndexKind::Float => Some(NumberKind::Float),
            FieldIndexKind::Datetime => Some(NumberKind::Datetime),
            _ => None,
        }
    }

    fn key_of(self, value: &Value) -> Result<u64, Taken> {
        match self {
            NumberKind::Integer => match (value.as_i64(), value.is_number()) {
                (Some(value), _) => Ok(key_of_int(value)),
                // A fraction, or beyond 64 bits: a range may still include it.
                (None, true) => Err(Taken::Loose),
                (None, false) => Err(Taken::Foreign),
            },
            NumberKind::Float => value.as_f64().map(key_of_float).ok_or(Taken::Foreign),
            NumberKind::Datetime => {
                value.as_str().and_then(parse_datetime).map(key_of_int).ok_or(Taken::Foreign)
            }
        }
    }
}

fn key_of_int(value: i64) -> u64 {
    value as u64 ^ SIGN
}

fn int_of_key(key: u64) -> i64 {
    (key ^ SIGN) as i64
}

fn key_of_float(value: f64) -> u64 {
    // Adding zero makes minus zero plus zero: they are equal.
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn float_of_key(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

#[derive(Debug)]
pub(super) struct NumbersBuilder {
    kind: NumberKind,
    entries: Vec<(u64, u32)>,
}

impl NumbersBuilder {
    pub(super) fn new(kind: NumberKind) -> Self {
        Self { kind, entries: Vec::new() }
    }

    pub(super) fn add(&mut self, row: u32, value: &Value) -> Taken {
        match self.kind.key_of(value) {
            Ok(key) => {
                self.entries.push((key, row));
                Taken::Held
            }
            Err(taken) => taken,
        }
    }

    pub(super) fn finish(mut self, writer: &mut SectionWriter) {
        self.entries.sort_unstable();
        self.entries.dedup();
        let mut by_row: Vec<u32> = (0..self.entries.len() as u32).collect();
        by_row.sort_by_key(|i| self.entries[*i as usize].1);
        let keys = || self.entries.iter().map(|(key, _)| *key);
        writer.put(Blob::Keys, keys().flat_map(u64::to_le_bytes).collect());
        writer.put(Blob::Rows, self.entries.iter().flat_map(|(_, row)| row.to_le_bytes()).collect());
        writer.put(Blob::ByRow, by_row.into_iter().flat_map(u32::to_le_bytes).collect());
        writer.put(Blob::Zones, keys().step_by(ZONE).flat_map(u64::to_le_bytes).collect());
    }
}

#[derive(Debug, Clone)]
pub(super) struct NumbersReader {
    kind: NumberKind,
    bound: u32,
    keys: Column<8>,
    rows: Column<4>,
    by_row: Column<4>,
    zones: Column<8>,
}

impl NumbersReader {
    pub(super) fn open(section: &Section, kind: NumberKind) -> Result<Self> {
        let keys = Column::<8>::open(section.get(Blob::Keys)?)?;
        let rows = Column::<4>::open(section.get(Blob::Rows)?)?;
        let by_row = Column::<4>::open(section.get(Blob::ByRow)?)?;
        let zones = Column::<8>::open(section.get(Blob::Zones)?)?;
        let n = keys.len();
        if rows.len() != n || by_row.len() != n || zones.len() != n.div_ceil(ZONE) {
            return Err(damaged("columns differ in length"));
        }
        Ok(Self { kind, bound: section.rows(), keys, rows, by_row, zones })
    }

    pub(super) fn rows(&self, predicate: &Predicate, presence: &Presence) -> Result<Option<Matches>> {
        if let Some(span) = self.span(predicate) {
            return Ok(Some(Matches::with_perhaps(self.collect(span), presence.loose()?)));
        }
        let Predicate::Match(wanted) = predicate else { return Ok(None) };
        match wanted {
            Match::Value(Scalar::Integer(value)) => self.equal(&[*value], presence),
            Match::Any(AnyOf::Integers(values)) => {
                self.equal(&values.iter().copied().collect::<Vec<_>>(), presence)
            }
            Match::Except(AnyOf::Integers(values)) if self.kind == NumberKind::Integer => {
                let mut rows = presence.not_held()?;
                for gap in self.gaps(values.iter().copied()) {
                    rows |= self.collect(gap);
                }
                Ok(Some(Matches::exact(rows)))
            }
            // Numbers are neither texts nor truth values; date-times are texts.
            Match::Value(Scalar::Keyword(_) | Scalar::Bool(_)) | Match::Any(AnyOf::Keywords(_))
                if self.kind != NumberKind::Datetime =>
            {
                Ok(Some(Matches::perhaps(presence.foreign()?)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn estimate(&self, predicate: &Predicate) -> Option<u64> {
        if let Some(span) = self.span(predicate) {
            return Some(span.len() as u64);
        }
        let integers = |values: &mut dyn Iterator<Item = i64>| {
            values.filter_map(|v| Some(self.equal_span(v)?.len() as u64)).sum()
        };
        match predicate {
            Predicate::Match(Match::Value(Scalar::Integer(value))) if self.kind != NumberKind::Datetime => {
                Some(integers(&mut std::iter::once(*value)))
            }
            Predicate::Match(Match::Any(AnyOf::Integers(values))) if self.kind != NumberKind::Datetime => {
                Some(integers(&mut values.iter().copied()))
            }
            _ => None,
        }
    }

    fn equal(&self, values: &[i64], presence: &Presence) -> Result<Option<Matches>> {
        let spans = values.iter().filter_map(|v| self.equal_span(*v));
        let mut rows = RoaringBitmap::new();
        for span in spans {
            rows |= self.collect(span);
        }
        Ok(match self.kind {
            NumberKind::Integer => Some(Matches::exact(rows)),
            // A number that equals as a float may be one, and a float never matches an integer.
            NumberKind::Float => Some(Matches::perhaps(rows)),
            NumberKind::Datetime => Some(Matches::perhaps(presence.foreign()?)),
        })
    }

    fn equal_span(&self, value: i64) -> Option<Span<usize>> {
        let key = match self.kind {
            NumberKind::Integer => key_of_int(value),
            NumberKind::Float => key_of_float(value as f64),
            NumberKind::Datetime => return None,
        };
        Some(self.search(|k| k < key)..self.search(|k| k <= key))
    }

    /// The entries between the given values, ascending.
    fn gaps(&self, values: impl Iterator<Item = i64>) -> Vec<Span<usize>> {
        let mut gaps = Vec::new();
        let mut start = 0;
        for span in values.filter_map(|v| self.equal_span(v)) {
            gaps.push(start..span.start);
            start = span.end;
        }
        gaps.push(start..self.keys.len());
        gaps
    }

    /// The entries within a range predicate of this kind.
    fn span(&self, predicate: &Predicate) -> Option<Span<usize>> {
        match (self.kind, predicate) {
            (NumberKind::Integer, Predicate::Range(range)) => {
                Some(self.within(range, |k| int_of_key(k) as f64))
            }
            (NumberKind::Float, Predicate::Range(range)) => Some(self.within(range, float_of_key)),
            (NumberKind::Datetime, Predicate::DatetimeRange(range)) => Some(self.within(range, int_of_key)),
            _ => None,
        }
    }

    fn within<T: PartialOrd + Copy>(&self, range: &Range<T>, decode: impl Fn(u64) -> T) -> Span<usize> {
        let from = Range { lt: None, lte: None, ..*range };
        let to = Range { gt: None, gte: None, ..*range };
        let start = self.search(|key| !from.contains(decode(key)));
        let end = self.search(|key| to.contains(decode(key)));
        start..end.max(start)
    }

    /// The first entry whose key is no longer `before`: first the zone, then the place within.
    fn search(&self, before: impl Fn(u64) -> bool) -> usize {
        let zone = self.zones.partition(0..self.zones.len(), |zones, i| before(zones.get(i)));
        let Some(zone) = zone.checked_sub(1) else { return 0 };
        let end = ((zone + 1) * ZONE).min(self.keys.len());
        self.keys.partition(zone * ZONE..end, |keys, i| before(keys.get(i)))
    }

    fn collect(&self, span: Span<usize>) -> RoaringBitmap {
        bitmap_of_rows(span.map(|i| self.rows.get(i)), self.bound)
    }

    pub(super) fn ordered(
        &self,
        direction: OrderDirection,
        start: Option<OrderValue>,
    ) -> impl Iterator<Item = (OrderValue, u32)> + '_ {
        let entries = match (direction, start) {
            (_, None) => 0..self.keys.len(),
            (OrderDirection::Asc, Some(start)) => {
                self.search(|key| self.is_less(key, start))..self.keys.len()
            }
            (OrderDirection::Desc, Some(start)) => 0..self.search(|key| !self.is_greater(key, start)),
        };
        let is_ascending = direction == OrderDirection::Asc;
        let (first, last) = (entries.start, entries.end);
        (0..entries.len()).map(move |i| {
            let at = if is_ascending { first + i } else { last - 1 - i };
            (self.value(self.keys.get(at)), self.rows.get(at))
        })
    }

    /// Calls `each` with the row of each value, values ascending, and rows where values are equal.
    pub(super) fn each_row(&self, each: impl FnMut(u32) -> Result<()>) -> Result<()> {
        (0..self.rows.len()).map(|at| self.rows.get(at)).try_for_each(each)
    }

    /// The rows of rare values, see [`RareValues`].
    pub(super) fn rows_of_rare(&self, rows: u32, rare: RareValues) -> Result<Vec<u32>> {
        rare.rows_of(self.rare(rare).collect(), rows, |value| Ok(value.map(|at| self.rows.get(at))))
    }

    /// Rare values, ascending: how many rows have them, and where their entries are.
    pub(super) fn rare(&self, rare: RareValues) -> impl Iterator<Item = (u64, Span<usize>)> + '_ {
        let mut start = 0;
        let ends = (1..=self.keys.len())
            .filter(|at| *at == self.keys.len() || self.keys.get(*at) != self.keys.get(*at - 1));
        let values = ends.map(move |end| std::mem::replace(&mut start, end)..end);
        values.map(|value| (value.len() as u64, value)).filter(move |(count, _)| rare.admits(*count))
    }

    pub(super) fn values_of(&self, row: u32) -> Vec<OrderValue> {
        let row_at = |by_row: &Column<4>, i: usize| self.rows.get(by_row.get(i) as usize);
        let start = self.by_row.partition(0..self.by_row.len(), |c, i| row_at(c, i) < row);
        let entries = (start..self.by_row.len()).take_while(|i| row_at(&self.by_row, *i) == row);
        entries.map(|i| self.value(self.keys.get(self.by_row.get(i) as usize))).collect()
    }

    fn value(&self, key: u64) -> OrderValue {
        match self.kind {
            NumberKind::Float => OrderValue::Float(float_of_key(key)),
            NumberKind::Integer | NumberKind::Datetime => OrderValue::Int(int_of_key(key)),
        }
    }

    fn is_less(&self, key: u64, than: OrderValue) -> bool {
        match (self.value(key), than) {
            (OrderValue::Int(a), OrderValue::Int(b)) => a < b,
            (a, b) => as_float(a) < as_float(b),
        }
    }

    fn is_greater(&self, key: u64, than: OrderValue) -> bool {
        match (self.value(key), than) {
            (OrderValue::Int(a), OrderValue::Int(b)) => a > b,
            (a, b) => as_float(a) > as_float(b),
        }
    }
}

fn as_float(value: OrderValue) -> f64 {
    match value {
        OrderValue::Int(value) => value as f64,
        OrderValue::Float(value) => value,
    }
}
