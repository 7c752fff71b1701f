use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_index::FieldIndexReader;
use lodestone_index::dense::{Model, VectorIndex};
use lodestone_types::{Error, ErrorKind, JsonPath, Payload, PointId, Result};
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use crate::bitmap;
use crate::check::check_file;
use crate::fields;
use crate::ids::IdColumn;
use crate::meta::{PartKind, PartMeta, SectionKind, SegmentMeta};
use crate::part::{PartBytes, PartOnDisk};
use crate::payload::PayloadColumn;
use crate::vector_index::{OpenIndex, open_index, open_model};
use crate::vectors::{DiskPart, VectorColumn};

/// Parts larger than this are checked away from the threads that wait for I/O.
const LARGE: u64 = 1 << 20;

/// Reads the bytes of a file from some place on.
pub type ReadAt<'a> = dyn Fn(&mut [u8], u64) -> io::Result<()> + 'a;

/// Looks whether what a file begins with, which has so many bytes, is what it should be. It is not where that ends with
/// [`io::ErrorKind::InvalidData`].
pub type CheckFile = Arc<dyn Fn(&ReadAt, u64) -> io::Result<()> + Send + Sync>;

/// Where the bytes of objects come from: a cache, a bucket.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The bytes of `object` in `range`. Fewer than asked for is taken as damage.
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes>;

    /// As [`Fetch::fetch`], of bytes that made no sense: where they came from a cache, they come from the bucket now.
    async fn fetch_again(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.fetch(object, range).await
    }

    /// As [`Fetch::fetch`], of bytes with this CRC-32C, or an error.
    async fn fetch_checked(&self, object: &str, range: Range<u64>, crc32c: u32) -> Result<Bytes> {
        let bytes = self.fetch(object, range.clone()).await?;
        if crc32c::crc32c(&bytes) == crc32c {
            return Ok(bytes);
        }
        Err(Error::damaged(format!(
            "damaged data in object '{object}': bytes {}..{} do not have their checksum",
            range.start, range.end
        )))
    }

    /// As [`Fetch::fetch`], of bytes that will hardly be asked for again, and are not kept.
    async fn fetch_once(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.fetch(object, range).await
    }

    /// Has a range kept as a file that has passed `check`, without all of it being in memory, and says whether it is: not where
    /// there are no files, or it is so small that it had better be fetched. Damaged if it does not pass.
    async fn bring(
        &self,
        _object: &str,
        _range: Range<u64>,
        _is_read_whole: bool,
        _check: CheckFile,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Forgets what is kept of a range and made no sense. May block.
    fn distrust(&self, _object: &str, _range: Range<u64>) {}

    /// Whether a range is near, so that fetching it asks nobody far away.
    fn has(&self, _object: &str, _range: Range<u64>) -> bool {
        false
    }

    /// A part of this kind where it is kept as a file; `None` where it is not (yet), or there is only memory. Opens a file, so
    /// it may block.
    fn disk(&self, _object: &str, _range: Range<u64>, _kind: &PartKind) -> Option<Box<dyn DiskPart>> {
        None
    }

    /// So many bytes of memory that `fill` writes, counted like what was fetched, for parts that are kept in another form.
    fn hold(&self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Bytes> {
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Ok(bytes.into())
    }
}

#[async_trait]
impl<F: Fetch + ?Sized> Fetch for Arc<F> {
    async fn fetch(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        (**self).fetch(object, range).await
    }

    async fn fetch_again(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        (**self).fetch_again(object, range).await
    }

    async fn fetch_checked(&self, object: &str, range: Range<u64>, crc32c: u32) -> Result<Bytes> {
        (**self).fetch_checked(object, range, crc32c).await
    }

    async fn fetch_once(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        (**self).fetch_once(object, range).await
    }

    async fn bring(
        &self,
        object: &str,
        range: Range<u64>,
        is_read_whole: bool,
        check: CheckFile,
    ) -> Result<bool> {
        (**self).bring(object, range, is_read_whole, check).await
    }

    fn distrust(&self, object: &str, range: Range<u64>) {
        (**self).distrust(object, range);
    }

    fn has(&self, object: &str, range: Range<u64>) -> bool {
        (**self).has(object, range)
    }

    fn disk(&self, object: &str, range: Range<u64>, kind: &PartKind) -> Option<Box<dyn DiskPart>> {
        (**self).disk(object, range, kind)
    }

    fn hold(&self, length: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Bytes> {
        (**self).hold(length, fill)
    }
}

/// Reads one segment. Cheap to clone; clones share what is loaded.
///
/// Nothing is fetched until a part is asked for with [`SegmentReader::load`]; then the whole part is, once,
/// and checked: in memory, or where it was [brought](Fetch::bring). From there on reading it needs no `await`:
/// vectors and payloads are read from files, where there are any, and all else from memory.
#[derive(Clone)]
pub struct SegmentReader {
    meta: Arc<SegmentMeta>,
    /// One per part of `meta`, in the same order.
    cells: Vec<Arc<OnceCell<LoadedPart>>>,
    fetch: Arc<dyn Fetch>,
    none_deleted: Arc<RoaringBitmap>,
    /// Vectors that are read where their files are; others, where there is room, in memory.
    on_disk: Arc<BTreeSet<String>>,
}

impl LoadedPart {
    /// The file that it is read from, if it is.
    fn disk(&self) -> Option<&dyn DiskPart> {
        match self {
            LoadedPart::Payload(column) => column.disk(),
            LoadedPart::Vector(column) => column.disk(),
            _ => None,
        }
    }

    fn is_lost(&self) -> bool {
        self.disk().is_some_and(DiskPart::is_lost)
    }
}

pub(crate) enum LoadedPart {
    Ids(IdColumn),
    Payload(PayloadColumn),
    Vector(VectorColumn),
    FieldIndex(Box<FieldIndexReader>),
    Deletes(RoaringBitmap),
    Model(Box<Model>),
    VectorIndex(Box<OpenIndex>),
    LevelCodes(Bytes),
}

impl SegmentReader {
    /// A reader with nothing loaded.
    pub fn open(meta: Arc<SegmentMeta>, fetch: Arc<dyn Fetch>) -> Self {
        let cells = meta.parts.iter().map(|_| Arc::default()).collect();
        Self { meta, cells, fetch, none_deleted: Arc::default(), on_disk: Arc::default() }
    }

    /// The same one, of which vectors of these names are read from disk.
    pub fn with_vectors_on_disk(self, names: Arc<BTreeSet<String>>) -> Self {
        Self { on_disk: names, ..self }
    }

    /// A reader of the same segment after some of its parts changed; shares those that did not.
    pub fn with_meta(&self, meta: Arc<SegmentMeta>) -> Self {
        let shared = |part: &PartMeta| {
            let at = self.meta.parts.iter().position(|known| known == part);
            let same_rows = meta.id == self.meta.id && meta.rows == self.meta.rows;
            at.filter(|_| same_rows).and_then(|at| self.cells.get(at)).cloned().unwrap_or_default()
        };
        let cells = meta.parts.iter().map(shared).collect();
        Self { cells, meta, ..self.clone() }
    }

    /// A reader of the same segment with nothing loaded.
    pub fn unloaded(&self) -> Self {
        Self::open(self.meta.clone(), self.fetch.clone()).with_vectors_on_disk(self.on_disk.clone())
    }

    /// What the manifest holds about the segment.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        &self.meta
    }

    /// Rows, deleted ones included.
    pub fn rows(&self) -> u32 {
        self.meta.rows
    }

    /// Loads the parts of these kinds, side by side, as far as the segment has them and they are not loaded yet.
    pub async fn load(&self, kinds: &[PartKind]) -> Result<()> {
        let wanted = |part: &PartMeta| kinds.iter().any(|kind| kind.same_place(&part.kind));
        self.load_where(wanted).await
    }

    /// Loads what the rows are made of: every part but those that are made from others.
    pub async fn load_rows(&self) -> Result<()> {
        let made = |kind: &PartKind| {
            matches!(
                kind,
                PartKind::FieldIndex { .. }
                    | PartKind::Model(_)
                    | PartKind::VectorIndex(_)
                    | PartKind::LevelCodes(_)
                    | PartKind::OrderedCodes { .. }
            )
        };
        self.load_where(|part| !made(&part.kind)).await
    }

    /// Loads every part.
    pub async fn load_all(&self) -> Result<()> {
        self.load_where(|_| true).await
    }

    /// Whether the part of this kind can be read now, or there is none.
    pub fn is_loaded(&self, kind: &PartKind) -> bool {
        self.cell(kind).is_none_or(|cell| cell.get().is_some_and(|part| !part.is_lost()))
    }

    /// Whether the part of this kind can be read without asking the bucket for it, or there is none.
    pub fn is_near(&self, kind: &PartKind) -> bool {
        self.is_loaded(kind)
            || self
                .meta
                .part(kind)
                .and_then(|part| Some((part, range_of(part).ok()?)))
                .is_some_and(|(part, range)| self.fetch.has(&part.object, range))
    }

    /// The kinds of all loaded parts.
    pub fn loaded_kinds(&self) -> impl Iterator<Item = &PartKind> {
        let loaded = self.meta.parts.iter().zip(&self.cells).filter(|(_, cell)| cell.initialized());
        loaded.map(|(part, _)| &part.kind)
    }

    /// Lets go of the memory that vectors take which can be read from disk, and says how many bytes that was.
    pub fn leave_memory(&self) -> u64 {
        self.bytes_of(|part| part.disk().is_some_and(DiskPart::leave_memory))
    }

    /// Whether a part that was loaded is not kept here any more, though who has it can read it.
    pub fn has_lost(&self) -> bool {
        self.cells.iter().filter_map(|cell| cell.get()).any(LoadedPart::is_lost)
    }

    /// Bytes of loaded parts that are in memory.
    pub fn loaded_bytes(&self) -> u64 {
        self.bytes_of(|part| part.disk().is_none_or(|disk| disk.peek().is_some()))
    }

    /// Those of them that have no file to be read from instead, so that they stay when vectors [leave](Self::leave_memory).
    pub fn staying_bytes(&self) -> u64 {
        self.bytes_of(|part| part.disk().is_none())
    }

    fn bytes_of(&self, is_meant: impl Fn(&LoadedPart) -> bool) -> u64 {
        let parts = self.meta.parts.iter().zip(&self.cells);
        let meant = parts.filter(|(_, cell)| cell.get().is_some_and(&is_meant));
        meant.map(|(part, _)| part.loaded_bytes()).sum()
    }

    /// Point ids and LSNs.
    pub fn ids(&self) -> Result<&IdColumn> {
        match self.loaded(&PartKind::Ids)? {
            Some(LoadedPart::Ids(column)) => Ok(column),
            _ => Err(self.lacks("ids")),
        }
    }

    /// The LSN of the last change of `row`.
    pub fn lsn(&self, row: u32) -> Result<u64> {
        self.ids()?.lsn(row).ok_or_else(|| self.no_row(row))
    }

    /// The id of `row`.
    pub fn id(&self, row: u32) -> Result<PointId> {
        self.ids()?.get(row).ok_or_else(|| self.no_row(row))
    }

    /// Payloads.
    pub fn payloads(&self) -> Result<&PayloadColumn> {
        match self.loaded(&PartKind::Payload)? {
            Some(LoadedPart::Payload(column)) => Ok(column),
            _ => Err(self.lacks("payload")),
        }
    }

    /// The payload of one row; see [`PayloadColumn::payload`].
    pub fn payload(&self, row: u32) -> Result<Payload> {
        self.payloads()?.payload(row)
    }

    /// The JSON text of the payload of one row; see [`PayloadColumn::bytes`].
    pub fn payload_bytes(&self, row: u32) -> Result<Bytes> {
        self.payloads()?.bytes(row)
    }

    /// The vectors called `name`; `None` if the segment has no such part, and so no row has one.
    pub fn vector(&self, name: &str) -> Result<Option<&VectorColumn>> {
        Ok(match self.loaded(&PartKind::Vector(name.to_owned()))? {
            Some(LoadedPart::Vector(column)) => Some(column),
            _ => None,
        })
    }

    /// The index of the vectors called `name`; `None` if this segment has none (yet).
    pub fn vector_index(&self, name: &str) -> Result<Option<(&Model, &VectorIndex)>> {
        let Some(LoadedPart::VectorIndex(open)) = self.loaded(&PartKind::VectorIndex(name.to_owned()))?
        else {
            return Ok(None);
        };
        let kind = PartKind::Model(name.to_owned());
        let (Some(part), Some(LoadedPart::Model(model))) = (self.meta.part(&kind), self.loaded(&kind)?)
        else {
            return Err(self.lacks("model"));
        };
        let has_codes = model.header().signs_alone || open.index.has_levels();
        if part.checksum != open.model || !open.index.fits(model) || !has_codes {
            return Err(Error::damaged(format!(
                "the index of vector '{name}' in segment {} is of another model",
                self.meta.id
            )));
        }
        Ok(Some((model, &open.index)))
    }

    /// As [`SegmentReader::vector_index`], with the level codes in memory, as merges need it.
    pub fn whole_vector_index(&self, name: &str) -> Result<Option<(&Model, Cow<'_, VectorIndex>)>> {
        let Some((model, index)) = self.vector_index(name)? else { return Ok(None) };
        if index.has_levels() {
            return Ok(Some((model, Cow::Borrowed(index))));
        }
        let part = self.meta.levels_part(name)?;
        let Some(LoadedPart::LevelCodes(levels)) = self.loaded(&part.kind)? else {
            return Err(self.lacks("level codes"));
        };
        let whole = index.with_levels(levels.clone()).map_err(|e| part.damaged(&e))?;
        Ok(Some((model, Cow::Owned(whole))))
    }

    /// The model of the vectors called `name`; `None` if this segment has none (yet).
    pub fn model(&self, name: &str) -> Result<Option<&Model>> {
        Ok(match self.loaded(&PartKind::Model(name.to_owned()))? {
            Some(LoadedPart::Model(model)) => Some(model),
            _ => None,
        })
    }

    /// The payload index of `path`; `None` if this segment has none (yet).
    pub fn field_index(&self, path: &JsonPath) -> Result<Option<&FieldIndexReader>> {
        let found = self.position(|kind| matches!(kind, PartKind::FieldIndex { path: p, .. } if p == path));
        Ok(match found.map(|at| self.loaded_at(at)).transpose()? {
            Some(LoadedPart::FieldIndex(index)) => Some(index),
            _ => None,
        })
    }

    /// The rows that are no more.
    pub fn deletes(&self) -> Result<&RoaringBitmap> {
        Ok(match self.loaded(&PartKind::Deletes)? {
            Some(LoadedPart::Deletes(rows)) => rows,
            _ => &self.none_deleted,
        })
    }

    /// Where the bytes come from.
    pub(crate) fn source(&self) -> &dyn Fetch {
        &*self.fetch
    }

    async fn load_where(&self, wanted: impl Fn(&PartMeta) -> bool) -> Result<()> {
        let mut loading = Vec::new();
        for (part, cell) in self.meta.parts.iter().zip(&self.cells) {
            if !wanted(part) || cell.get().is_some_and(|part| !part.is_lost()) {
                continue;
            }
            PartBytes::check_readable(part)?;
            loading.push(async move {
                match cell.get().and_then(LoadedPart::disk) {
                    Some(lost) => self.renew(part, lost).await?,
                    None => drop(cell.get_or_try_init(|| self.fetch_part(part)).await?),
                }
                Ok::<_, Error>(())
            });
        }
        futures::future::try_join_all(loading).await?;
        Ok(())
    }

    async fn fetch_part(&self, part: &PartMeta) -> Result<LoadedPart> {
        if let Some(opened) = self.bring_part(part).await? {
            return Ok(opened);
        }
        let (_, opened) = self.fetch_checked_part(part).await?;
        Ok(self.open_on_disk(part).await?.unwrap_or(opened))
    }

    async fn renew(&self, part: &PartMeta, lost: &dyn DiskPart) -> Result<()> {
        // Open until `lost` has opened it too, so that it is opened once.
        let brought = self.bring_part(part).await?;
        if brought.is_some() {
            lost.renew(None);
        }
        if lost.is_lost() {
            lost.renew(Some(self.fetch_checked_part(part).await?.0));
        }
        Ok(())
    }

    /// A part that is read where it lies, brought there and checked if it is not there yet; `None` where it is to be fetched.
    async fn bring_part(&self, part: &PartMeta) -> Result<Option<LoadedPart>> {
        if !has_file(part) {
            return Ok(None);
        }
        if let Some(opened) = self.open_on_disk(part).await? {
            return Ok(Some(opened));
        }
        match self.bring_checked_part(part).await {
            // The disk is at fault. What is fetched can do without it.
            Err(error) if error.kind == ErrorKind::LostCopy => Ok(None),
            opened => opened,
        }
    }

    async fn bring_checked_part(&self, part: &PartMeta) -> Result<Option<LoadedPart>> {
        let (range, wanted) = (range_of(part)?, part.clone());
        let check: CheckFile = Arc::new(move |read, length| check_file(&wanted, read, length));
        let is_read_whole = matches!(&part.kind, PartKind::Vector(name) if !self.on_disk.contains(name));
        let mut opened = Ok(None);
        // Once more where a file of before has been damaged since it was brought.
        for _ in 0..2 {
            if !self.fetch.bring(&part.object, range.clone(), is_read_whole, check.clone()).await? {
                return Ok(None);
            }
            opened = self.open_file(part).await;
            if !opened.as_ref().is_err_and(|error| error.kind == ErrorKind::Damaged) {
                break;
            }
            let (fetch, object, kept) = (self.fetch.clone(), part.object.clone(), range.clone());
            blocking(move || fetch.distrust(&object, kept)).await?;
        }
        opened
    }

    /// All of a part, checked, and opened in memory.
    pub(crate) async fn fetch_checked_part(&self, part: &PartMeta) -> Result<(Bytes, LoadedPart)> {
        let range = range_of(part)?;
        let bytes = self.fetch.fetch(&part.object, range.clone()).await?;
        match self.open_fetched(part, bytes.clone()).await {
            Err(error) if error.kind == ErrorKind::Damaged => {
                let bytes = self.fetch.fetch_again(&part.object, range.clone()).await?;
                let opened = self.open_fetched(part, bytes.clone()).await;
                // Who opens its file would not check all of it.
                let opened = opened.inspect_err(|_| self.fetch.distrust(&part.object, range))?;
                Ok((bytes, opened))
            }
            opened => Ok((bytes, opened?)),
        }
    }

    async fn open_fetched(&self, part: &PartMeta, bytes: Bytes) -> Result<LoadedPart> {
        let (part, rows, fetch) = (part.clone(), self.meta.rows, self.fetch.clone());
        if part.length <= LARGE {
            return open_part(&part, bytes, rows, &*fetch);
        }
        blocking(move || open_part(&part, bytes, rows, &*fetch)).await?
    }

    /// A part that is read where it lies, if it is one of those and its file is here and in order.
    async fn open_on_disk(&self, part: &PartMeta) -> Result<Option<LoadedPart>> {
        if !has_file(part) {
            return Ok(None);
        }
        // What is wrong with it is found out where all of it is read.
        Ok(self.open_file(part).await.ok().flatten())
    }

    /// A part that is read where it lies, if its file is here.
    async fn open_file(&self, part: &PartMeta) -> Result<Option<LoadedPart>> {
        let range = range_of(part)?;
        let (part, rows, fetch) = (part.clone(), self.meta.rows, self.fetch.clone());
        let open = move || {
            let disk = fetch.disk(&part.object, range, &part.kind);
            disk.map(|disk| open_on_disk(&part, disk, rows)).transpose()
        };
        blocking(open).await?
    }

    fn position(&self, wanted: impl Fn(&PartKind) -> bool) -> Option<usize> {
        self.meta.parts.iter().position(|part| wanted(&part.kind))
    }

    fn cell(&self, kind: &PartKind) -> Option<&OnceCell<LoadedPart>> {
        self.position(|k| k.same_place(kind)).map(|at| &*self.cells[at])
    }

    /// The part of this kind, `None` if there is none.
    fn loaded(&self, kind: &PartKind) -> Result<Option<&LoadedPart>> {
        self.position(|k| k.same_place(kind)).map(|at| self.loaded_at(at)).transpose()
    }

    fn loaded_at(&self, at: usize) -> Result<&LoadedPart> {
        self.cells[at].get().ok_or_else(|| {
            let kind = &self.meta.parts[at].kind;
            Error::internal(format!("part {kind} of segment {} was read before it was loaded", self.meta.id))
        })
    }

    fn lacks(&self, what: &str) -> Error {
        Error::damaged(format!("the manifest knows no {what} of segment {}", self.meta.id))
    }

    fn no_row(&self, row: u32) -> Error {
        Error::internal(format!("segment {} has no row {row}", self.meta.id))
    }
}

pub(crate) fn range_of(part: &PartMeta) -> Result<Range<u64>> {
    let end = part.offset.checked_add(part.length);
    let end =
        end.ok_or_else(|| Error::damaged(format!("part {} of '{}' has no end", part.kind, part.object)))?;
    Ok(part.offset..end)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal(format!("opening a part was broken off: {e}")))
}

