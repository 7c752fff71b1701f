//! What rows of a shard look like, prepared for reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lodestone_index::IndexSchema;
use lodestone_kernels::{Element, Metric};
use lodestone_segment::SegmentSchema;
use lodestone_types::{
    CollectionConfig, Datatype, Distance, Error, FieldIndex, FieldIndexKind, JsonPath, Result,
};

/// The collection's vectors and payload indexes.
#[derive(Debug, Clone)]
pub struct ShardSchema {
    vectors: BTreeMap<String, VectorShape>,
    segment: SegmentSchema,
    indexes: IndexSchema,
}

/// One named vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorShape {
    /// Components.
    pub dim: usize,
    /// How nearness is measured.
    pub metric: Metric,
    /// How components are stored.
    pub element: Element,
    /// Whether the user wants them on disk rather than in memory.
    pub on_disk: bool,
    /// Bytes of vectors of a segment that match up to which the user wants each compared, whatever would take less time; 0 where
    /// nothing was said.
    pub full_scan_bytes: u64,
}

impl VectorShape {
    /// Bytes of a stored vector.
    pub fn row_bytes(&self) -> usize {
        self.dim * self.element.bytes()
    }

    /// Vectors up to which each is compared in any case.
    pub fn full_scan_rows(&self) -> u64 {
        self.full_scan_bytes / self.row_bytes().max(1) as u64
    }

    /// Refuses a query of another length.
    pub fn check(&self, vector: &[f32]) -> Result<()> {
        if vector.len() == self.dim {
            return Ok(());
        }
        Err(Error::bad_request(format!(
            "Wrong input: Vector dimension error: expected dim: {}, got {}",
            self.dim,
            vector.len()
        )))
    }

    /// A vector as users write it in its stored form: normalised where the metric wants it, components rounded.
    pub fn encode(&self, vector: &[f32]) -> Vec<u8> {
        let mut prepared = vector.to_vec();
        lodestone_kernels::prepare(self.metric, self.element, &mut prepared);
        let mut row = Vec::new();
        lodestone_kernels::encode(self.element, &prepared, &mut row);
        row
    }

    /// The vector whose stored form is `row`.
    pub fn decode(&self, row: &[u8]) -> Vec<f32> {
        let mut vector = Vec::new();
        lodestone_kernels::decode(self.element, row, &mut vector);
        vector
    }
}

impl ShardSchema {
    /// Of a collection with these settings and payload indexes.
    pub fn new(config: &CollectionConfig, fields: BTreeMap<JsonPath, FieldIndex>) -> Result<Self> {
        let params = &config.params;
        let full_scan = |vector: &lodestone_types::VectorParams| {
            let own = vector.hnsw.and_then(|hnsw| hnsw.full_scan_threshold);
            own.or(config.hnsw.full_scan_threshold).unwrap_or_default()
        };
        let shape = |vector: &lodestone_types::VectorParams| VectorShape {
            dim: vector.size as usize,
            metric: metric_of(vector.distance),
            element: element_of(vector.datatype()),
            on_disk: vector.on_disk.unwrap_or(false),
            full_scan_bytes: full_scan(vector).saturating_mul(1024),
        };
        let vectors = params.vectors.iter().map(|(name, vector)| (name.clone(), shape(vector))).collect();
        let indexes = IndexSchema::new(&fields)?;
        Ok(Self { vectors, segment: SegmentSchema::of(params, fields), indexes })
    }

    /// The vector called `name`.
    pub fn vector(&self, name: &str) -> Result<&VectorShape> {
        self.vectors
            .get(name)
            .ok_or_else(|| Error::bad_request(format!("Wrong input: Not existing vector name error: {name}")))
    }

    /// All vectors, by name.
    pub fn vectors(&self) -> &BTreeMap<String, VectorShape> {
        &self.vectors
    }

    /// The names of those that the user wants on disk.
    pub fn on_disk(&self) -> Arc<BTreeSet<String>> {
        let on_disk = self.vectors.iter().filter(|(_, shape)| shape.on_disk);
        Arc::new(on_disk.map(|(name, _)| name.clone()).collect())
    }

    /// The kind of the payload index on `path`.
    pub fn field_kind(&self, path: &JsonPath) -> Option<FieldIndexKind> {
        self.segment.fields.get(path).map(|index| index.kind)
    }

    /// Of new segments.
    pub fn segment(&self) -> &SegmentSchema {
        &self.segment
    }

    /// The payload indexes, as filters see them.
    pub fn indexes(&self) -> &IndexSchema {
        &self.indexes
    }
}

/// The kernels' word for a distance.
pub fn metric_of(distance: Distance) -> Metric {
    match distance {
        Distance::Cosine => Metric::Cosine,
        Distance::Dot => Metric::Dot,
        Distance::Euclid => Metric::Euclid,
        Distance::Manhattan => Metric::Manhattan,
    }
}

/// The kernels' word for a datatype.
pub fn element_of(datatype: Datatype) -> Element {
    match datatype {
        Datatype::Float32 => Element::F32,
        Datatype::Float16 => Element::F16,
        Datatype::Uint8 => Element::U8,
    }
}
