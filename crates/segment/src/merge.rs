//! Several segments become one: their rows in the order of ids, of each id the one with the greatest LSN.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lodestone_index::dense::GONE;
use lodestone_manifest::SegmentId;
use lodestone_types::{Error, PointId, Result, Stretch};
use roaring::RoaringBitmap;

use crate::fields::FieldWriters;
use crate::ids::{IdColumn, IdWriter};
use crate::meta::{PartMeta, SegmentMeta};
use crate::part::{ObjectWriter, Sink};
use crate::payload::{PackedBlock, PayloadColumn, PayloadWriter};
use crate::reader::SegmentReader;
use crate::schema::{SegmentSchema, VectorSpec};
use crate::vectors::{VectorColumn, VectorReader, VectorWriter};

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
    /// What the manifest has to hold of the new segment, which may have no rows.
    pub segment: SegmentMeta,
    /// For each input, the row that each of its rows has become, [`GONE`] where it stayed behind.
    pub rows: Vec<Vec<u32>>,
}

/// Merges `inputs` into a segment of `schema`, whose payload indexes are built anew. Where two inputs have the
/// same id with the same LSN, the later input wins. Vectors that the schema does not name are left out. The segment is written
/// part by part as it is read, and is nowhere in memory but for its ids and payload indexes.
pub fn merge<S: Sink>(
    inputs: &[MergeInput],
    schema: &SegmentSchema,
    object: &mut ObjectWriter<S>,
    id: SegmentId,
) -> Result<Merged> {
    let order = Order::of(inputs)?;
    let mut parts = Vec::new();
    for (name, spec) in &schema.vectors {
        parts.push(write_vectors(inputs, &order, name, *spec, object)?);
    }
    let (ids, (min_lsn, max_lsn)) = write_ids(inputs, &order, object)?;
    parts.push(ids);
    parts.extend(write_payloads(inputs, &order, schema, object)?);
    let segment = SegmentMeta { id, rows: order.rows.len() as u32, min_lsn, max_lsn, parts };
    Ok(Merged { segment, rows: order.becomes })
}

/// Where the rows of the new segment come from.
struct Order {
    /// For each new row its input, and its row there.
    rows: Vec<(u32, u32)>,
    /// For each input, what each of its rows becomes.
    becomes: Vec<Vec<u32>>,
}

impl Order {
    fn of(inputs: &[MergeInput]) -> Result<Self> {
        let mut cursors = inputs.iter().map(Cursor::new).collect::<Result<Vec<_>>>()?;
        let mut heads = BinaryHeap::with_capacity(cursors.len());
        for (at, cursor) in cursors.iter_mut().enumerate() {
            heads.extend(cursor.advance()?.map(|head| head.place(at)));
        }
        let mut rows = Vec::new();
        let mut becomes: Vec<Vec<u32>> =
            inputs.iter().map(|input| vec![GONE; input.reader.rows() as usize]).collect();
        let mut seen = Vec::with_capacity(cursors.len());
        let mut stretch = Stretch::begin();
        while let Some(Reverse((id, _, mut winner))) = heads.pop() {
            stretch.give_way();
            seen.push(winner);
            // Equal ids come in the order of LSN and input, so the last one is the newest.
            while let Some(&Reverse((other, _, at))) = heads.peek()
                && other == id
            {
                heads.pop();
                winner = at;
                seen.push(at);
            }
            let row = cursors[winner].row;
            becomes[winner][row as usize] = row_number(rows.len())?;
            rows.push((winner as u32, row));
            for at in seen.drain(..) {
                heads.extend(cursors[at].advance()?.map(|head| head.place(at)));
            }
        }
        Ok(Self { rows, becomes })
    }

    /// For each new row its number, its input and its row there.
    fn iter(&self) -> impl Iterator<Item = (u32, usize, u32)> {
        (0..).zip(&self.rows).map(|(new, (input, row))| (new, *input as usize, *row))
    }
}

fn row_number(rows: usize) -> Result<u32> {
    let number = u32::try_from(rows).ok().filter(|number| *number != GONE);
    number.ok_or_else(|| Error::internal("a segment has too many rows"))
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
    drop: &'a RoaringBitmap,
    deletes: &'a RoaringBitmap,
    next_row: u32,
    row: u32,
}

impl<'a> Cursor<'a> {
    fn new(input: &MergeInput<'a>) -> Result<Self> {
        let reader = input.reader;
        Ok(Self { ids: reader.ids()?, drop: input.drop, deletes: reader.deletes()?, next_row: 0, row: 0 })
    }

    /// Goes to the next row that stays.
    fn advance(&mut self) -> Result<Option<Head>> {
        while let Some(id) = self.ids.get(self.next_row) {
            self.row = self.next_row;
            self.next_row += 1;
            if !self.drop.contains(self.row) && !self.deletes.contains(self.row) {
                return Ok(Some(Head { id, lsn: lsn(self.ids, self.row)? }));
            }
        }
        Ok(None)
    }
}

fn lsn(ids: &IdColumn, row: u32) -> Result<u64> {
    ids.lsn(row).ok_or_else(|| Error::internal("a row has no LSN"))
}

