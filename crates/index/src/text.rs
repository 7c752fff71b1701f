//! How text is cut into tokens, the same for the index and for the evaluator.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::fold;
use crate::params::{TextParams, Tokenizer};

/// Cuts documents and queries into tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Analyzer {
    tokenizer: Tokenizer,
    lowercase: bool,
    fold: bool,
    shortest: usize,
    longest: usize,
    stopwords: HashSet<String>,
}

impl Default for Analyzer {
    /// What is used for a field without a text index: words in small letters.
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::Word,
            lowercase: true,
            fold: false,
            shortest: 0,
            longest: usize::MAX,
            stopwords: HashSet::new(),
        }
    }
}

impl Analyzer {
    pub(crate) fn new(params: &TextParams) -> Self {
        let mut analyzer = Self {
            tokenizer: params.tokenizer.unwrap_or_default(),
            lowercase: params.lowercase.unwrap_or(true),
            fold: params.ascii_folding.unwrap_or(false),
            shortest: params.min_token_len.unwrap_or(0),
            longest: params.max_token_len.unwrap_or(usize::MAX),
            stopwords: HashSet::new(),
        };
        let stopwords = params.stopwords.iter().flat_map(|s| s.custom.iter().flatten());
        analyzer.stopwords = stopwords.map(|word| analyzer.normalize(word).into_owned()).collect();
        analyzer
    }

    /// Calls `each` with every token and its position. Several tokens may share a position (the prefixes of a
    /// word), and words that are left out take none. Returns the number of positions.
    pub(crate) fn document(&self, text: &str, mut each: impl FnMut(&str, u32)) -> u32 {
        let mut position = 0;
        self.words(text, |word| {
            if self.tokenizer == Tokenizer::Prefix {
                let mut found = false;
                for prefix in prefixes(word, self.shortest.max(1), self.longest) {
                    each(prefix, position);
                    found = true;
                }
                position += u32::from(found);
            } else if self.has_length(word) {
                each(word, position);
                position += 1;
            }
        });
        position
    }

    /// The tokens to look for, in order.
    pub(crate) fn query(&self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        self.words(text, |word| {
            if self.tokenizer == Tokenizer::Prefix {
                tokens.extend(prefixes(word, self.shortest.max(1), self.longest).last().map(str::to_owned));
            } else if self.has_length(word) {
                tokens.push(word.to_owned());
            }
        });
        tokens
    }

    fn has_length(&self, word: &str) -> bool {
        (self.shortest..=self.longest).contains(&word.chars().count())
    }

    fn words(&self, text: &str, mut each: impl FnMut(&str)) {
        let mut keep = |word: &str| {
            let word = self.normalize(word);
            if !word.is_empty() && !self.stopwords.contains(word.as_ref()) {
                each(&word);
            }
        };
        match self.tokenizer {
            Tokenizer::Whitespace => text.split_whitespace().for_each(&mut keep),
            Tokenizer::Word | Tokenizer::Prefix => split_words(text).for_each(&mut keep),
            Tokenizer::Multilingual => {
                for word in split_words(text) {
                    split_unspaced(word, &mut keep);
                }
            }
        }
    }

    fn normalize<'a>(&self, word: &'a str) -> Cow<'a, str> {
        let folds = self.fold || self.tokenizer == Tokenizer::Multilingual;
        let word = if folds { fold::to_ascii(word) } else { Cow::Borrowed(word) };
        if self.lowercase && word.chars().any(|c| !c.is_ascii_lowercase()) {
            return Cow::Owned(word.to_lowercase());
        }
        word
    }
}

fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// In scripts that put no spaces between words, each character is a token of its own.
fn split_unspaced(word: &str, each: &mut impl FnMut(&str)) {
    let mut start = 0;
    for (at, c) in word.char_indices() {
        if is_unspaced(c) {
            if start < at {
                each(&word[start..at]);
            }
            let end = at + c.len_utf8();
            each(&word[at..end]);
            start = end;
        }
    }
    if start < word.len() {
        each(&word[start..]);
    }
}

/// Thai, Lao, Myanmar, Khmer, kana and ideographs.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn prefixes(word: &str, shortest: usize, longest: usize) -> impl Iterator<Item = &str> {
    let ends = word.char_indices().skip(1).map(|(at, _)| at).chain(std::iter::once(word.len()));
    let count = longest.saturating_sub(shortest - 1);
    ends.skip(shortest - 1).take(count).map(|end| &word[..end])
}

/// How the tokens of a query must occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextMode {
    /// All of them, anywhere.
    All,
    /// One of them.
    Any,
    /// Side by side, in order.
    Phrase,
}

