use std::fmt;

use bytes::Bytes;
use lodestone_manifest::{SegmentEntry, SegmentId};
use lodestone_types::{Error, FieldIndex, JsonPath, Result};
use serde::{Deserialize, Serialize};

/// The version of [`SegmentMeta::to_bytes`]; its first byte.
const META_VERSION: u8 = 1;

/// All that is needed to read a segment without asking the bucket where things are. Lives in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Which.
    pub id: SegmentId,
    /// Rows, deleted ones included.
    pub rows: u32,
    /// The least LSN of any row; 0 if there are no rows.
    pub min_lsn: u64,
    /// The greatest LSN of any row; 0 if there are no rows.
    pub max_lsn: u64,
    /// At most one per [`PartKind::same_place`].
    pub parts: Vec<PartMeta>,
}

impl SegmentMeta {
    /// The part that has the place of `kind`.
    pub fn part(&self, kind: &PartKind) -> Option<&PartMeta> {
        self.parts.iter().find(|p| p.kind.same_place(kind))
    }

    /// The index of a field, and how it was made.
    pub fn field_index(&self, path: &JsonPath) -> Option<(&PartMeta, &FieldIndex)> {
        self.parts.iter().find_map(|part| match &part.kind {
            PartKind::FieldIndex { path: of, index } if of == path => Some((part, index)),
            _ => None,
        })
    }

    /// The same segment with `part` added, or put in the place of the one it replaces.
    pub fn with_part(&self, part: PartMeta) -> Self {
        let mut meta = self.without_part(&part.kind);
        meta.parts.push(part);
        meta
    }

    /// The same segment without the part that has the place of `kind`, if there was one.
    pub fn without_part(&self, kind: &PartKind) -> Self {
        let mut meta = self.clone();
        meta.parts.retain(|p| !p.kind.same_place(kind));
        meta
    }

    /// Rows that the deletes part names.
    pub fn deleted_rows(&self) -> u64 {
        self.part(&PartKind::Deletes).map_or(0, |p| p.entries)
    }

    /// The objects that hold its parts, sorted, each once: what the collector has to keep.
    pub fn objects(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.parts.iter().map(|p| p.object.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Bytes of all parts together, but for codes in the order of fields: merges are planned by this, and leave those out.
    pub fn bytes(&self) -> u64 {
        let merged = self.parts.iter().filter(|part| !matches!(part.kind, PartKind::OrderedCodes { .. }));
        merged.map(|part| part.length).sum()
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Result<Bytes> {
        let bytes = postcard::to_extend(self, vec![META_VERSION])
            .map_err(|e| Error::internal(format!("segment {} has no stored form: {e}", self.id)))?;
        Ok(bytes.into())
    }

    /// What [`SegmentMeta::to_bytes`] stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&META_VERSION, rest)) => postcard::from_bytes(rest).map_err(|e| {
                Error::damaged(format!("a segment's entry in the manifest cannot be read: {e}"))
            }),
            Some((version, _)) => Err(Error::damaged(format!(
                "a segment's entry in the manifest has version {version}, this build reads version {META_VERSION}"
            ))),
            None => Err(Error::damaged("a segment's entry in the manifest is empty")),
        }
    }

    /// The manifest's entry for this segment.
    pub fn to_entry(&self, revision: u32) -> Result<SegmentEntry> {
        Ok(SegmentEntry {
            id: self.id,
            revision,
            rows: self.rows,
            deleted: u32::try_from(self.deleted_rows()).unwrap_or(self.rows),
            bytes: self.bytes(),
            objects: self.objects().into_iter().map(str::to_owned).collect(),
            meta: self.to_bytes()?,
        })
    }

    /// What a manifest's entry says about its segment.
    pub fn from_entry(entry: &SegmentEntry) -> Result<Self> {
        let meta = Self::from_bytes(&entry.meta)?;
        if (meta.id, meta.rows) != (entry.id, entry.rows) {
            return Err(Error::damaged(format!(
                "the manifest's entry of segment {} is of another one",
                entry.id
            )));
        }
        Ok(meta)
    }
}

