//! The index of a merged segment, from the indexes of those that it was merged from.
//!
//! Codes of the model that most rows have are copied, and the other rows are coded anew. No model is trained here, which is
//! most of the work of an index: where one should be, the index is planned again later, and the segment is searched by
//! this one until then. Even one of a model that suits few of the rows is far better than none.

use std::borrow::Cow;

use lodestone_index::dense::{self, BuildOptions, GONE, Model, VectorIndex};
use lodestone_segment::{PartKind, PartMeta, SegmentReader, VectorColumn};
use lodestone_shard::VectorShape;
use lodestone_types::{Error, Result};

use crate::column_rows::ColumnRows;
use crate::plan::Indexed;

/// Rows that are coded anew at most, where they are more than those that are copied: merges of a shard wait for each other.
const FRESH_ROWS: u64 = 200_000;

/// A segment, and for each of its rows the row that it has become.
type Source<'a> = (&'a SegmentReader, &'a Vec<u32>);

/// The vectors of one name in one segment.
struct Input<'a> {
    column: &'a VectorColumn,
    rows: &'a [u32],
    /// How many of them stay.
    live: u64,
    index: Option<(&'a PartMeta, &'a Model, Cow<'a, VectorIndex>)>,
}

/// Which codes are copied, and which rows are coded anew.
pub struct Plan<'a> {
    inputs: Vec<Input<'a>>,
    model_part: &'a PartMeta,
    model: &'a Model,
    spilled: bool,
}

/// Decides how the vectors called `name` are indexed, if there are `least` of them and a good part has codes.
/// Codes of another kind than the wanted one are as good as none.
pub fn plan<'a>(sources: &[Source<'a>], name: &str, wanted: Indexed) -> Result<Option<Plan<'a>>> {
    let Indexed { least, codes } = wanted;
    let mut inputs = Vec::new();
    for (reader, rows) in sources {
        let Some(column) = reader.vector(name)? else { continue };
        let index = match reader.whole_vector_index(name)? {
            Some((model, index)) if codes.are_those_of(&model.header(), &index.shape()) => {
                let part = reader.meta().part(&PartKind::Model(name.to_owned()));
                Some((part.ok_or_else(|| Error::internal("a model has no part"))?, model, index))
            }
            _ => None,
        };
        let live = slots(column).filter(|(_, row)| rows[*row as usize] != GONE).count() as u64;
        inputs.push(Input { column, rows, live, index });
    }
    let of_model = |part: &PartMeta| -> u64 {
        inputs.iter().filter(|input| input.is_of(part)).map(|input| input.live).sum()
    };
    let models = inputs.iter().filter_map(|input| input.index.as_ref());
    let Some(&(model_part, model, _)) = models.max_by_key(|(part, ..)| of_model(part)) else {
        return Ok(None);
    };
    let all = inputs.iter().map(|input| input.live).sum::<u64>();
    let fresh = all - of_model(model_part);
    Ok((all >= least && (2 * fresh <= all || fresh <= FRESH_ROWS)).then_some(Plan {
        inputs,
        model_part,
        model,
        spilled: !codes.small,
    }))
}

impl Plan<'_> {
    /// The part of the model, in an object that one of the merged segments names.
    pub fn model_part(&self) -> &PartMeta {
        self.model_part
    }

    /// The index. Takes all processors for a while.
    pub fn merge(&self, shape: &VectorShape) -> Result<VectorIndex> {
        let mut old = Vec::new();
        let mut columns = Vec::new();
        // Of each row that is coded anew: its column, slot, row.
        let mut new: Vec<(usize, u32, u32)> = Vec::new();
        for input in &self.inputs {
            match &input.index {
                Some((_, _, index)) if input.is_of(self.model_part) => {
                    old.push(dense::MergeInput { index, rows: input.rows });
                }
                _ => {
                    let slots = slots(input.column).map(|(slot, row)| (slot, input.rows[row as usize]));
                    let staying = slots.filter(|(_, row)| *row != GONE);
                    new.extend(staying.map(|(slot, row)| (columns.len(), slot, row)));
                    columns.push(input.column);
                }
            }
        }
        let place = |number: u32| {
            let (column, slot, _) = new[number as usize];
            (column, slot)
        };
        let vectors = ColumnRows::new(&columns, *shape, place);
        let name = |number: u32| new[number as usize].2;
        let options = BuildOptions { spill: self.spilled };
        let index = dense::merge(self.model, &old, new.len(), &vectors, &name, options);
        vectors.check().map(|()| index)
    }
}

impl Input<'_> {
    fn is_of(&self, model: &PartMeta) -> bool {
        self.index.as_ref().is_some_and(|(part, ..)| *part == model)
    }
}

/// The slots of a column and their rows.
fn slots(column: &VectorColumn) -> impl Iterator<Item = (u32, u32)> {
    let rows: Box<dyn Iterator<Item = u32>> = match column.present() {
        None => Box::new(0..column.len() as u32),
        Some(present) => Box::new(present.iter()),
    };
    (0..).zip(rows)
}
