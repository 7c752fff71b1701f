//! Payload indexes: kind and parameters, message to REST's JSON and back.

use lodestone_types::{Error, FieldIndex, FieldIndexKind, Result};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::stemming_algorithm::StemmingParams;
use serde_json::{Value, json};

use super::json::{MEMORY, Names, Reader, Writer, stored};
use crate::settings;

const TOKENIZER: Names = Names {
    of: "tokenizer",
    pairs: &[(1, "prefix"), (2, "whitespace"), (3, "word"), (4, "multilingual"), (5, "code")],
};

/// The index that a request asks for, by its kind, by its parameters, or by both.
pub(super) fn index(kind: Option<i32>, params: Option<proto::PayloadIndexParams>) -> Result<FieldIndex> {
    let kind = kind.map(kind_of).transpose()?;
    let Some(params) = params.and_then(|p| p.index_params) else {
        let kind = kind.ok_or_else(|| Error::bad_request("field_type or field_index_params is expected"))?;
        return Ok(FieldIndex { kind, params: None });
    };
    let index = settings::field_index(params_json(params)?)?;
    // Clients that set parameters may leave the kind at its default, which reads as keyword.
    if kind.is_some_and(|k| k != index.kind && k != FieldIndexKind::Keyword) {
        return Err(Error::bad_request("field_type and field_index_params are of different kinds"));
    }
    Ok(index)
}

fn kind_of(number: i32) -> Result<FieldIndexKind> {
    use proto::FieldType as Type;
    match Type::try_from(number) {
        Ok(Type::Keyword) => Ok(FieldIndexKind::Keyword),
        Ok(Type::Integer) => Ok(FieldIndexKind::Integer),
        Ok(Type::Float) => Ok(FieldIndexKind::Float),
        Ok(Type::Geo) => Ok(FieldIndexKind::Geo),
        Ok(Type::Text) => Ok(FieldIndexKind::Text),
        Ok(Type::Bool) => Ok(FieldIndexKind::Bool),
        Ok(Type::Datetime) => Ok(FieldIndexKind::Datetime),
        Ok(Type::Uuid) => Ok(FieldIndexKind::Uuid),
        Err(_) => Err(Error::bad_request(format!("{number} is no field_type"))),
    }
}

#[expect(deprecated, reason = "clients still set on_disk")]
fn params_json(params: IndexParams) -> Result<Value> {
    let json = match params {
        IndexParams::KeywordIndexParams(p) => {
            common("keyword", p.on_disk, p.memory, p.enable_hnsw, p.nested)?
                .with("is_tenant", p.is_tenant)
                .with("prefix", p.prefix.map(|_| true))
        }
        IndexParams::IntegerIndexParams(p) => {
            common("integer", p.on_disk, p.memory, p.enable_hnsw, p.nested)?
                .with("lookup", p.lookup)
                .with("range", p.range)
                .with("is_principal", p.is_principal)
        }
        IndexParams::FloatIndexParams(p) => {
            let json = common("float", p.on_disk, p.memory, p.enable_hnsw, p.nested)?;
            json.with("is_principal", p.is_principal)
        }
        IndexParams::DatetimeIndexParams(p) => {
            let json = common("datetime", p.on_disk, p.memory, p.enable_hnsw, p.nested)?;
            json.with("is_principal", p.is_principal)
        }
        IndexParams::UuidIndexParams(p) => {
            let json = common("uuid", p.on_disk, p.memory, p.enable_hnsw, p.nested)?;
            json.with("is_tenant", p.is_tenant)
        }
        IndexParams::GeoIndexParams(p) => common("geo", p.on_disk, p.memory, p.enable_hnsw, p.nested)?,
        IndexParams::BoolIndexParams(p) => common("bool", p.on_disk, p.memory, p.enable_hnsw, p.nested)?,
        IndexParams::TextIndexParams(p) => text_json(p)?,
    };
    Ok(json.object())
}

fn common(
    kind: &str,
    on_disk: Option<bool>,
    memory: Option<i32>,
    enable_hnsw: Option<bool>,
    nested: Option<String>,
) -> Result<Writer> {
    Writer::default()
        .with("type", Some(kind))
        .with("nested", nested)
        .with("on_disk", on_disk)
        .with("enable_hnsw", enable_hnsw)
        .with_name("memory", memory, MEMORY)
}