/// What a part holds.
///
/// A manifest may name parts of kinds that came later than this build; they are kept as they are
/// ([`PartKind::Unknown`]) and refused only when somebody asks to read them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "KindRecord", into = "KindRecord")]
pub enum PartKind {
    /// Point ids and LSNs.
    Ids,
    /// Payloads.
    Payload,
    /// The dense vectors of one name.
    Vector(String),
    /// The payload index of one path.
    FieldIndex {
        /// What is indexed.
        path: JsonPath,
        /// How.
        index: FieldIndex,
    },
    /// The bitmap of rows that are no more.
    Deletes,
    /// How the vectors of one name are seen: what their index refers to. Segments may share it.
    Model(String),
    /// The index of the vectors of one name.
    VectorIndex(String),
    /// The level codes of that index, where searches go by signs alone.
    LevelCodes(String),
    /// Level codes of an index once more, of all rows or some, in the order of a field: [`crate::RowOrder`].
    OrderedCodes {
        /// The name of the vectors.
        vector: String,
        /// The field.
        path: JsonPath,
    },
    /// A kind this build does not know.
    Unknown {
        /// Its number.
        code: u16,
        /// What it is about, if it is about something.
        name: String,
        /// Whatever else says what it is.
        extra: Vec<u8>,
    },
}

impl PartKind {
    /// Whether a segment can have only one of the two: the same vector, the same indexed path.
    pub fn same_place(&self, other: &PartKind) -> bool {
        match (self, other) {
            (PartKind::FieldIndex { path: a, .. }, PartKind::FieldIndex { path: b, .. }) => a == b,
            (PartKind::Unknown { code: a, name: x, .. }, PartKind::Unknown { code: b, name: y, .. }) => {
                (a, x) == (b, y)
            }
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartKind::Ids => f.write_str("ids"),
            PartKind::Payload => f.write_str("payload"),
            PartKind::Vector(name) => write!(f, "vector '{name}'"),
            PartKind::FieldIndex { path, .. } => write!(f, "index of {path}"),
            PartKind::Deletes => f.write_str("deletes"),
            PartKind::Model(name) => write!(f, "model of vector '{name}'"),
            PartKind::VectorIndex(name) => write!(f, "index of vector '{name}'"),
            PartKind::LevelCodes(name) => write!(f, "level codes of vector '{name}'"),
            PartKind::OrderedCodes { vector, path } => {
                write!(f, "level codes of vector '{vector}' in the order of {path}")
            }
            PartKind::Unknown { code, name, .. } => write!(f, "kind {code} '{name}'"),
        }
    }
}

/// The one stored form of all kinds, so that a reader can step over those it does not know.
#[derive(Serialize, Deserialize)]
struct KindRecord {
    code: u16,
    name: String,
    extra: Vec<u8>,
}

impl From<PartKind> for KindRecord {
    fn from(kind: PartKind) -> Self {
        let (code, name, extra) = match kind {
            PartKind::Ids => (1, String::new(), Vec::new()),
            PartKind::Payload => (2, String::new(), Vec::new()),
            PartKind::Vector(name) => (3, name, Vec::new()),
            // A struct of a fieldless enum and an optional text always has a stored form.
            PartKind::FieldIndex { path, index } => {
                (4, path.to_string(), postcard::to_stdvec(&index).unwrap_or_default())
            }
            PartKind::Deletes => (5, String::new(), Vec::new()),
            PartKind::Model(name) => (6, name, Vec::new()),
            PartKind::VectorIndex(name) => (7, name, Vec::new()),
            PartKind::LevelCodes(name) => (8, name, Vec::new()),
            PartKind::OrderedCodes { vector, path } => (9, vector, path.to_string().into_bytes()),
            PartKind::Unknown { code, name, extra } => (code, name, extra),
        };
        Self { code, name, extra }
    }
}

