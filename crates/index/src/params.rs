//! The parameters of a payload index as Qdrant's JSON, checked and read.

use std::collections::BTreeSet;

use lodestone_types::{Error, FieldIndex, FieldIndexKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Checks the parameter object of an index of `kind` and returns it without what is `null`, keys in a fixed
/// order. An unknown field, a wrong type or a setting that cannot be honoured is an error that says so.
pub fn check_params(kind: FieldIndexKind, json: &str) -> Result<String> {
    let value: Value = serde_json::from_str(json).map_err(|e| refuse(kind, &e.to_string()))?;
    match kind {
        FieldIndexKind::Keyword => normalize::<KeywordParams>(kind, value, |_| Ok(())),
        FieldIndexKind::Integer => normalize::<IntegerParams>(kind, value, IntegerParams::check),
        FieldIndexKind::Float | FieldIndexKind::Datetime => {
            normalize::<OrderedParams>(kind, value, |p| same_type(kind, &p.r#type))
        }
        FieldIndexKind::Bool | FieldIndexKind::Geo => {
            normalize::<PlainParams>(kind, value, |p| same_type(kind, &p.r#type))
        }
        FieldIndexKind::Uuid => normalize::<UuidParams>(kind, value, |_| Ok(())),
        FieldIndexKind::Text => normalize::<TextParams>(kind, value, TextParams::check),
    }
}

/// The parameters of a text index, the defaults where none were given.
pub(crate) fn text_params(index: &FieldIndex) -> Result<TextParams> {
    let Some(json) = &index.params else { return Ok(TextParams::default()) };
    let params: TextParams =
        serde_json::from_str(json).map_err(|e| refuse(FieldIndexKind::Text, &e.to_string()))?;
    params.check()?;
    Ok(params)
}

/// Whether the user has said that most searches ask for one value of the field, or for a range of values: that it is a tenant's
/// (`is_tenant`) or the principal one (`is_principal`).
pub fn is_principal(index: &FieldIndex) -> bool {
    let said = index.params.as_ref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    let says = |name| said.as_ref().is_some_and(|params| params[name] == true);
    says("is_tenant") || says("is_principal")
}

/// How Qdrant's interface spells a kind.
pub(crate) fn kind_name(kind: FieldIndexKind) -> &'static str {
    match kind {
        FieldIndexKind::Keyword => "keyword",
        FieldIndexKind::Integer => "integer",
        FieldIndexKind::Float => "float",
        FieldIndexKind::Bool => "bool",
        FieldIndexKind::Datetime => "datetime",
        FieldIndexKind::Uuid => "uuid",
        FieldIndexKind::Geo => "geo",
        FieldIndexKind::Text => "text",
    }
}

fn refuse(kind: FieldIndexKind, why: &str) -> Error {
    Error::bad_request(format!("invalid parameters of a {} index: {why}", kind_name(kind)))
}

fn same_type(kind: FieldIndexKind, given: &str) -> Result<()> {
    if given == kind_name(kind) {
        return Ok(());
    }
    Err(refuse(kind, &format!("its type is `{given}`")))
}

fn normalize<T: for<'de> Deserialize<'de> + Serialize>(
    kind: FieldIndexKind,
    value: Value,
    check: impl FnOnce(&T) -> Result<()>,
) -> Result<String> {
    let params: T = serde_json::from_value(value).map_err(|e| refuse(kind, &e.to_string()))?;
    check(&params)?;
    serde_json::to_string(&params).map_err(|e| refuse(kind, &e.to_string()))
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Memory {
    Cold,
    Cached,
    Pinned,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
enum KeywordType {
    #[default]
    #[serde(rename = "keyword")]
    Keyword,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
enum IntegerType {
    #[default]
    #[serde(rename = "integer")]
    Integer,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
enum UuidType {
    #[default]
    #[serde(rename = "uuid")]
    Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
enum TextType {
    #[default]
    #[serde(rename = "text")]
    Text,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeywordParams {
    r#type: KeywordType,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_tenant: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<bool>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IntegerParams {
    r#type: IntegerType,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_principal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
}

impl IntegerParams {
    fn check(&self) -> Result<()> {
        if self.lookup == Some(false) && self.range == Some(false) {
            return Err(refuse(FieldIndexKind::Integer, "`lookup` and `range` cannot both be false"));
        }
        Ok(())
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OrderedParams {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_principal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PlainParams {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct UuidParams {
    r#type: UuidType,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_tenant: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
}

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tokenizer {
    Prefix,
    Whitespace,
    #[default]
    Word,
    Multilingual,
}

/// Words to leave out.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stopwords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    languages: Option<BTreeSet<String>>,
}

/// The parameters of a text index.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextParams {
    r#type: TextType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokenizer: Option<Tokenizer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_token_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_token_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lowercase: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ascii_folding: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phrase_matching: Option<bool>,
    #[serde(default, deserialize_with = "stopwords", skip_serializing_if = "Option::is_none")]
    pub(crate) stopwords: Option<Stopwords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stemmer: Option<Stemmer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stemmer {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
}

/// Stop words are a language's name or an object.
fn stopwords<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Stopwords>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(language) => {
            Ok(Some(Stopwords { custom: None, languages: Some(BTreeSet::from([language])) }))
        }
        object => serde_json::from_value(object).map(Some).map_err(serde::de::Error::custom),
    }
}

impl TextParams {
    fn check(&self) -> Result<()> {
        let languages = self.stopwords.iter().flat_map(|s| s.languages.iter().flatten());
        if let Some(language) = languages.into_iter().next() {
            return Err(Error::unsupported(format!(
                "not supported yet: the stop words of a language (`{language}`); list them under `stopwords.custom`"
            )));
        }
        if self.stemmer.as_ref().is_some_and(|s| s.r#type != "none") {
            return Err(Error::unsupported("not supported yet: `stemmer` of a text index; leave it out"));
        }
        if self.min_token_len.zip(self.max_token_len).is_some_and(|(min, max)| min > max) {
            return Err(refuse(FieldIndexKind::Text, "`min_token_len` is greater than `max_token_len`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lodestone_types::ErrorKind;

    use super::*;

    #[test]
    fn keeps_what_was_given_and_drops_nulls() {
        let given =
            r#"{"stopwords":null,"type":"text","tokenizer":"word","lowercase":true,"min_token_len":2}"#;
        let kept = r#"{"type":"text","tokenizer":"word","min_token_len":2,"lowercase":true}"#;
        assert_eq!(check_params(FieldIndexKind::Text, given).unwrap(), kept);
        assert_eq!(check_params(FieldIndexKind::Text, kept).unwrap(), kept);
        for (kind, json) in [
            (
                FieldIndexKind::Keyword,
                r#"{"type":"keyword","is_tenant":true,"memory":"pinned","prefix":true}"#,
            ),
            (FieldIndexKind::Integer, r#"{"type":"integer","lookup":true,"range":false}"#),
            (FieldIndexKind::Float, r#"{"type":"float","is_principal":true}"#),
            (FieldIndexKind::Datetime, r#"{"type":"datetime","on_disk":true}"#),
            (FieldIndexKind::Bool, r#"{"type":"bool"}"#),
            (FieldIndexKind::Geo, r#"{"type":"geo","enable_hnsw":false}"#),
            (FieldIndexKind::Uuid, r#"{"type":"uuid","is_tenant":true}"#),
        ] {
            assert_eq!(check_params(kind, json).unwrap(), json);
        }
    }

    #[test]
    fn knows_which_fields_most_searches_ask_for() {
        let is_principal = |json: &str| {
            is_principal(&FieldIndex { kind: FieldIndexKind::Keyword, params: Some(json.to_owned()) })
        };
        assert!(is_principal(r#"{"type":"keyword","is_tenant":true}"#));
        assert!(is_principal(r#"{"type":"integer","is_principal":true}"#));
        assert!(!is_principal(r#"{"type":"keyword","is_tenant":false}"#));
        assert!(!is_principal(r#"{"type":"keyword"}"#));
        assert!(!super::is_principal(&FieldIndex { kind: FieldIndexKind::Keyword, params: None }));
    }

    #[test]
    fn refuses_what_is_wrong_and_says_why() {
        for (kind, json, kinds, word) in [
            (FieldIndexKind::Text, r#"{"type":"text","colour":1}"#, ErrorKind::BadRequest, "colour"),
            (FieldIndexKind::Text, r#"{"type":"keyword"}"#, ErrorKind::BadRequest, "keyword"),
            (FieldIndexKind::Text, r#"{"type":"text","tokenizer":"x"}"#, ErrorKind::BadRequest, "x"),
            (
                FieldIndexKind::Text,
                r#"{"type":"text","stopwords":"english"}"#,
                ErrorKind::Unsupported,
                "english",
            ),
            (
                FieldIndexKind::Text,
                r#"{"type":"text","stemmer":{"type":"snowball","language":"english"}}"#,
                ErrorKind::Unsupported,
                "stemmer",
            ),
            (
                FieldIndexKind::Text,
                r#"{"type":"text","min_token_len":3,"max_token_len":2}"#,
                ErrorKind::BadRequest,
                "min_token_len",
            ),
            (FieldIndexKind::Float, r#"{"type":"geo"}"#, ErrorKind::BadRequest, "geo"),
            (FieldIndexKind::Float, r#"{}"#, ErrorKind::BadRequest, "type"),
            (FieldIndexKind::Bool, "[", ErrorKind::BadRequest, "bool"),
            (
                FieldIndexKind::Integer,
                r#"{"type":"integer","lookup":false,"range":false}"#,
                ErrorKind::BadRequest,
                "lookup",
            ),
        ] {
            let error = check_params(kind, json).unwrap_err();
            assert_eq!(error.kind, kinds, "{json}");
            assert!(error.message.contains(word), "{}", error.message);
        }
        let none = r#"{"type":"text","stemmer":{"type":"none"}}"#;
        assert_eq!(check_params(FieldIndexKind::Text, none).unwrap(), none);
    }
}
