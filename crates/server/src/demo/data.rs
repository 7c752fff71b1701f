//! The points and queries that the binary carries; `demo/README.md` says what they are and how they were made.

use lodestone_types::{Error, NamedVectors, Payload, Point, PointId, Result};
use serde::Deserialize;

/// Components of every vector.
pub const DIMENSIONS: usize = 384;

const POINTS: &[u8] = include_bytes!("../../demo/points.jsonl.zst");
const VECTORS: &[u8] = include_bytes!("../../demo/vectors.i8");
const QUERIES: &str = include_str!("../../demo/queries.json");

/// What the demo writes and what it then asks.
pub struct Demo {
    /// WordNet entries.
    pub points: Vec<Point>,
    /// Sentences.
    pub queries: Vec<Query>,
}

/// A sentence and its vector.
pub struct Query {
    /// For the reader.
    pub text: String,
    /// For the search.
    pub vector: Vec<f32>,
    /// Only entries of this topic.
    pub topic: Option<String>,
}

#[derive(Deserialize)]
struct QueryLine {
    text: String,
    topic: Option<String>,
}

/// Unpacks what the binary carries.
pub fn read() -> Result<Demo> {
    let broken = |why: String| Error::internal(format!("the demo's data is broken: {why}"));
    let lines = zstd::decode_all(POINTS).map_err(|e| broken(e.to_string()))?;
    let payloads: Vec<Payload> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|e| broken(e.to_string()))?;
    let texts: Vec<QueryLine> = serde_json::from_str(QUERIES).map_err(|e| broken(e.to_string()))?;
    if VECTORS.len() != (payloads.len() + texts.len()) * DIMENSIONS {
        return Err(broken(format!("{} bytes of vectors", VECTORS.len())));
    }
    let (for_points, for_queries) = VECTORS.split_at(payloads.len() * DIMENSIONS);
    let points = payloads.into_iter().zip(for_points.chunks_exact(DIMENSIONS)).map(|(payload, row)| {
        let id = payload.0.get("id").and_then(serde_json::Value::as_u64);
        let id = id.ok_or_else(|| broken("a point without an id".to_owned()))?;
        Ok(Point { id: PointId::Num(id), vectors: NamedVectors::unnamed(vector(row)), payload })
    });
    let queries = texts.into_iter().zip(for_queries.chunks_exact(DIMENSIONS)).map(|(line, row)| Query {
        text: line.text,
        vector: vector(row),
        topic: line.topic,
    });
    Ok(Demo { points: points.collect::<Result<_>>()?, queries: queries.collect() })
}

fn vector(row: &[u8]) -> Vec<f32> {
    row.iter().map(|byte| f32::from(byte.cast_signed())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_point_has_an_id_a_vector_and_words() {
        let demo = read().unwrap();
        assert_eq!(demo.points.len(), 3162);
        let ids: HashSet<PointId> = demo.points.iter().map(|p| p.id).collect();
        assert_eq!(ids.len(), demo.points.len());
        for point in &demo.points {
            assert!(point.payload.0["words"].as_array().is_some_and(|w| !w.is_empty()));
            assert!(point.vectors.0[0].1.iter().any(|x| *x != 0.0));
        }
    }

    /// Cosine by hand over the quantized rows finds what the sentence means.
    #[test]
    fn the_first_query_means_its_nearest_entry() {
        let demo = read().unwrap();
        assert_eq!(demo.queries.len(), 3);
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let query = &demo.queries[0];
        let score = |p: &Point| cosine(&query.vector, &p.vectors.0[0].1);
        let best = demo.points.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        assert_eq!(best.payload.0["words"][0], "Schadenfreude", "{}", query.text);
        assert!((score(best) - 0.761).abs() < 0.005, "{}", score(best));
    }
}