impl From<KindRecord> for PartKind {
    fn from(record: KindRecord) -> Self {
        let KindRecord { code, name, extra } = record;
        match (code, name.is_empty(), extra.is_empty()) {
            (1, true, true) => return PartKind::Ids,
            (2, true, true) => return PartKind::Payload,
            (3, _, true) => return PartKind::Vector(name),
            (4, _, _) => {
                if let (Ok(path), Ok(index)) = (name.parse(), postcard::from_bytes(&extra)) {
                    return PartKind::FieldIndex { path, index };
                }
            }
            (5, true, true) => return PartKind::Deletes,
            (6, _, true) => return PartKind::Model(name),
            (7, _, true) => return PartKind::VectorIndex(name),
            (8, _, true) => return PartKind::LevelCodes(name),
            (9, ..) => {
                if let Some(Ok(path)) = std::str::from_utf8(&extra).ok().map(str::parse) {
                    return PartKind::OrderedCodes { vector: name, path };
                }
            }
            _ => {}
        }
        PartKind::Unknown { code, name, extra }
    }
}

/// Where a part is and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartMeta {
    /// What it holds.
    pub kind: PartKind,
    /// The key of its object.
    pub object: String,
    /// Where it starts there.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Of its format. A version is raised when an older reader would misread the part; sections that an
    /// older reader can do without are just added.
    pub version: u16,
    /// How many things it holds: rows with a vector, deleted rows; otherwise all rows.
    pub entries: u64,
    /// What its reader has to know beforehand (`version` says in which form).
    pub detail: Vec<u8>,
    /// Its sections, from its start, each beginning where the one before it ends, rounded up.
    pub sections: Vec<SectionMeta>,
    /// Checksum of the section that holds the checksums of all others.
    pub checksum: u32,
}

/// One section of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionMeta {
    /// What it holds.
    pub kind: SectionKind,
    /// Where it starts in the part; a multiple of [`crate::SECTION_ALIGN`].
    pub offset: u64,
    /// Its length, without the zeros that fill it up.
    pub length: u64,
}

/// What a section holds. A number, so that a reader can step over the ones it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SectionKind(pub u16);

