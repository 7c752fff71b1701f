//! The index of one payload field over the rows of one segment: built once, read in place.
//!
//! One byte section per index (see [`section`]): a header with a version, the parameters, bitmaps that say
//! how many values each row has ([`presence`]), and the values themselves:
//!
//! | kind | values |
//! | --- | --- |
//! | keyword, uuid, bool | [`terms`]: a sorted dictionary with a bitmap of rows per term |
//! | integer, float, datetime | [`numbers`]: a sorted column with zones, and its order by row |
//! | geo | [`places`]: points sorted along a space-filling curve |
//! | text | [`tokens`]: a dictionary of tokens with rows and, for phrases, positions |
//!
//! Opening reads the header alone; what grows with the data is read where a query needs it. Damaged bytes give
//! an error or a wrong answer, never a panic: the caller keeps checksums.
//!
//! An index knows which rows have values that it cannot hold (a float under an integer index, a point off
//! the map), and calls those rows possible rather than certain.

mod dictionary;
mod numbers;
mod places;
mod presence;
mod section;
mod terms;
mod tokens;
mod value_order;

use bytes::Bytes;
use lodestone_types::{FieldIndex, FieldIndexKind, JsonPath, OrderDirection, OrderValue, Predicate, Result};
use serde_json::{Map, Value};

use crate::filter::{counts, each_value, is_null};
use crate::matches::Matches;
use crate::schema::FieldSchema;
use numbers::{NumberKind, NumbersBuilder, NumbersReader};
use places::{PlacesBuilder, PlacesReader};
use presence::{Presence, PresenceBuilder};
use section::{Blob, Section, SectionWriter};
use terms::{TermKind, TermsBuilder, TermsReader};
use tokens::{TokensBuilder, TokensReader};
pub use value_order::RareValues;
use value_order::ValueOrder;

/// How a kind took a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It is in the index.
    Held,
    /// The index cannot hold it, but a predicate that the index answers may match it.
    Loose,
    /// No predicate that the index answers can match it, except "anything but".
    Foreign,
}

/// Collects the values of one field, row by row.
#[derive(Debug)]
pub struct FieldIndexBuilder {
    index: FieldIndex,
    presence: PresenceBuilder,
    values: ValuesBuilder,
}

#[derive(Debug)]
enum ValuesBuilder {
    Terms(TermsBuilder),
    Numbers(NumbersBuilder),
    Places(PlacesBuilder),
    Tokens(TokensBuilder),
}

impl FieldIndexBuilder {
    /// An empty index. Fails where the parameters are not valid.
    pub fn new(index: &FieldIndex) -> Result<Self> {
        let values = match index.kind {
            FieldIndexKind::Text => {
                ValuesBuilder::Tokens(TokensBuilder::new(&crate::params::text_params(index)?))
            }
            FieldIndexKind::Geo => ValuesBuilder::Places(PlacesBuilder::default()),
            kind => match (TermKind::of(kind), NumberKind::of(kind)) {
                (Some(kind), _) => ValuesBuilder::Terms(TermsBuilder::new(kind)),
                (None, Some(kind)) => ValuesBuilder::Numbers(NumbersBuilder::new(kind)),
                (None, None) => return Err(lodestone_types::Error::internal("a kind without an index")),
            },
        };
        Ok(Self { index: index.clone(), presence: PresenceBuilder::default(), values })
    }

    /// Adds a row. Every row of the segment is added, in ascending order, whether it has the field or not.
    pub fn add(&mut self, row: u32, payload: &Map<String, Value>, path: &JsonPath) {
        let reached = path.values(payload);
        self.presence.add_counts(row, &counts(&reached), is_null(&reached));
        for value in each_value(&reached).filter(|v| !v.is_null()) {
            let taken = match &mut self.values {
                ValuesBuilder::Terms(terms) => terms.add(row, value),
                ValuesBuilder::Numbers(numbers) => numbers.add(row, value),
                ValuesBuilder::Places(places) => places.add(row, value),
                ValuesBuilder::Tokens(tokens) => tokens.add(row, value),
            };
            self.presence.add_value(row, taken);
        }
    }

    /// The bytes of the index.
    pub fn finish(self) -> Vec<u8> {
        let params = self.index.params.unwrap_or_default();
        let mut writer = SectionWriter::new(self.index.kind, self.presence.rows());
        writer.put(Blob::Params, params.into_bytes());
        self.presence.finish(&mut writer);
        match self.values {
            ValuesBuilder::Terms(terms) => terms.finish(&mut writer),
            ValuesBuilder::Numbers(numbers) => numbers.finish(&mut writer),
            ValuesBuilder::Places(places) => places.finish(&mut writer),
            ValuesBuilder::Tokens(tokens) => tokens.finish(&mut writer),
        }
        writer.finish()
    }
}

/// Answers predicates on one field from the bytes of its index.
#[derive(Debug, Clone)]
pub struct FieldIndexReader {
    index: FieldIndex,
    schema: FieldSchema,
    rows: u32,
    presence: Presence,
    values: ValuesReader,
}

#[derive(Debug, Clone)]
enum ValuesReader {
    Terms(TermsReader),
    Numbers(NumbersReader),
    Places(PlacesReader),
    Tokens(TokensReader),
}