#[expect(deprecated, reason = "clients still set on_disk")]
fn text_json(p: proto::TextIndexParams) -> Result<Writer> {
    // 0 is what an unset tokenizer reads as.
    let tokenizer = (p.tokenizer != 0).then_some(p.tokenizer);
    common("text", p.on_disk, p.memory, p.enable_hnsw, p.nested)?
        .with("scoring", p.scoring.map(|_| true))
        .with("lowercase", p.lowercase)
        .with("min_token_len", p.min_token_len)
        .with("max_token_len", p.max_token_len)
        .with("phrase_matching", p.phrase_matching)
        .with("ascii_folding", p.ascii_folding)
        .with("stopwords", p.stopwords.map(stopwords))
        .with("stemmer", p.stemmer.and_then(|s| s.stemming_params).map(stemmer))
        .with_name("tokenizer", tokenizer, TOKENIZER)
}

fn stopwords(set: proto::StopwordsSet) -> Value {
    json!({ "languages": set.languages, "custom": set.custom })
}

fn stemmer(params: StemmingParams) -> Value {
    match params {
        StemmingParams::Snowball(s) => json!({ "type": "snowball", "language": s.language }),
        StemmingParams::Disabled(_) => json!({ "type": "none" }),
    }
}

/// What a collection's description says about an index.
pub(super) fn message(index: &FieldIndex, points: u64) -> Result<proto::PayloadSchemaInfo> {
    use proto::PayloadSchemaType as Type;
    let data_type = match index.kind {
        FieldIndexKind::Keyword => Type::Keyword,
        FieldIndexKind::Integer => Type::Integer,
        FieldIndexKind::Float => Type::Float,
        FieldIndexKind::Bool => Type::Bool,
        FieldIndexKind::Datetime => Type::Datetime,
        FieldIndexKind::Uuid => Type::Uuid,
        FieldIndexKind::Geo => Type::Geo,
        FieldIndexKind::Text => Type::Text,
    };
    let params = index.params.as_deref().map(|text| params_message(index.kind, text)).transpose()?;
    Ok(proto::PayloadSchemaInfo { data_type: data_type as i32, params, points: Some(points) })
}

#[expect(deprecated, reason = "clients still read on_disk")]
fn params_message(kind: FieldIndexKind, text: &str) -> Result<proto::PayloadIndexParams> {
    let map = stored(text)?;
    let s = Reader(&map);
    let (on_disk, enable_hnsw) = (s.bool("on_disk"), s.bool("enable_hnsw"));
    let memory = s.number("memory", MEMORY);
    let nested = s.str("nested").map(str::to_owned);
    let (is_tenant, is_principal) = (s.bool("is_tenant"), s.bool("is_principal"));
    let params = match kind {
        FieldIndexKind::Keyword => {
            let prefix = (s.bool("prefix") == Some(true)).then_some(proto::KeywordPrefixParams {});
            let params =
                proto::KeywordIndexParams { is_tenant, on_disk, enable_hnsw, prefix, memory, nested };
            IndexParams::KeywordIndexParams(params)
        }
        FieldIndexKind::Integer => IndexParams::IntegerIndexParams(proto::IntegerIndexParams {
            lookup: s.bool("lookup"),
            range: s.bool("range"),
            is_principal,
            on_disk,
            enable_hnsw,
            memory,
            nested,
        }),
        FieldIndexKind::Float => {
            let params = proto::FloatIndexParams { on_disk, is_principal, enable_hnsw, memory, nested };
            IndexParams::FloatIndexParams(params)
        }
        FieldIndexKind::Datetime => {
            let params = proto::DatetimeIndexParams { on_disk, is_principal, enable_hnsw, memory, nested };
            IndexParams::DatetimeIndexParams(params)
        }
        FieldIndexKind::Uuid => {
            let params = proto::UuidIndexParams { is_tenant, on_disk, enable_hnsw, memory, nested };
            IndexParams::UuidIndexParams(params)
        }
        FieldIndexKind::Geo => {
            IndexParams::GeoIndexParams(proto::GeoIndexParams { on_disk, enable_hnsw, memory, nested })
        }
        FieldIndexKind::Bool => {
            IndexParams::BoolIndexParams(proto::BoolIndexParams { on_disk, enable_hnsw, memory, nested })
        }
        FieldIndexKind::Text => IndexParams::TextIndexParams(text_message(&s)),
    };
    Ok(proto::PayloadIndexParams { index_params: Some(params) })
}

#[expect(deprecated, reason = "clients still read on_disk")]
fn text_message(s: &Reader<'_>) -> proto::TextIndexParams {
    // Clients refuse an unknown tokenizer, and an index without a named one splits into words.
    let tokenizer = s.number("tokenizer", TOKENIZER).unwrap_or(proto::TokenizerType::Word as i32);
    proto::TextIndexParams {
        tokenizer,
        lowercase: s.bool("lowercase"),
        min_token_len: s.u64("min_token_len"),
        max_token_len: s.u64("max_token_len"),
        on_disk: s.bool("on_disk"),
        stopwords: s.0.get("stopwords").and_then(stopwords_message),
        phrase_matching: s.bool("phrase_matching"),
        stemmer: s.object("stemmer").and_then(|s| stemmer_message(&s)),
        ascii_folding: s.bool("ascii_folding"),
        enable_hnsw: s.bool("enable_hnsw"),
        memory: s.number("memory", MEMORY),
        scoring: None,
        nested: s.str("nested").map(str::to_owned),
    }
}

