//! Quantization settings: message to REST's JSON and back.

use lodestone_types::{Error, Result};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::binary_quantization_query_encoding as query_encoding;
use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::quantization_config_diff::Quantization as Change;
use serde_json::Value;

use super::json::{MEMORY, Names, Reader, Writer, short, stored};
use crate::settings;

const COMPRESSION: Names =
    Names { of: "compression ratio", pairs: &[(0, "x4"), (1, "x8"), (2, "x16"), (3, "x32"), (4, "x64")] };
const ENCODING: Names =
    Names { of: "binary encoding", pairs: &[(0, "one_bit"), (1, "two_bits"), (2, "one_and_half_bits")] };
const QUERY_ENCODING: Names = Names {
    of: "query encoding",
    pairs: &[(0, "default"), (1, "binary"), (2, "scalar4bits"), (3, "scalar8bits")],
};
const BITS: Names = Names {
    of: "number of bits",
    pairs: &[(0, "bits1"), (1, "bits1_5"), (2, "bits2"), (3, "bits4"), (4, "bits8")],
};

/// The stored form of quantization switched off.
const DISABLED: &str = "\"Disabled\"";

/// The stored form of new settings.
pub(super) fn text(message: proto::QuantizationConfig) -> Result<String> {
    let kind = message.quantization.ok_or_else(|| Error::bad_request("quantization_config is empty"))?;
    settings::quantization(json(kind)?)
}

/// The stored form of changed settings.
pub(super) fn change_text(message: proto::QuantizationConfigDiff) -> Result<String> {
    let kind = match message.quantization.ok_or_else(|| Error::bad_request("quantization_config is empty"))? {
        Change::Scalar(m) => Quantization::Scalar(m),
        Change::Product(m) => Quantization::Product(m),
        Change::Binary(m) => Quantization::Binary(m),
        Change::Turboquant(m) => Quantization::Turboquant(m),
        Change::Disabled(_) => return settings::quantization(Value::from("Disabled")),
    };
    settings::quantization(json(kind)?)
}

#[expect(deprecated, reason = "clients still set always_ram")]
fn json(kind: Quantization) -> Result<Value> {
    let (name, settings) = match kind {
        Quantization::Scalar(m) => {
            if m.r#type != proto::QuantizationType::Int8 as i32 {
                return Err(Error::bad_request("the type of scalar quantization is int8"));
            }
            let quantile = m.quantile.map(short).transpose()?;
            let settings = Writer::default().with("type", Some("int8")).with("quantile", quantile);
            ("scalar", placed(settings, m.always_ram, m.memory)?)
        }
        Quantization::Product(m) => {
            let settings = Writer::default().with_name("compression", Some(m.compression), COMPRESSION)?;
            ("product", placed(settings, m.always_ram, m.memory)?)
        }
        Quantization::Binary(m) => {
            let query = m.query_encoding.and_then(|q| q.variant);
            let query = query.map(|query_encoding::Variant::Setting(n)| n);
            let settings = Writer::default().with_name("encoding", m.encoding, ENCODING)?.with_name(
                "query_encoding",
                query,
                QUERY_ENCODING,
            )?;
            ("binary", placed(settings, m.always_ram, m.memory)?)
        }
        Quantization::Turboquant(m) => {
            let settings = Writer::default().with_name("bits", m.bits, BITS)?;
            ("turbo", placed(settings, m.always_ram, m.memory)?)
        }
    };
    Ok(Writer::default().with(name, Some(settings)).object())
}

fn placed(settings: Writer, always_ram: Option<bool>, memory: Option<i32>) -> Result<Value> {
    Ok(settings.with("always_ram", always_ram).with_name("memory", memory, MEMORY)?.object())
}

