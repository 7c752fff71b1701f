//! The slices of a shard that are not in segments yet. Most shards have few, and a store has very many shards: a few lie
//! in a plain vector of their own length. Many lie in one whose clones share what did not change, for the state is cloned
//! at every slot.

use std::iter::{Chain, Flatten};
use std::ops::Index;

use imbl::shared_ptr::DefaultSharedPtr;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TailRange;

/// Slices up to which they lie in a plain vector.
const FEW: usize = 16;

/// Slices in the order of the log.
#[derive(Debug, Clone)]
pub struct Tail(Form);

#[derive(Debug, Clone)]
enum Form {
    Few(Vec<TailRange>),
    Many(Box<imbl::Vector<TailRange>>),
}

/// Over the slices, in order.
pub type Iter<'a> = Chain<
    std::slice::Iter<'a, TailRange>,
    Flatten<std::option::IntoIter<imbl::vector::Iter<'a, TailRange, DefaultSharedPtr>>>,
>;

impl Default for Tail {
    fn default() -> Self {
        Self(Form::Few(Vec::new()))
    }
}

impl Tail {
    /// How many slices.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Few(slices) => slices.len(),
            Form::Many(slices) => slices.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The oldest slice.
    pub fn front(&self) -> Option<&TailRange> {
        self.iter().next()
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> Iter<'_> {
        let (few, many) = match &self.0 {
            Form::Few(slices) => (slices.as_slice(), None),
            Form::Many(slices) => (&[][..], Some(slices.iter())),
        };
        few.iter().chain(many.into_iter().flatten())
    }

    /// Adds the newest slice.
    pub fn push_back(&mut self, range: TailRange) {
        match &mut self.0 {
            Form::Few(slices) if slices.len() < FEW => {
                slices.reserve_exact(1);
                slices.push(range);
            }
            Form::Few(slices) => {
                let mut many: imbl::Vector<TailRange> = slices.drain(..).collect();
                many.push_back(range);
                self.0 = Form::Many(Box::new(many));
            }
            Form::Many(slices) => slices.push_back(range),
        }
    }

    /// Removes the oldest slice.
    pub fn pop_front(&mut self) -> Option<TailRange> {
        match &mut self.0 {
            Form::Few(slices) => (!slices.is_empty()).then(|| slices.remove(0)),
            Form::Many(slices) => {
                let oldest = slices.pop_front();
                if slices.len() <= FEW / 2 {
                    self.0 = Form::Few(slices.iter().cloned().collect());
                }
                oldest
            }
        }
    }
}

impl PartialEq for Tail {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl Index<usize> for Tail {
    type Output = TailRange;

    fn index(&self, at: usize) -> &TailRange {
        match &self.0 {
            Form::Few(slices) => &slices[at],
            Form::Many(slices) => &slices[at],
        }
    }
}

impl<'a> IntoIterator for &'a Tail {
    type Item = &'a TailRange;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<TailRange> for Tail {
    fn from_iter<T: IntoIterator<Item = TailRange>>(slices: T) -> Self {
        let mut tail = Self::default();
        slices.into_iter().for_each(|range| tail.push_back(range));
        tail
    }
}

impl Serialize for Tail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut slices = serializer.serialize_seq(Some(self.len()))?;
        for range in self {
            slices.serialize_element(range)?;
        }
        slices.end()
    }
}

impl<'de> Deserialize<'de> for Tail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slices: Vec<TailRange> = Vec::deserialize(deserializer)?;
        Ok(slices.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ShardId, SliceHeader, Slot};

    fn range(slot: u64) -> TailRange {
        let shard = ShardId(1);
        TailRange {
            slot: Slot(slot),
            slice: SliceHeader { shard, side: None, offset: 0, len: 1, crc: 0, rows: 1 },
        }
    }

    #[test]
    fn few_and_many_are_the_same_to_everybody() {
        let (mut tail, mut plain) = (Tail::default(), std::collections::VecDeque::new());
        for step in 0..400u64 {
            // Grows past the bound and shrinks below it, several times.
            if step % 100 < 60 {
                tail.push_back(range(step));
                plain.push_back(range(step));
            } else {
                assert_eq!(tail.pop_front(), plain.pop_front());
                assert_eq!(tail.pop_front(), plain.pop_front());
            }
            assert_eq!(
                (tail.len(), tail.is_empty(), tail.front()),
                (plain.len(), plain.is_empty(), plain.front())
            );
            assert!(tail.iter().eq(plain.iter()) && (0..plain.len()).all(|at| tail[at] == plain[at]));
            let again: Tail = postcard::from_bytes(&postcard::to_stdvec(&tail).unwrap()).unwrap();
            assert!(again == tail && plain.iter().cloned().collect::<Tail>() == tail);
        }
    }
}
