//! Settings that are kept as the JSON text of Qdrant's objects: quantization, strict mode and the parameters
//! of payload indexes. Here they are checked field by field and brought into one form.

use std::collections::BTreeMap;

use lodestone_types::{Error, FieldIndex, FieldIndexKind, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Checks a quantization object, such as `{"scalar": {"type": "int8"}}`; `"Disabled"` is one too.
pub fn quantization(value: Value) -> Result<String> {
    if value == "Disabled" {
        return Ok(value.to_string());
    }
    let checked: Quantization = parse("quantization_config", value)?;
    if let Quantization::Scalar(Scalar { quantile: Some(quantile), .. }) = checked
        && !(0.5..=1.0).contains(&quantile)
    {
        return Err(Error::invalid(format!(
            "Validation error in JSON body: [quantization_config.quantile: value {quantile} invalid, must be from 0.5 to 1]"
        )));
    }
    text(&checked)
}

/// Checks a strict-mode object.
pub fn strict_mode(value: Value) -> Result<String> {
    text(&parse::<StrictMode>("strict_mode_config", value)?)
}

/// Checks the schema of a payload index: a kind (`"keyword"`) or an object with its parameters.
pub fn field_index(schema: Value) -> Result<FieldIndex> {
    match schema {
        Value::String(_) => {
            Ok(FieldIndex { kind: parse::<Kind>("field_schema", schema)?.into(), params: None })
        }
        schema => index_params(schema),
    }
}

fn index_params(mut schema: Value) -> Result<FieldIndex> {
    let Some(params) = schema.as_object_mut() else {
        return Err(Error::bad_request(
            "Format error in JSON body: field_schema: a kind or an object with a `type` is expected",
        ));
    };
    for later in ["nested", "scoring"] {
        if params.remove(later).is_some_and(|v| !v.is_null() && v != Value::Bool(false)) {
            return Err(Error::unsupported(format!("not supported yet: `{later}` of a payload index")));
        }
    }
    if params.get("prefix") == Some(&Value::Bool(true)) {
        return Err(Error::unsupported("not supported yet: `prefix` of a keyword index"));
    }
    if params.get("tokenizer").is_some_and(|v| v == "code") {
        return Err(Error::unsupported("not supported yet: the `code` tokenizer of a text index"));
    }
    let kind = params.get("type").cloned().unwrap_or_default();
    let kind = parse::<Kind>("field_schema.type", kind)?.into();
    let params = lodestone_index::check_params(kind, &schema.to_string())?;
    Ok(FieldIndex { kind, params: Some(params) })
}

/// Qdrant's word for a kind.
pub fn kind_name(kind: FieldIndexKind) -> &'static str {
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

fn parse<T: DeserializeOwned>(field: &str, value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| Error::bad_request(format!("Format error in JSON body: {field}: {error}")))
}

fn text<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("settings cannot be written: {error}")))
}