/// REST writes one language, or a set.
fn stopwords_message(value: &Value) -> Option<proto::StopwordsSet> {
    let words = |key: &str| -> Vec<String> {
        let list = value.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    match value {
        Value::String(language) => {
            Some(proto::StopwordsSet { languages: vec![language.clone()], custom: Vec::new() })
        }
        Value::Object(_) => {
            Some(proto::StopwordsSet { languages: words("languages"), custom: words("custom") })
        }
        _ => None,
    }
}

fn stemmer_message(s: &Reader<'_>) -> Option<proto::StemmingAlgorithm> {
    let params = match s.str("type")? {
        "snowball" => {
            StemmingParams::Snowball(proto::SnowballParams { language: s.str("language")?.to_owned() })
        }
        "none" => StemmingParams::Disabled(proto::DisabledStemmer {}),
        _ => return None,
    };
    Some(proto::StemmingAlgorithm { stemming_params: Some(params) })
}

#[cfg(test)]
#[expect(deprecated, reason = "clients still use on_disk")]
mod tests {
    use super::*;

    fn all() -> Vec<IndexParams> {
        let stemmer = StemmingParams::Disabled(proto::DisabledStemmer {});
        vec![
            IndexParams::KeywordIndexParams(proto::KeywordIndexParams {
                is_tenant: Some(true),
                on_disk: Some(false),
                ..Default::default()
            }),
            IndexParams::IntegerIndexParams(proto::IntegerIndexParams {
                lookup: Some(false),
                range: Some(true),
                memory: Some(2),
                ..Default::default()
            }),
            IndexParams::FloatIndexParams(proto::FloatIndexParams {
                is_principal: Some(true),
                ..Default::default()
            }),
            IndexParams::GeoIndexParams(proto::GeoIndexParams {
                enable_hnsw: Some(false),
                ..Default::default()
            }),
            IndexParams::BoolIndexParams(proto::BoolIndexParams {
                on_disk: Some(true),
                ..Default::default()
            }),
            IndexParams::DatetimeIndexParams(proto::DatetimeIndexParams {
                is_principal: Some(false),
                ..Default::default()
            }),
            IndexParams::UuidIndexParams(proto::UuidIndexParams {
                is_tenant: Some(true),
                ..Default::default()
            }),
            IndexParams::TextIndexParams(proto::TextIndexParams {
                tokenizer: 4,
                lowercase: Some(true),
                min_token_len: Some(2),
                max_token_len: Some(20),
                stopwords: Some(proto::StopwordsSet { languages: vec![], custom: vec!["foo".into()] }),
                stemmer: Some(proto::StemmingAlgorithm { stemming_params: Some(stemmer) }),
                phrase_matching: Some(true),
                ascii_folding: Some(true),
                ..Default::default()
            }),
        ]
    }

    #[test]
    fn every_kind_of_parameters_comes_back() {
        for params in all() {
            let params = proto::PayloadIndexParams { index_params: Some(params) };
            let stored = index(None, Some(params.clone())).unwrap();
            let info = message(&stored, 7).unwrap();
            assert_eq!(info.params, Some(params));
            assert_eq!(info.points, Some(7));
        }
    }

    #[test]
    fn parameters_are_stored_as_rest_writes_them() {
        let params = all().swap_remove(0);
        let stored = index(Some(0), Some(proto::PayloadIndexParams { index_params: Some(params) })).unwrap();
        let stored: Value = serde_json::from_str(&stored.params.unwrap()).unwrap();
        assert_eq!(stored, json!({ "type": "keyword", "is_tenant": true, "on_disk": false }));
    }

    #[test]
    fn kind_and_parameters_must_agree() {
        let text = proto::PayloadIndexParams { index_params: Some(all().swap_remove(7)) };
        assert_eq!(index(Some(4), Some(text.clone())).unwrap().kind, FieldIndexKind::Text);
        assert!(index(Some(2), Some(text)).is_err());
        assert!(index(None, None).is_err());
        assert!(index(Some(77), None).is_err());
        assert_eq!(index(Some(7), None).unwrap(), FieldIndex { kind: FieldIndexKind::Uuid, params: None });
    }
}