/// A prepared text query.
#[derive(Debug, Clone)]
pub(crate) struct TextTest {
    mode: TextMode,
    tokens: Vec<String>,
    analyzer: Arc<Analyzer>,
    /// Whether the texts of an array are one document. They are where there is a text index.
    joint: bool,
}

impl TextTest {
    pub(crate) fn new(mode: TextMode, query: &str, analyzer: Arc<Analyzer>, joint: bool) -> Self {
        Self { mode, tokens: analyzer.query(query), analyzer, joint }
    }

    pub(crate) fn matches<'a>(&self, texts: impl Iterator<Item = &'a str>) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        let mut positions = vec![Vec::new(); self.tokens.len()];
        for text in texts {
            if !self.joint || self.mode == TextMode::Phrase {
                positions.iter_mut().for_each(Vec::clear);
            }
            self.find(text, &mut positions);
            let found = match self.mode {
                TextMode::All => positions.iter().all(|p| !p.is_empty()),
                TextMode::Any => positions.iter().any(|p| !p.is_empty()),
                TextMode::Phrase => is_phrase(&positions),
            };
            if found {
                return true;
            }
        }
        false
    }

    fn find(&self, text: &str, positions: &mut [Vec<u32>]) {
        self.analyzer.document(text, |token, position| {
            for (wanted, found) in self.tokens.iter().zip(positions.iter_mut()) {
                if wanted == token {
                    found.push(position);
                }
            }
        });
    }
}

/// Whether tokens whose ascending positions are given, in the order of the phrase, stand side by side somewhere.
pub(crate) fn is_phrase(positions: &[Vec<u32>]) -> bool {
    let Some((first, rest)) = positions.split_first() else { return false };
    first.iter().any(|start| {
        let mut next = *start;
        rest.iter().all(|places| {
            next = next.saturating_add(1);
            places.binary_search(&next).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analyzer(json: &str) -> Arc<Analyzer> {
        Arc::new(Analyzer::new(&serde_json::from_str(json).unwrap()))
    }

    fn tokens(json: &str, text: &str) -> Vec<(String, u32)> {
        let mut tokens = Vec::new();
        analyzer(json).document(text, |t, p| tokens.push((t.to_owned(), p)));
        tokens
    }

    fn words(json: &str, text: &str) -> Vec<String> {
        tokens(json, text).into_iter().map(|(t, _)| t).collect()
    }

    #[test]
    fn cuts_as_configured() {
        assert_eq!(words(r#"{"type":"text"}"#, "Don't stop, 3.14_x"), ["don", "t", "stop", "3", "14", "x"]);
        assert_eq!(words(r#"{"type":"text","tokenizer":"whitespace"}"#, " C++ Rocks! "), ["c++", "rocks!"]);
        assert_eq!(words(r#"{"type":"text","lowercase":false}"#, "Ab cD"), ["Ab", "cD"]);
        assert_eq!(
            words(r#"{"type":"text","min_token_len":2,"max_token_len":3}"#, "a bc def ghij"),
            ["bc", "def"]
        );
        assert_eq!(words(r#"{"type":"text","stopwords":{"custom":["The"]}}"#, "THE cat"), ["cat"]);
        assert_eq!(words(r#"{"type":"text","ascii_folding":true}"#, "Größe"), ["grosse"]);
        assert_eq!(words(r#"{"type":"text","tokenizer":"multilingual"}"#, "日本 tēst"), ["日", "本", "test"]);
    }

    #[test]
    fn prefixes_share_a_position_and_queries_take_the_longest() {
        let json = r#"{"type":"text","tokenizer":"prefix","min_token_len":2,"max_token_len":4}"#;
        let found = tokens(json, "a hello wé");
        let expected = [("he", 0), ("hel", 0), ("hell", 0), ("wé", 1)];
        assert_eq!(found, expected.map(|(t, p)| (t.to_owned(), p)));
        assert_eq!(analyzer(json).query("a hello wo"), ["hell", "wo"]);
        assert_eq!(
            tokens(r#"{"type":"text","tokenizer":"prefix","min_token_len":5,"max_token_len":2}"#, "hello"),
            []
        );
    }

    #[test]
    fn arrays_are_one_document_only_with_an_index() {
        let test = |mode, query, joint| TextTest::new(mode, query, Arc::default(), joint);
        let texts = || ["hello", "big world"].into_iter();
        assert!(test(TextMode::All, "world hello", true).matches(texts()));
        assert!(!test(TextMode::All, "world hello", false).matches(texts()));
        assert!(test(TextMode::Any, "nothing HELLO", false).matches(texts()));
        assert!(test(TextMode::Phrase, "big world", true).matches(texts()));
        assert!(!test(TextMode::Phrase, "hello big", true).matches(texts()));
        assert!(!test(TextMode::All, " ! ", true).matches(texts()));
    }
}