/// The message of stored settings; those that were switched off are none.
#[expect(deprecated, reason = "clients still read always_ram")]
pub(super) fn message(text: &str) -> Result<Option<proto::QuantizationConfig>> {
    if text == DISABLED {
        return Ok(None);
    }
    let map = stored(text)?;
    let root = Reader(&map);
    let kind = if let Some(s) = root.object("scalar") {
        Quantization::Scalar(proto::ScalarQuantization {
            r#type: proto::QuantizationType::Int8 as i32,
            quantile: s.f32("quantile"),
            always_ram: s.bool("always_ram"),
            memory: s.number("memory", MEMORY),
        })
    } else if let Some(s) = root.object("product") {
        Quantization::Product(proto::ProductQuantization {
            compression: s.number("compression", COMPRESSION).unwrap_or_default(),
            always_ram: s.bool("always_ram"),
            memory: s.number("memory", MEMORY),
        })
    } else if let Some(s) = root.object("binary") {
        let setting = s.number("query_encoding", QUERY_ENCODING).map(query_encoding::Variant::Setting);
        Quantization::Binary(proto::BinaryQuantization {
            always_ram: s.bool("always_ram"),
            encoding: s.number("encoding", ENCODING),
            query_encoding: setting.map(|v| proto::BinaryQuantizationQueryEncoding { variant: Some(v) }),
            memory: s.number("memory", MEMORY),
        })
    } else if let Some(s) = root.object("turbo") {
        Quantization::Turboquant(proto::TurboQuantization {
            always_ram: s.bool("always_ram"),
            bits: s.number("bits", BITS),
            memory: s.number("memory", MEMORY),
        })
    } else {
        return Err(Error::internal("stored quantization settings are of an unknown kind"));
    };
    Ok(Some(proto::QuantizationConfig { quantization: Some(kind) }))
}

#[cfg(test)]
#[expect(deprecated, reason = "clients still use always_ram")]
mod tests {
    use super::*;

    fn all() -> Vec<(Quantization, &'static str)> {
        let setting = query_encoding::Variant::Setting(3);
        vec![
            (
                Quantization::Scalar(proto::ScalarQuantization {
                    r#type: 1,
                    quantile: Some(0.99),
                    always_ram: Some(true),
                    memory: None,
                }),
                r#"{"scalar":{"type":"int8","quantile":0.99,"always_ram":true}}"#,
            ),
            (
                Quantization::Product(proto::ProductQuantization {
                    compression: 2,
                    always_ram: None,
                    memory: Some(1),
                }),
                r#"{"product":{"compression":"x16","memory":"cold"}}"#,
            ),
            (
                Quantization::Binary(proto::BinaryQuantization {
                    always_ram: Some(false),
                    encoding: Some(1),
                    query_encoding: Some(proto::BinaryQuantizationQueryEncoding { variant: Some(setting) }),
                    memory: None,
                }),
                r#"{"binary":{"always_ram":false,"encoding":"two_bits","query_encoding":"scalar8bits"}}"#,
            ),
            (
                Quantization::Turboquant(proto::TurboQuantization {
                    always_ram: None,
                    bits: Some(3),
                    memory: Some(3),
                }),
                r#"{"turbo":{"bits":"bits4","memory":"pinned"}}"#,
            ),
        ]
    }

    #[test]
    fn every_kind_is_stored_as_rest_writes_it_and_comes_back() {
        for (kind, expected) in all() {
            let config = proto::QuantizationConfig { quantization: Some(kind) };
            let stored = text(config).unwrap();
            let [stored_json, expected] =
                [stored.as_str(), expected].map(|t| serde_json::from_str::<Value>(t).unwrap());
            assert_eq!(stored_json, expected);
            assert_eq!(message(&stored).unwrap(), Some(config));
        }
    }

    #[test]
    fn what_was_switched_off_is_none() {
        let off = Change::Disabled(proto::Disabled {});
        let stored = change_text(proto::QuantizationConfigDiff { quantization: Some(off) }).unwrap();
        assert_eq!(message(&stored).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let scalar = |r#type, quantile| proto::QuantizationConfig {
            quantization: Some(Quantization::Scalar(proto::ScalarQuantization {
                r#type,
                quantile,
                always_ram: None,
                memory: None,
            })),
        };
        assert!(text(scalar(0, None)).is_err());
        assert!(text(scalar(1, Some(f32::NAN))).is_err());
        assert!(text(scalar(1, Some(0.2))).is_err());
        assert!(text(proto::QuantizationConfig { quantization: None }).is_err());
        let ratio = proto::ProductQuantization { compression: 9, always_ram: None, memory: None };
        let ratio = proto::QuantizationConfig { quantization: Some(Quantization::Product(ratio)) };
        assert!(text(ratio).is_err());
    }
}
