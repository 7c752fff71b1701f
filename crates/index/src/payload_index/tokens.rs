//! Text indexes: which rows have these tokens, and with phrase matching where.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodestone_types::{Match, Predicate, Result};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::Taken;
use super::dictionary::{self, Dictionary, Posting, TermEntry};
use super::section::{Blob, Section, SectionWriter};
use crate::matches::Matches;
use crate::params::TextParams;
use crate::text::{Analyzer, TextMode, is_phrase};

#[derive(Debug)]
pub(super) struct TokensBuilder {
    analyzer: Analyzer,
    with_positions: bool,
    tokens: BTreeMap<Vec<u8>, Posting>,
    /// The row being added, and the first free position in it.
    current: (u32, u32),
}

impl TokensBuilder {
    pub(super) fn new(params: &TextParams) -> Self {
        Self {
            analyzer: Analyzer::new(params),
            with_positions: params.phrase_matching.unwrap_or(false),
            tokens: BTreeMap::new(),
            current: (0, 0),
        }
    }

    pub(super) fn add(&mut self, row: u32, value: &Value) -> Taken {
        let Some(text) = value.as_str() else { return Taken::Foreign };
        if self.current.0 != row {
            self.current = (row, 0);
        }
        let (tokens, first) = (&mut self.tokens, self.current.1);
        let with_positions = self.with_positions;
        let count = self.analyzer.document(text, |token, position| {
            let posting = match tokens.get_mut(token.as_bytes()) {
                Some(posting) => posting,
                None => tokens.entry(token.as_bytes().to_vec()).or_default(),
            };
            if with_positions {
                posting.add_at(row, first.saturating_add(position));
            } else {
                posting.add(row);
            }
        });
        // One position stays free, so that no phrase reaches from one text of an array into the next.
        self.current.1 = first.saturating_add(count).saturating_add(1);
        Taken::Held
    }

    pub(super) fn finish(self, writer: &mut SectionWriter) {
        dictionary::write(&self.tokens, self.with_positions, writer);
        writer.put(Blob::Keys, vec![u8::from(self.with_positions)]);
    }
}

#[derive(Debug, Clone)]
pub(super) struct TokensReader {
    analyzer: Arc<Analyzer>,
    dictionary: Dictionary,
    with_positions: bool,
}

impl TokensReader {
    pub(super) fn open(section: &Section, analyzer: Arc<Analyzer>) -> Result<Self> {
        let with_positions = section.get(Blob::Keys)?.first() == Some(&1);
        Ok(Self { analyzer, dictionary: Dictionary::open(section, with_positions)?, with_positions })
    }

    pub(super) fn rows(&self, predicate: &Predicate) -> Result<Option<Matches>> {
        let Some((mode, tokens)) = self.query(predicate) else { return Ok(None) };
        let entries = self.entries(&tokens)?;
        Ok(Some(match mode {
            TextMode::Any => {
                let mut rows = RoaringBitmap::new();
                for entry in entries.iter().flatten() {
                    rows |= self.dictionary.rows(entry)?;
                }
                Matches::exact(rows)
            }
            TextMode::All => Matches::exact(self.with_all(&entries)?),
            TextMode::Phrase => {
                let rows = self.with_all(&entries)?;
                if self.with_positions || tokens.len() == 1 || rows.is_empty() {
                    Matches::exact(self.with_phrase(&entries, rows)?)
                } else {
                    Matches::perhaps(rows)
                }
            }
        }))
    }

    pub(super) fn estimate(&self, predicate: &Predicate) -> Result<Option<u64>> {
        let Some((mode, tokens)) = self.query(predicate) else { return Ok(None) };
        let counts = self.entries(&tokens)?.into_iter().map(|e| e.map_or(0, |e| e.count));
        Ok(Some(match mode {
            TextMode::Any => counts.sum(),
            TextMode::All | TextMode::Phrase => counts.min().unwrap_or(0),
        }))
    }

    fn query(&self, predicate: &Predicate) -> Option<(TextMode, Vec<String>)> {
        let Predicate::Match(wanted) = predicate else { return None };
        let (mode, text) = match wanted {
            Match::Text(text) => (TextMode::All, text),
            Match::TextAny(text) => (TextMode::Any, text),
            Match::Phrase(text) => (TextMode::Phrase, text),
            Match::Value(_) | Match::Any(_) | Match::Except(_) => return None,
        };
        Some((mode, self.analyzer.query(text)))
    }

    fn entries(&self, tokens: &[String]) -> Result<Vec<Option<TermEntry>>> {
        tokens.iter().map(|token| self.dictionary.find(token.as_bytes())).collect()
    }

    fn with_all(&self, entries: &[Option<TermEntry>]) -> Result<RoaringBitmap> {
        let Some(mut entries) = entries.iter().copied().collect::<Option<Vec<_>>>() else {
            return Ok(RoaringBitmap::new());
        };
        // The rarest first: the rest only narrows.
        entries.sort_by_key(|e| e.count);
        let Some((rarest, others)) = entries.split_first() else { return Ok(RoaringBitmap::new()) };
        let mut rows = self.dictionary.rows(rarest)?;
        for entry in others {
            if rows.is_empty() {
                break;
            }
            rows &= self.dictionary.rows(entry)?;
        }
        Ok(rows)
    }

    fn with_phrase(&self, entries: &[Option<TermEntry>], rows: RoaringBitmap) -> Result<RoaringBitmap> {
        if entries.len() < 2 || rows.is_empty() {
            return Ok(rows);
        }
        let mut places: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
        for entry in entries.iter().flatten() {
            self.dictionary.positions(entry, &rows, |row, positions| {
                places.entry(row).or_default().push(positions);
            })?;
        }
        let found = places.into_iter().filter(|(_, p)| p.len() == entries.len() && is_phrase(p));
        Ok(found.map(|(row, _)| row).collect())
    }
}
