//! What jobs failed with lately: planning leaves it aside, so that what fails for ever, because a segment cannot be read say, keeps
//! nothing else of its shard waiting.

use std::borrow::Cow;

use lodestone_manifest::{SegmentId, Shard};

/// What is done with segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Merges.
    Merge,
    /// Payload indexes.
    Reindex,
    /// Codes in the order of fields.
    Order,
    /// Indexes of the vectors of this name.
    Index(String),
}

/// Segments with which something is not done now: few, and mostly none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aside(Vec<(Kind, SegmentId)>);

impl Aside {
    /// Whether that is left aside.
    pub fn has(&self, kind: &Kind, segment: SegmentId) -> bool {
        self.0.iter().any(|(known, of)| *of == segment && known == kind)
    }

    /// The shard without the segments with which that is left aside.
    pub(super) fn without<'a>(&self, kind: &Kind, shard: &'a Shard) -> Cow<'a, Shard> {
        if !shard.segments.iter().any(|entry| self.has(kind, entry.id)) {
            return Cow::Borrowed(shard);
        }
        let mut rest = shard.clone();
        rest.segments.retain(|entry| !self.has(kind, entry.id));
        Cow::Owned(rest)
    }
}

impl FromIterator<(Kind, SegmentId)> for Aside {
    fn from_iter<T: IntoIterator<Item = (Kind, SegmentId)>>(segments: T) -> Self {
        Self(segments.into_iter().collect())
    }
}