/// Whether such parts can be read from files.
fn has_file(part: &PartMeta) -> bool {
    matches!(part.kind, PartKind::Vector(_) | PartKind::Payload)
}

fn open_on_disk(part: &PartMeta, disk: Box<dyn DiskPart>, rows: u32) -> Result<LoadedPart> {
    let on_disk = PartOnDisk::open(part, disk)?;
    Ok(match part.kind {
        PartKind::Payload => LoadedPart::Payload(PayloadColumn::open_on_disk(on_disk, rows)?),
        _ => LoadedPart::Vector(VectorColumn::open_on_disk(on_disk, rows)?),
    })
}

fn open_part(meta: &PartMeta, bytes: Bytes, rows: u32, fetch: &dyn Fetch) -> Result<LoadedPart> {
    let part = PartBytes::verify(meta, bytes)?;
    Ok(match &meta.kind {
        PartKind::Ids => LoadedPart::Ids(IdColumn::open(&part, rows)?),
        PartKind::Payload => LoadedPart::Payload(PayloadColumn::open(&part, rows)?),
        PartKind::Vector(_) => LoadedPart::Vector(VectorColumn::open(&part, rows)?),
        PartKind::FieldIndex { index, .. } => {
            LoadedPart::FieldIndex(Box::new(fields::open(&part, index, rows)?))
        }
        PartKind::Deletes => {
            let section = part.section(SectionKind::DELETES)?;
            LoadedPart::Deletes(bitmap::decode(&section, meta.entries, rows)?)
        }
        PartKind::Model(_) => LoadedPart::Model(Box::new(open_model(&part)?)),
        PartKind::VectorIndex(_) => LoadedPart::VectorIndex(Box::new(open_index(&part, rows, fetch)?)),
        PartKind::LevelCodes(_) | PartKind::OrderedCodes { .. } => {
            LoadedPart::LevelCodes(part.section(SectionKind::LEVELS)?.bytes)
        }
        PartKind::Unknown { .. } => return Err(part.damaged("this build does not know such parts")),
    })
}