impl FieldIndexReader {
    /// Reads the header. Bytes of a newer version are refused.
    pub fn open(bytes: Bytes) -> Result<Self> {
        let section = Section::open(bytes)?;
        let params = section.text(Blob::Params)?;
        let params = (!params.is_empty()).then_some(params);
        let index = FieldIndex { kind: section.kind(), params };
        let schema = FieldSchema::new(&index)?;
        let presence = Presence::open(&section)?;
        let values = match index.kind {
            FieldIndexKind::Text => {
                let analyzer = schema.analyzer.clone().unwrap_or_default();
                ValuesReader::Tokens(TokensReader::open(&section, analyzer)?)
            }
            FieldIndexKind::Geo => ValuesReader::Places(PlacesReader::open(&section)?),
            kind => match (TermKind::of(kind), NumberKind::of(kind)) {
                (Some(kind), _) => ValuesReader::Terms(TermsReader::open(&section, kind)?),
                (None, Some(kind)) => ValuesReader::Numbers(NumbersReader::open(&section, kind)?),
                (None, None) => return Err(crate::codec::damaged("its kind has no index")),
            },
        };
        Ok(Self { index, schema, rows: section.rows(), presence, values })
    }

    /// What was indexed, and how.
    pub fn definition(&self) -> &FieldIndex {
        &self.index
    }

    /// One more than the highest row that was added.
    pub fn row_bound(&self) -> u32 {
        self.rows
    }

    /// Whether this index cuts texts and compares values as `schema` says. One that was built before the user
    /// replaced the index does not, and must not be asked.
    pub(crate) fn agrees_with(&self, schema: &FieldSchema) -> bool {
        self.schema.kind == schema.kind && self.schema.analyzer == schema.analyzer
    }

    /// The rows that match, as far as this index can tell; `None` if it knows nothing about such a predicate.
    pub fn rows(&self, predicate: &Predicate) -> Result<Option<Matches>> {
        if let Some(matches) = self.presence.rows(predicate)? {
            return Ok(Some(matches));
        }
        match &self.values {
            ValuesReader::Terms(terms) => terms.rows(predicate, &self.presence),
            ValuesReader::Numbers(numbers) => numbers.rows(predicate, &self.presence),
            ValuesReader::Places(places) => places.rows(predicate, &self.presence),
            ValuesReader::Tokens(tokens) => tokens.rows(predicate),
        }
    }

    /// About how many rows match, without collecting them; `None` if that is not known so cheaply.
    pub fn estimate(&self, predicate: &Predicate) -> Result<Option<u64>> {
        if let Some(matches) = self.presence.rows(predicate)? {
            return Ok(Some(matches.possible.len()));
        }
        match &self.values {
            ValuesReader::Terms(terms) => terms.estimate(predicate, &self.presence),
            ValuesReader::Numbers(numbers) => Ok(numbers.estimate(predicate)),
            ValuesReader::Places(places) => Ok(places.estimate(predicate)),
            ValuesReader::Tokens(tokens) => tokens.estimate(predicate),
        }
    }

    /// Values with their rows in the order of values, beginning with the first at or after `start` in that
    /// direction. A row with several values comes several times. `None` if this kind has no order.
    pub fn ordered(
        &self,
        direction: OrderDirection,
        start: Option<OrderValue>,
    ) -> Option<impl Iterator<Item = (OrderValue, u32)> + '_> {
        match &self.values {
            ValuesReader::Numbers(numbers) => Some(numbers.ordered(direction, start)),
            _ => None,
        }
    }

    /// All of so many rows in the order of their least values: rows with the same one, and last those without any, as they come.
    /// `None` if this kind has no order.
    pub fn rows_by_value(&self, rows: u32) -> Result<Option<Vec<u32>>> {
        let mut order = ValueOrder::new(rows);
        match &self.values {
            ValuesReader::Terms(terms) => terms.each_row(|row| order.push(row))?,
            ValuesReader::Numbers(numbers) => numbers.each_row(|row| order.push(row))?,
            ValuesReader::Places(_) | ValuesReader::Tokens(_) => return Ok(None),
        }
        Ok(Some(order.finish()))
    }

    /// How many rows each value has that is rare, ascending, whether it is taken or not. `None` if this kind has no order.
    pub fn rare_counts(&self, rare: RareValues) -> Result<Option<Vec<u64>>> {
        let mut counts: Vec<u64> = match &self.values {
            ValuesReader::Terms(terms) => terms.rare(rare)?.into_iter().map(|(count, _)| count).collect(),
            ValuesReader::Numbers(numbers) => numbers.rare(rare).map(|(count, _)| count).collect(),
            ValuesReader::Places(_) | ValuesReader::Tokens(_) => return Ok(None),
        };
        counts.sort_unstable();
        Ok(Some(counts))
    }

    /// The rows of values that are rare and taken, of so many rows: those of the rarest value first, and of values as rare as each other in the order of
    /// values. `None` if this kind has no order.
    pub fn rows_of_rare(&self, rows: u32, rare: RareValues) -> Result<Option<Vec<u32>>> {
        match &self.values {
            ValuesReader::Terms(terms) => terms.rows_of_rare(rows, rare).map(Some),
            ValuesReader::Numbers(numbers) => numbers.rows_of_rare(rows, rare).map(Some),
            ValuesReader::Places(_) | ValuesReader::Tokens(_) => Ok(None),
        }
    }

    /// The values of one row in ascending order; empty if this kind has no order.
    pub fn values_of(&self, row: u32) -> Vec<OrderValue> {
        match &self.values {
            ValuesReader::Numbers(numbers) => numbers.values_of(row),
            _ => Vec::new(),
        }
    }
}
