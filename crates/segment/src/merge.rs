//! Several segments become one: their rows in the order of ids, of each id the one with the greatest LSN.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lodestone_index::dense::GONE;
use lodestone_types::{Error, PointId, Result, Stretch};
use roaring::RoaringBitmap;

use crate::ids::IdColumn;
use crate::payload::{PayloadBlock, PayloadColumn};
use crate::reader::SegmentReader;
use crate::schema::{SegmentSchema, VectorSpec};
use crate::vectors::VectorReader;
use crate::writer::{Row, SegmentWriter};

/// One segment to merge.
#[derive(Clone, Copy)]
pub struct MergeInput<'a> {
    /// Its ids, payload and deletes, and those vectors that the schema names, have been loaded.
    pub reader: &'a SegmentReader,
    /// Rows to leave out, besides those that its deletes part names.
    pub drop: &'a RoaringBitmap,
}

/// What a merge makes.
pub struct Merged {
    /// The new segment.
    pub writer: SegmentWriter,
    /// For each input, the row that each of its rows has become, [`GONE`] where it stayed behind.
    pub rows: Vec<Vec<u32>>,
}

/// Merges `inputs` into a segment of `schema`, whose payload indexes are built anew. Where two inputs have the
/// same id with the same LSN, the later input wins. Vectors that the schema does not name are left out.
pub fn merge(inputs: &[MergeInput], schema: &SegmentSchema) -> Result<Merged> {
    let mut cursors = inputs.iter().map(|input| Cursor::new(input, schema)).collect::<Result<Vec<_>>>()?;
    let mut writer = SegmentWriter::new(schema)?;
    let mut heads = BinaryHeap::with_capacity(cursors.len());
    for (at, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(cursor.advance()?.map(|head| head.place(at)));
    }
    let mut seen = Vec::with_capacity(cursors.len());
    let mut stretch = Stretch::begin();
    while let Some(Reverse((id, mut lsn, mut winner))) = heads.pop() {
        stretch.give_way();
        seen.push(winner);
        // Equal ids come in the order of LSN and input, so the last one is the newest.
        while let Some(&Reverse((other, newer, at))) = heads.peek()
            && other == id
        {
            heads.pop();
            (lsn, winner) = (newer, at);
            seen.push(at);
        }
        cursors[winner].write(&mut writer, id, lsn)?;
        for at in seen.drain(..) {
            heads.extend(cursors[at].advance()?.map(|head| head.place(at)));
        }
    }
    Ok(Merged { writer, rows: cursors.into_iter().map(|cursor| cursor.new_rows).collect() })
}

/// A row that waits for its turn.
struct Head {
    id: PointId,
    lsn: u64,
}

impl Head {
    fn place(self, cursor: usize) -> Reverse<(PointId, u64, usize)> {
        Reverse((self.id, self.lsn, cursor))
    }
}

/// Goes through the rows of one input that are to stay.
struct Cursor<'a> {
    ids: &'a IdColumn,
    payloads: &'a PayloadColumn,
    vectors: Vec<(&'a str, VectorReader<'a>)>,
    drop: &'a RoaringBitmap,
    deletes: &'a RoaringBitmap,
    next_row: u32,
    row: u32,
    new_rows: Vec<u32>,
    block: Option<PayloadBlock>,
}

impl<'a> Cursor<'a> {
    fn new(input: &MergeInput<'a>, schema: &'a SegmentSchema) -> Result<Self> {
        let reader = input.reader;
        let mut vectors = Vec::new();
        for (name, spec) in &schema.vectors {
            let Some(column) = reader.vector(name)? else { continue };
            if column.spec() != *spec {
                return Err(mismatch(reader, name, column.spec(), *spec));
            }
            vectors.push((name.as_str(), column.reader()));
        }
        Ok(Self {
            ids: reader.ids()?,
            payloads: reader.payloads()?,
            vectors,
            drop: input.drop,
            deletes: reader.deletes()?,
            next_row: 0,
            row: 0,
            new_rows: vec![GONE; reader.rows() as usize],
            block: None,
        })
    }

    /// Goes to the next row that stays.
    fn advance(&mut self) -> Result<Option<Head>> {
        while let Some(id) = self.ids.get(self.next_row) {
            self.row = self.next_row;
            self.next_row += 1;
            if !self.drop.contains(self.row) && !self.deletes.contains(self.row) {
                let lsn = self.ids.lsn(self.row).ok_or_else(|| Error::internal("a row has no LSN"))?;
                return Ok(Some(Head { id, lsn }));
            }
        }
        Ok(None)
    }

    fn write(&mut self, writer: &mut SegmentWriter, id: PointId, lsn: u64) -> Result<()> {
        let row = self.row;
        if self.block.as_ref().is_none_or(|block| !block.rows().contains(&row)) {
            let block = self.payloads.block_of(row).ok_or_else(|| Error::internal("a row has no payload"))?;
            self.block = Some(self.payloads.block(block)?);
        }
        let payload_json = self.block.as_ref().and_then(|block| block.get(row)).unwrap_or_default();
        let mut present = Vec::with_capacity(self.vectors.len());
        for (name, vectors) in &mut self.vectors {
            present.extend(vectors.row(row)?.map(|vector| (*name, vector)));
        }
        let vectors: Vec<(&str, &[u8])> = present.iter().map(|(name, vector)| (*name, &**vector)).collect();
        self.new_rows[row as usize] = writer.rows();
        writer.push(Row { id, lsn, vectors: &vectors, payload_json })
    }
}

fn mismatch(reader: &SegmentReader, name: &str, has: VectorSpec, wanted: VectorSpec) -> Error {
    Error::internal(format!(
        "vector '{name}' of segment {} is {has:?}, which cannot be merged into {wanted:?}",
        reader.meta().id
    ))
}
