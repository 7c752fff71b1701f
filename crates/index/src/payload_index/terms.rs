//! Keyword, UUID and bool indexes: which rows have exactly this value.

use std::collections::{BTreeMap, HashMap};

use lodestone_types::{AnyOf, FieldIndexKind, Match, Predicate, Result, Scalar};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::Taken;
use super::dictionary::{self, Dictionary, Posting, TermEntry};
use super::presence::Presence;
use super::section::{Blob, Section, SectionWriter};
use super::value_order::RareValues;
use crate::codec::Column;
use crate::filter::same_text;
use crate::matches::Matches;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TermKind {
    Keyword,
    Uuid,
    Bool,
}

impl TermKind {
    pub(super) fn of(kind: FieldIndexKind) -> Option<Self> {
        match kind {
            FieldIndexKind::Keyword => Some(TermKind::Keyword),
            FieldIndexKind::Uuid => Some(TermKind::Uuid),
            FieldIndexKind::Bool => Some(TermKind::Bool),
            _ => None,
        }
    }

    fn term_of_value(self, value: &Value) -> Option<Vec<u8>> {
        match value {
            Value::String(text) if self != TermKind::Bool => Some(self.term_of_text(text)),
            Value::Bool(value) if self == TermKind::Bool => Some(vec![u8::from(*value)]),
            _ => None,
        }
    }

    fn term_of_text(self, text: &str) -> Vec<u8> {
        same_text(text, self == TermKind::Uuid).into_owned().into_bytes()
    }

    /// The terms that equal one of what is asked for; `None` where values of another type are asked for.
    fn terms_of(self, wanted: &Wanted<'_>) -> Option<Vec<Vec<u8>>> {
        match (self, wanted) {
            (TermKind::Bool, Wanted::Scalar(Scalar::Bool(value))) => Some(vec![vec![u8::from(*value)]]),
            (TermKind::Bool, _) => None,
            (_, Wanted::Scalar(Scalar::Keyword(text))) => Some(vec![self.term_of_text(text)]),
            (_, Wanted::Any(AnyOf::Keywords(texts))) => {
                let mut terms: Vec<_> = texts.iter().map(|t| self.term_of_text(t)).collect();
                terms.sort_unstable();
                terms.dedup();
                Some(terms)
            }
            _ => None,
        }
    }
}