fn write_vectors<S: Sink>(
    inputs: &[MergeInput],
    order: &Order,
    name: &str,
    spec: VectorSpec,
    object: &mut ObjectWriter<S>,
) -> Result<PartMeta> {
    let mut columns: Vec<Option<VectorReader>> = Vec::new();
    for MergeInput { reader, .. } in inputs {
        let column = reader.vector(name)?;
        if let Some(column) = column.filter(|column| column.spec() != spec) {
            return Err(mismatch(reader, name, column.spec(), spec));
        }
        columns.push(column.map(VectorColumn::reader));
    }
    let (mut writer, mut part) = (VectorWriter::new(spec), object.begin()?);
    let mut stretch = Stretch::begin();
    for (new, input, row) in order.iter() {
        stretch.give_way();
        if let Some(column) = &mut columns[input]
            && let Some(vector) = column.row(row)?
        {
            writer.push(new, &vector)?;
            writer.drain(&mut part)?;
        }
    }
    writer.finish(part, name, order.rows.len() as u32)
}

/// Also gives the least and the greatest LSN.
fn write_ids<S: Sink>(
    inputs: &[MergeInput],
    order: &Order,
    object: &mut ObjectWriter<S>,
) -> Result<(PartMeta, (u64, u64))> {
    let columns = inputs.iter().map(|input| input.reader.ids()).collect::<Result<Vec<_>>>()?;
    let mut writer = IdWriter::default();
    let mut lsns: Option<(u64, u64)> = None;
    for (_, input, row) in order.iter() {
        let id = columns[input].get(row).ok_or_else(|| Error::internal("a row has no id"))?;
        let lsn = lsn(columns[input], row)?;
        let (least, greatest) = lsns.unwrap_or((lsn, lsn));
        lsns = Some((lsn.min(least), lsn.max(greatest)));
        writer.push(id, lsn)?;
    }
    Ok((object.add(writer.finish(order.rows.len() as u32)?)?, lsns.unwrap_or_default()))
}

/// The part of the payloads, and those of their indexes.
fn write_payloads<S: Sink>(
    inputs: &[MergeInput],
    order: &Order,
    schema: &SegmentSchema,
    object: &mut ObjectWriter<S>,
) -> Result<Vec<PartMeta>> {
    let mut columns = inputs.iter().map(PayloadCursor::new).collect::<Result<Vec<_>>>()?;
    let mut fields = FieldWriters::new(&schema.fields)?;
    let (mut writer, mut part) = (PayloadWriter::new()?, object.begin()?);
    let mut stretch = Stretch::begin();
    // Rows before this one are in a block that was taken as it is.
    let mut packed = 0;
    for (new, input, row) in order.iter() {
        stretch.give_way();
        if let Some(block) = columns[input].whole_block(order, new)? {
            writer.push_block(block)?;
            packed = new + block.texts.rows().len() as u32;
        }
        let (id, text) = columns[input].row(row)?;
        if new >= packed {
            writer.push(text)?;
        }
        writer.drain(&mut part)?;
        fields.push(new, id, text)?;
    }
    let mut parts = vec![writer.finish(part)?];
    for draft in fields.finish(order.rows.len() as u32) {
        parts.push(object.add(draft)?);
    }
    Ok(parts)
}

/// The payloads of one input, whose rows are asked for in their order.
struct PayloadCursor<'a> {
    ids: &'a IdColumn,
    payloads: &'a PayloadColumn,
    block: Option<PackedBlock>,
}

impl<'a> PayloadCursor<'a> {
    fn new(input: &MergeInput<'a>) -> Result<Self> {
        Ok(Self { ids: input.reader.ids()?, payloads: input.reader.payloads()?, block: None })
    }

    /// The id and the payload of a row.
    fn row(&mut self, row: u32) -> Result<(PointId, &[u8])> {
        let id = self.ids.get(row).ok_or_else(|| Error::internal("a row has no id"))?;
        Ok((id, self.block(row)?.texts.get(row).unwrap_or_default()))
    }

    /// The block of the row that becomes row `new`, where it begins with that row and all its rows stay and follow one another: to pack it
    /// again would make about the same of it, and takes four times as long as to unpack it.
    fn whole_block(&mut self, order: &Order, new: u32) -> Result<Option<&PackedBlock>> {
        let (input, row) = order.rows[new as usize];
        let block = self.block(row)?;
        let rows = block.texts.rows();
        if rows.start != row || !block.is_ready() {
            return Ok(None);
        }
        let new_rows = order.rows[new as usize..].get(..rows.len());
        let follows =
            new_rows.is_some_and(|new_rows| new_rows.iter().copied().eq(rows.map(|row| (input, row))));
        Ok(follows.then_some(block))
    }

    fn block(&mut self, row: u32) -> Result<&PackedBlock> {
        if self.block.as_ref().is_none_or(|block| !block.texts.rows().contains(&row)) {
            let block = self.payloads.block_of(row).ok_or_else(|| Error::internal("a row has no payload"))?;
            self.block = Some(self.payloads.packed(block)?);
        }
        self.block.as_ref().ok_or_else(|| Error::internal("a row has no payload"))
    }
}

fn mismatch(reader: &SegmentReader, name: &str, has: VectorSpec, wanted: VectorSpec) -> Error {
    Error::internal(format!(
        "vector '{name}' of segment {} is {has:?}, which cannot be merged into {wanted:?}",
        reader.meta().id
    ))
}