/// Where a part should be held in memory: a hint that is kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Memory {
    /// Loaded when read.
    Cold,
    /// Loaded at the start.
    Cached,
    /// Never evicted.
    Pinned,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Quantization {
    Scalar(Scalar),
    Product(Product),
    Binary(Binary),
    Turbo(Turbo),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scalar {
    r#type: ScalarType,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    always_ram: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ScalarType {
    Int8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    compression: Compression,
    #[serde(skip_serializing_if = "Option::is_none")]
    always_ram: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Compression {
    X4,
    X8,
    X16,
    X32,
    X64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    #[serde(skip_serializing_if = "Option::is_none")]
    always_ram: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<BinaryEncoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_encoding: Option<QueryEncoding>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum QueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turbo {
    #[serde(skip_serializing_if = "Option::is_none")]
    always_ram: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<TurboBits>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TurboBits {
    Bits1,
    #[serde(rename = "bits1_5")]
    Bits1AndHalf,
    Bits2,
    Bits4,
    Bits8,
}

/// Every field is kept as given; `null` is absence.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictMode {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_query_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unindexed_filtering_retrieve: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unindexed_filtering_update: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_hnsw_ef: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_allow_exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_oversampling: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upsert_max_batchsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_batchsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_collection_vector_size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_rate_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_rate_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_collection_payload_size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_points_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_max_conditions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition_max_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multivector_config: Option<BTreeMap<String, MultivectorLimit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse_config: Option<BTreeMap<String, SparseLimit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_payload_index_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_resident_memory_percent: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MultivectorLimit {
    max_vectors: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SparseLimit {
    max_length: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Keyword,
    Integer,
    Float,
    Bool,
    Datetime,
    Uuid,
    Geo,
    Text,
}

impl From<Kind> for FieldIndexKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Keyword => FieldIndexKind::Keyword,
            Kind::Integer => FieldIndexKind::Integer,
            Kind::Float => FieldIndexKind::Float,
            Kind::Bool => FieldIndexKind::Bool,
            Kind::Datetime => FieldIndexKind::Datetime,
            Kind::Uuid => FieldIndexKind::Uuid,
            Kind::Geo => FieldIndexKind::Geo,
            Kind::Text => FieldIndexKind::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestone_types::ErrorKind;
    use serde_json::json;

    #[test]
    fn quantization_is_kept_without_its_nulls() {
        for (given, kept) in [
            (
                json!({"scalar": {"type": "int8", "quantile": 0.99, "always_ram": null}}),
                r#"{"scalar":{"type":"int8","quantile":0.99}}"#,
            ),
            (json!({"product": {"compression": "x16"}}), r#"{"product":{"compression":"x16"}}"#),
            (
                json!({"binary": {"query_encoding": "scalar4bits"}}),
                r#"{"binary":{"query_encoding":"scalar4bits"}}"#,
            ),
            (
                json!({"turbo": {"bits": "bits1_5", "memory": "pinned"}}),
                r#"{"turbo":{"memory":"pinned","bits":"bits1_5"}}"#,
            ),
            (json!("Disabled"), r#""Disabled""#),
        ] {
            assert_eq!(quantization(given).unwrap(), kept);
        }
        for bad in [
            json!({"scalar": {"type": "int4"}}),
            json!({"scalar": {"type": "int8", "quantile": 0.1}}),
            json!({"scalar": {"type": "int8", "foo": 1}}),
            json!({"magic": {}}),
            json!(1),
        ] {
            assert!(quantization(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn indexes_are_read_by_kind_or_by_parameters() {
        assert_eq!(
            field_index(json!("keyword")).unwrap(),
            FieldIndex { kind: FieldIndexKind::Keyword, params: None }
        );
        let text = field_index(json!({
            "type": "text", "tokenizer": "word", "lowercase": true, "stopwords": {"custom": ["a"]},
            "stemmer": {"type": "none"}, "nested": null, "scoring": false,
        }))
        .unwrap();
        assert_eq!(text.kind, FieldIndexKind::Text);
        assert_eq!(
            serde_json::from_str::<Value>(&text.params.unwrap()).unwrap(),
            json!({"type": "text", "tokenizer": "word", "lowercase": true, "stopwords": {"custom": ["a"]},
                "stemmer": {"type": "none"}})
        );
        for kind in ["keyword", "integer", "float", "bool", "datetime", "uuid", "geo", "text"] {
            assert_eq!(kind_name(field_index(json!({"type": kind, "on_disk": true})).unwrap().kind), kind);
        }
    }

    #[test]
    fn every_index_that_is_accepted_can_be_read_with() {
        for given in [
            json!("text"),
            json!({"type": "text", "tokenizer": "multilingual", "stopwords": {"custom": ["the"]}}),
            json!({"type": "text", "stopwords": null, "stemmer": {"type": "none"}, "max_token_len": 9}),
            json!({"type": "integer", "lookup": true, "range": false, "is_principal": true}),
            json!({"type": "uuid", "is_tenant": true, "memory": "cold"}),
        ] {
            let index = field_index(given.clone()).unwrap();
            let path = "a".parse().unwrap();
            assert!(lodestone_index::IndexSchema::new([(&path, &index)]).is_ok(), "{given}");
        }
    }

    #[test]
    fn bad_indexes_are_refused_and_later_ones_named() {
        for bad in [
            json!("magic"),
            json!(null),
            json!({"type": "keyword", "lookup": true}),
            json!({"type": "integer", "lookup": false, "range": false}),
            json!({"tokenizer": "word"}),
            json!({"type": "text", "min_token_len": 9, "max_token_len": 3}),
            json!({"type": "text", "stopwords": 3}),
        ] {
            assert!(field_index(bad.clone()).is_err(), "{bad}");
        }
        for later in [
            json!({"type": "keyword", "prefix": true}),
            json!({"type": "text", "tokenizer": "code"}),
            json!({"type": "text", "scoring": true}),
            json!({"type": "keyword", "nested": "a"}),
            json!({"type": "text", "stemmer": {"type": "snowball", "language": "english"}}),
            json!({"type": "text", "stopwords": "english"}),
            json!({"type": "text", "stopwords": {"languages": ["german"]}}),
        ] {
            assert_eq!(field_index(later).unwrap_err().kind, ErrorKind::Unsupported);
        }
    }

    #[test]
    fn strict_mode_has_known_fields_only() {
        assert_eq!(
            strict_mode(json!({"enabled": true, "max_timeout": null})).unwrap(),
            r#"{"enabled":true}"#
        );
        assert!(strict_mode(json!({"enable": true})).is_err());
    }
}