enum Wanted<'a> {
    Scalar(&'a Scalar),
    Any(&'a AnyOf),
}

#[derive(Debug)]
pub(super) struct TermsBuilder {
    kind: TermKind,
    terms: BTreeMap<Vec<u8>, Posting>,
    /// Distinct terms of each row that has more than one.
    distinct: BTreeMap<u32, u32>,
    current: (u32, Vec<Vec<u8>>),
}

impl TermsBuilder {
    pub(super) fn new(kind: TermKind) -> Self {
        Self { kind, terms: BTreeMap::new(), distinct: BTreeMap::new(), current: (0, Vec::new()) }
    }

    pub(super) fn add(&mut self, row: u32, value: &Value) -> Taken {
        let Some(term) = self.kind.term_of_value(value) else { return Taken::Foreign };
        if self.current.0 != row {
            self.current = (row, Vec::new());
        }
        // A row's few terms are compared one by one, its many by looking into the dictionary.
        let is_new = if self.current.1.len() < 16 {
            !self.current.1.contains(&term)
        } else {
            self.terms.get(&term).is_none_or(|p| !p.ends_with(row))
        };
        if is_new {
            self.current.1.push(term.clone());
            if self.current.1.len() > 1 {
                self.distinct.insert(row, self.current.1.len() as u32);
            }
            self.terms.entry(term).or_default().add(row);
        }
        Taken::Held
    }

    pub(super) fn finish(self, writer: &mut SectionWriter) {
        dictionary::write(&self.terms, false, writer);
        let rows = self.distinct.keys().flat_map(|row| row.to_le_bytes()).collect();
        let counts = self.distinct.values().flat_map(|count| count.to_le_bytes()).collect();
        writer.put(Blob::DistinctRows, rows);
        writer.put(Blob::DistinctCounts, counts);
    }
}

#[derive(Debug, Clone)]
pub(super) struct TermsReader {
    kind: TermKind,
    dictionary: Dictionary,
    distinct_rows: Column<4>,
    distinct_counts: Column<4>,
}

impl TermsReader {
    pub(super) fn open(section: &Section, kind: TermKind) -> Result<Self> {
        Ok(Self {
            kind,
            dictionary: Dictionary::open(section, false)?,
            distinct_rows: Column::open(section.get(Blob::DistinctRows)?)?,
            distinct_counts: Column::open(section.get(Blob::DistinctCounts)?)?,
        })
    }

    pub(super) fn rows(&self, predicate: &Predicate, presence: &Presence) -> Result<Option<Matches>> {
        let Predicate::Match(wanted) = predicate else { return Ok(None) };
        match wanted {
            Match::Value(scalar) => self.equal(&Wanted::Scalar(scalar), presence).map(Some),
            Match::Any(any) => self.equal(&Wanted::Any(any), presence).map(Some),
            Match::Except(any) => self.except(any, presence),
            Match::Text(_) | Match::TextAny(_) | Match::Phrase(_) => Ok(None),
        }
    }

    pub(super) fn estimate(&self, predicate: &Predicate, presence: &Presence) -> Result<Option<u64>> {
        let Predicate::Match(wanted) = predicate else { return Ok(None) };
        let wanted = match wanted {
            Match::Value(scalar) => Wanted::Scalar(scalar),
            Match::Any(any) => Wanted::Any(any),
            Match::Except(any) => return Ok(self.except(any, presence)?.map(|m| m.possible.len())),
            Match::Text(_) | Match::TextAny(_) | Match::Phrase(_) => return Ok(None),
        };
        let Some(terms) = self.kind.terms_of(&wanted) else { return Ok(Some(presence.foreign()?.len())) };
        Ok(Some(self.entries(&terms)?.iter().map(|e| e.count).sum()))
    }

    /// Calls `each` with the rows of each term, terms and the rows of one ascending.
    pub(super) fn each_row(&self, mut each: impl FnMut(u32) -> Result<()>) -> Result<()> {
        self.dictionary.each(|entry| match entry.only_row() {
            Some(row) => each(row),
            None => self.dictionary.rows(&entry)?.into_iter().try_for_each(&mut each),
        })
    }

    /// The rows of rare terms, see [`RareValues`].
    pub(super) fn rows_of_rare(&self, rows: u32, rare: RareValues) -> Result<Vec<u32>> {
        rare.rows_of(self.rare(rare)?, rows, |entry| self.dictionary.rows(&entry))
    }

    /// Rare terms, ascending, with how many rows have them.
    pub(super) fn rare(&self, rare: RareValues) -> Result<Vec<(u64, TermEntry)>> {
        let mut terms = Vec::new();
        self.dictionary.each(|entry| {
            terms.extend(rare.admits(entry.count).then_some((entry.count, entry)));
            Ok(())
        })?;
        Ok(terms)
    }

    fn entries(&self, terms: &[Vec<u8>]) -> Result<Vec<TermEntry>> {
        let found = terms.iter().map(|term| self.dictionary.find(term));
        found.filter_map(Result::transpose).collect()
    }

    fn equal(&self, wanted: &Wanted<'_>, presence: &Presence) -> Result<Matches> {
        let Some(terms) = self.kind.terms_of(wanted) else {
            return Ok(Matches::perhaps(presence.foreign()?));
        };
        let mut rows = RoaringBitmap::new();
        for entry in self.entries(&terms)? {
            rows |= self.dictionary.rows(&entry)?;
        }
        Ok(Matches::exact(rows))
    }

    /// Rows with a value that is none of these: all that have a value, but for rows whose every term is named.
    fn except(&self, any: &AnyOf, presence: &Presence) -> Result<Option<Matches>> {
        let Some(terms) = self.kind.terms_of(&Wanted::Any(any)) else {
            // Every value of the index is of another type and so another value.
            return Ok(Some(Matches::with_perhaps(presence.held()?, presence.foreign()?)));
        };
        let mut named = RoaringBitmap::new();
        let mut hits: HashMap<u32, u32> = HashMap::new();
        for entry in self.entries(&terms)? {
            let rows = self.dictionary.rows(&entry)?;
            for row in &rows {
                *hits.entry(row).or_default() += 1;
            }
            named |= rows;
        }
        let more = named.iter().filter(|row| hits.get(row).is_some_and(|n| *n < self.distinct(*row)));
        let more: RoaringBitmap = more.collect();
        Ok(Some(Matches::exact((presence.held()? - named) | more | presence.foreign()?)))
    }

    fn distinct(&self, row: u32) -> u32 {
        let rows = &self.distinct_rows;
        let at = rows.partition(0..rows.len(), |c, i| c.get(i) < row);
        if at < rows.len() && rows.get(at) == row { self.distinct_counts.get(at) } else { 1 }
    }
}
