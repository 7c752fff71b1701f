//! What users' quantization settings mean for the codes of an index. The table is in `docs/0004-vector-index.md`.

use lodestone_index::dense::{IndexShape, ModelHeader};
use lodestone_kernels::LevelBits;
use lodestone_manifest::Collection;
use lodestone_types::{Error, Result, VectorParams};
use serde_json::Value;

/// How the vectors of one name are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// Few bytes rather than few steps: few rows are in a second list.
    pub small: bool,
    /// Still fewer bytes: only signs are in memory, and say which rows are compared.
    pub signs_alone: bool,
    /// How fine the codes are that rank what a scan found.
    pub level_bits: LevelBits,
}

impl Codes {
    const USUAL: Self = Self { small: false, signs_alone: false, level_bits: LevelBits::Four };
    const FINE: Self = Self { level_bits: LevelBits::Eight, ..Self::USUAL };
    const SIGNS: Self = Self { small: true, signs_alone: true, ..Self::USUAL };

    /// What the settings of a vector ask for, or else those of its collection. Vectors that live on disk are there to save
    /// memory, whatever else is said.
    pub fn wanted(collection: &Collection, vector: &VectorParams) -> Result<Self> {
        let text = vector.quantization.as_ref().or(collection.config.quantization.as_ref());
        let codes = text.map_or(Ok(Self::USUAL), |text| of_settings(text))?;
        Ok(Self { small: codes.small || vector.on_disk == Some(true), ..codes })
    }

    /// The next finer ones, which a build takes where these leave too many rows in doubt.
    pub fn finer(self) -> Option<Self> {
        match self {
            Self { signs_alone: true, .. } => Some(Self { signs_alone: false, ..self }),
            Self { level_bits: LevelBits::Four, small: false, .. } => Some(Self::FINE),
            _ => None,
        }
    }

    /// Whether an index of a model has such codes.
    pub fn are_those_of(self, model: &ModelHeader, index: &IndexShape) -> bool {
        self.suit(model) && (index.level_bits, index.spilled) == (model.level_bits, !self.small)
    }

    /// Whether a model is made for such codes, or for finer ones because such do not suit its rows.
    pub fn suit(self, model: &ModelHeader) -> bool {
        let made_for = if model.calibration.finer { self.finer() } else { Some(self) };
        made_for.is_some_and(|codes| {
            (codes.level_bits.bits(), codes.signs_alone) == (model.level_bits, model.signs_alone)
        })
    }
}

/// The codes of these settings, Qdrant's object as text.
fn of_settings(text: &str) -> Result<Codes> {
    let damaged = || Error::damaged(format!("stored quantization settings cannot be read: {text}"));
    let settings: Value = serde_json::from_str(text).map_err(|_| damaged())?;
    if settings == "Disabled" {
        return Ok(Codes::USUAL);
    }
    let (kind, of_kind) = settings.as_object().and_then(|object| object.iter().next()).ok_or_else(damaged)?;
    let detail = |name: &str| of_kind.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(match (kind.as_str(), detail("compression"), detail("bits")) {
        ("scalar", ..) | ("turbo", _, "bits8") => Codes::FINE,
        ("binary", ..) | ("product", "x16" | "x32" | "x64", _) => Codes::SIGNS,
        ("turbo", _, "bits1" | "bits1_5" | "bits2") => Codes::SIGNS,
        ("product" | "turbo", ..) => Codes::USUAL,
        _ => return Err(damaged()),
    })
}

#[cfg(test)]
mod tests {
    use lodestone_index::dense::{Calibration, Distance};

    use super::*;

    #[test]
    fn settings_have_a_meaning() {
        for (text, expected) in [
            (r#""Disabled""#, Codes::USUAL),
            (r#"{"scalar":{"type":"int8","quantile":0.99}}"#, Codes::FINE),
            (r#"{"binary":{"always_ram":true}}"#, Codes::SIGNS),
            (r#"{"product":{"compression":"x8"}}"#, Codes::USUAL),
            (r#"{"product":{"compression":"x64"}}"#, Codes::SIGNS),
            (r#"{"turbo":{}}"#, Codes::USUAL),
            (r#"{"turbo":{"bits":"bits1_5"}}"#, Codes::SIGNS),
            (r#"{"turbo":{"bits":"bits8"}}"#, Codes::FINE),
        ] {
            assert_eq!(of_settings(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "{}", "3", r#"{"cubic":{}}"#] {
            assert!(of_settings(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_of_finer_codes_suits_where_the_build_chose_them() {
        let model = |codes: Codes, finer| ModelHeader {
            distance: Distance::Dot,
            level_bits: codes.level_bits.bits(),
            dim: 8,
            lists: 10,
            seed: 1,
            rows: 1000,
            spread: 1.0,
            row_length: 1.0,
            calibration: Calibration { finer, ..Calibration::default() },
            signs_alone: codes.signs_alone,
            decay: None,
            spill_cost: 0.0,
        };
        for codes in [Codes::SIGNS, Codes::USUAL] {
            let finer = codes.finer().unwrap();
            assert!(codes.suit(&model(codes, false)) && codes.suit(&model(finer, true)));
            assert!(!codes.suit(&model(finer, false)) && !codes.suit(&model(codes, true)));
            assert!(finer.suit(&model(finer, false)) && !finer.suit(&model(finer, true)));
        }
        assert_eq!(Codes::FINE.finer(), None);
        assert_eq!(
            Codes { small: true, ..Codes::USUAL }.finer(),
            None,
            "vectors on disk are there to save memory"
        );
    }
}