impl SectionKind {
    /// Checksums of the blocks of all sections.
    pub const CHECKSUMS: Self = Self(1);
    /// Ids that are numbers, packed.
    pub const NUMBERS: Self = Self(10);
    /// Ids that are UUIDs, 16 bytes each.
    pub const UUIDS: Self = Self(11);
    /// The LSN of each row, packed.
    pub const LSNS: Self = Self(12);
    /// Reserved: a bloom filter of the ids.
    pub const BLOOM: Self = Self(13);
    /// Compressed blocks of payloads.
    pub const PAYLOAD_BLOCKS: Self = Self(20);
    /// First row, end and size of each payload block.
    pub const PAYLOAD_TABLE: Self = Self(21);
    /// Vectors as configured, row after row.
    pub const RAW: Self = Self(30);
    /// Which rows have a vector; absent if all have.
    pub const PRESENCE: Self = Self(31);
    /// The row of each place of a vector index.
    pub const PERMUTATION: Self = Self(32);
    /// Where each list of a vector index begins.
    pub const CLUSTERS: Self = Self(33);
    /// The lists of a vector index: sign codes.
    pub const CODES: Self = Self(34);
    /// Reserved: neighbours.
    pub const GRAPH: Self = Self(35);
    /// The level codes of a vector index.
    pub const LEVELS: Self = Self(36);
    /// The centroids of a model.
    pub const CENTROIDS: Self = Self(37);
    /// The mean of a model.
    pub const MEAN: Self = Self(38);
    /// The checksum of each list's level codes, with their tags.
    pub const LIST_CHECKSUMS: Self = Self(39);
    /// The sign codes of a model's centroids, where level codes of them would be large.
    pub const CENTROID_SIGNS: Self = Self(41);
    /// The level codes of a model's centroids.
    pub const CENTROID_LEVELS: Self = Self(42);
    /// A payload index.
    pub const FIELD_INDEX: Self = Self(40);
    /// A bitmap of rows.
    pub const DELETES: Self = Self(50);
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::CHECKSUMS => "checksums",
            Self::NUMBERS => "numbers",
            Self::UUIDS => "uuids",
            Self::LSNS => "lsns",
            Self::BLOOM => "bloom",
            Self::PAYLOAD_BLOCKS => "payload blocks",
            Self::PAYLOAD_TABLE => "payload table",
            Self::RAW => "raw",
            Self::PRESENCE => "presence",
            Self::PERMUTATION => "permutation",
            Self::CLUSTERS => "clusters",
            Self::CODES => "codes",
            Self::GRAPH => "graph",
            Self::LEVELS => "levels",
            Self::CENTROIDS => "centroids",
            Self::MEAN => "mean",
            Self::CENTROID_SIGNS => "signs of centroids",
            Self::CENTROID_LEVELS => "levels of centroids",
            Self::FIELD_INDEX => "field index",
            Self::DELETES => "deletes",
            Self(other) => return write!(f, "kind {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use lodestone_types::{ErrorKind, FieldIndexKind};

    use super::*;

    fn part(kind: PartKind, object: &str) -> PartMeta {
        PartMeta {
            kind,
            object: object.into(),
            offset: 0,
            length: 1,
            version: 1,
            entries: 7,
            detail: vec![],
            sections: vec![SectionMeta { kind: SectionKind(999), offset: 0, length: 1 }],
            checksum: 5,
        }
    }

    fn index(path: &str, kind: FieldIndexKind) -> PartKind {
        PartKind::FieldIndex { path: path.parse().unwrap(), index: FieldIndex { kind, params: None } }
    }

    #[test]
    fn every_kind_comes_back_and_unknown_ones_stay() {
        let kinds = [
            PartKind::Ids,
            PartKind::Payload,
            PartKind::Vector(String::new()),
            PartKind::Vector("image".into()),
            index("a[].b", FieldIndexKind::Geo),
            PartKind::Deletes,
            PartKind::Model("image".into()),
            PartKind::VectorIndex(String::new()),
            PartKind::LevelCodes("image".into()),
            PartKind::OrderedCodes { vector: String::new(), path: "a[].b".parse().unwrap() },
            PartKind::Unknown { code: 77, name: "sparse".into(), extra: vec![1, 2, 3] },
            PartKind::Unknown { code: 4, name: "a".into(), extra: vec![250] },
            PartKind::Unknown { code: 9, name: "a".into(), extra: vec![250] },
        ];
        let parts = kinds.into_iter().map(|k| part(k, "o")).collect();
        let meta = SegmentMeta { id: SegmentId(3), rows: 9, min_lsn: 1, max_lsn: 4, parts };
        let entry = meta.to_entry(4).unwrap();
        assert_eq!(SegmentMeta::from_entry(&entry).unwrap(), meta);
        for end in 0..entry.meta.len() {
            let error = SegmentMeta::from_bytes(&entry.meta[..end]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Damaged, "{end}");
        }
        let mut newer = entry.meta.to_vec();
        newer[0] += 1;
        assert!(SegmentMeta::from_bytes(&newer).unwrap_err().message.contains("version 2"));
    }

    #[test]
    fn a_part_replaces_the_one_in_its_place() {
        let meta = SegmentMeta { id: SegmentId(3), rows: 9, min_lsn: 1, max_lsn: 4, parts: vec![] };
        let meta = meta
            .with_part(part(PartKind::Ids, "a"))
            .with_part(part(index("x", FieldIndexKind::Keyword), "a"))
            .with_part(part(index("y", FieldIndexKind::Keyword), "b"))
            .with_part(part(PartKind::Deletes, "c"))
            .with_part(part(PartKind::Deletes, "d"))
            .with_part(part(index("x", FieldIndexKind::Text), "e"));
        assert_eq!(meta.parts.len(), 4);
        assert_eq!(meta.objects(), ["a", "b", "d", "e"]);
        assert_eq!(meta.deleted_rows(), 7);
        let x = meta.part(&index("x", FieldIndexKind::Bool)).unwrap();
        assert_eq!(x.object, "e");
        assert_eq!(meta.without_part(&x.kind.clone()).parts.len(), 3);
    }
}
