//! Parts in memory, and how much there is of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use memmap2::MmapMut;

use crate::pieces;

/// Smaller parts are kept as they come; larger ones begin at a page, which loops over codes and vectors like, and are given back
/// to the machine at once when nobody needs them any more.
pub(super) const LARGE: usize = 64 << 10;

/// Bytes of parts that are in memory, however many share them.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A part in memory, counted as long as anybody has it.
#[derive(Debug)]
pub(super) struct Held {
    content: Content,
    meter: Arc<Meter>,
}

#[derive(Debug)]
enum Content {
    Small(Bytes),
    Large(MmapMut),
}

/// What [`Bytes`] own of it.
struct Shared(Arc<Held>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Held {
    /// A part that came as `bytes`.
    pub(super) fn new(bytes: Bytes, meter: &Arc<Meter>) -> io::Result<Arc<Self>> {
        if bytes.len() < LARGE {
            return Ok(Self::of(Content::Small(bytes), meter));
        }
        Self::filled(bytes.len(), meter, |place| {
            pieces::copy(&bytes, place);
            Ok(())
        })
    }

    /// A part of `length` bytes that `fill` writes.
    pub(super) fn filled(
        length: usize,
        meter: &Arc<Meter>,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Arc<Self>> {
        if length < LARGE {
            let mut bytes = vec![0; length];
            fill(&mut bytes)?;
            return Ok(Self::of(Content::Small(bytes.into()), meter));
        }
        let mut gathering = Gathering::new(length)?;
        fill(&mut gathering.map)?;
        Ok(gathering.finish(meter))
    }

    fn of(content: Content, meter: &Arc<Meter>) -> Arc<Self> {
        let held = Self { content, meter: meter.clone() };
        meter.0.fetch_add(held.bytes().len() as u64, Relaxed);
        Arc::new(held)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Small(bytes) => bytes,
            Content::Large(map) => map,
        }
    }

    /// The bytes, to be passed on.
    pub(super) fn share(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Shared(self.clone()))
    }
}

/// A large part on its way into memory.
pub(super) struct Gathering {
    map: MmapMut,
}

impl Gathering {
    pub(super) fn new(length: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(length)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            tracing::trace!(%error, "no huge pages");
        }
        Ok(Self { map })
    }

    /// # Panics
    /// If `bytes` go past the end.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        pieces::copy(bytes, &mut self.map[at..at + bytes.len()]);
    }

    pub(super) fn finish(self, meter: &Arc<Meter>) -> Arc<Held> {
        Held::of(Content::Large(self.map), meter)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes().len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_counted_once_until_the_last_lets_go() {
        let meter = Arc::new(Meter::default());
        for length in [10, LARGE, 3 * LARGE + 1] {
            let held = Held::new(vec![7; length].into(), &meter).unwrap();
            assert_eq!(meter.bytes(), length as u64);
            let (one, other) = (held.share(), held.share());
            drop(held);
            let part = one.slice(5..);
            drop((one, other));
            assert_eq!((&part[..], meter.bytes()), (&vec![7; length - 5][..], length as u64));
            drop(part);
            assert_eq!(meter.bytes(), 0);
        }
    }
}
