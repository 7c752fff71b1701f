//! Parquet files: a column of lists of numbers is the vector, one the ids, all others the payload.
//!
//! Vectors and ids are read column by column, payloads row by row. What a file may hold is decided by its schema before a row is read;
//! all else is an error that names the column.

mod schema;
#[cfg(test)]
mod tests;
mod values;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::ConvertedType;
use ::parquet::column::reader::ColumnReader;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::{ReaderIter, TreeBuilder};
use ::parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use lodestone_types::{Error, PointId, Result};
use serde::{Deserialize, Serialize};

use self::schema::{check_payload, id_column, vector_column};
use self::values::{Levels, append, floats, point_ids, skip};
use super::npy::{Component, Header};

/// Rows that are decoded at once: what tells where lists end takes as much memory as their numbers.
const ROWS_AT_ONCE: usize = 128;

/// Which columns are what, as far as the user says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Columns {
    /// The vectors.
    pub vector: Option<String>,
    /// The ids.
    pub id: Option<String>,
}

/// What a file holds.
#[derive(Debug)]
pub struct Layout {
    /// The vectors as they come out of here: in single precision, row after row.
    pub header: Header,
    /// The number of the vectors' column among all that are not nested.
    vector: usize,
    /// The definition level of a number that is there.
    whole: i16,
    id: Option<usize>,
    /// Whether ids that are numbers have no sign.
    is_unsigned: bool,
    /// The columns that are payload, if there are any.
    payload: Option<SchemaDescPtr>,
}

/// Some rows.
pub struct Rows {
    /// See [`Layout::header`].
    pub vectors: Vec<u8>,
    /// If there is a column of ids.
    pub ids: Option<Vec<PointId>>,
    /// A JSON object in each line, if there are columns for it.
    pub payloads: Option<Vec<u8>>,
}

/// Reads rows in order.
pub struct Reader {
    layout: Arc<Layout>,
    file: SerializedFileReader<File>,
    /// The row group to be opened next, and the row that comes next.
    next_group: usize,
    row: u64,
    open: Option<Group>,
}

/// A row group that is being read.
struct Group {
    left: usize,
    vector: ColumnReader,
    id: Option<ColumnReader>,
    payload: Option<ReaderIter>,
}

impl Layout {
    /// Looks at a file.
    pub fn look(path: &Path, columns: &Columns) -> Result<Arc<Self>> {
        let file = open(path)?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let rows = u64::try_from(file.metadata().file_metadata().num_rows()).unwrap_or_default();
        let vector = vector_column(&schema, columns.vector.as_deref())?;
        let id = id_column(&schema, columns.id.as_deref())?;
        let of = |leaf: usize| schema.get_column_root(leaf).name();
        let is_payload = |name: &str| name != of(vector) && id.is_none_or(|id| name != of(id));
        let fields = schema.root_schema().get_fields().iter();
        let fields: Vec<_> = fields.filter(|field| is_payload(field.name())).cloned().collect();
        fields.iter().try_for_each(|field| check_payload(field, field.name()))?;
        let payload = match fields.is_empty() {
            true => None,
            false => {
                let projected = Type::group_type_builder(schema.root_schema().name()).with_fields(fields);
                Some(Arc::new(SchemaDescriptor::new(Arc::new(
                    projected.build().map_err(|e| unreadable(&e))?,
                ))))
            }
        };
        let mut header = Header { component: Component::F32, rows, size: 0, start: 0 };
        if rows == 0 {
            return Err(wrong("it has no rows"));
        }
        let whole = schema.column(vector).max_def_level();
        let first = Arc::new(Self { header, vector, whole, id: None, is_unsigned: false, payload: None });
        header.size = Reader::of(first, file).first_length()?;
        let unsigned = |leaf| {
            matches!(schema.column(leaf).converted_type(), ConvertedType::UINT_32 | ConvertedType::UINT_64)
        };
        let is_unsigned = id.is_some_and(unsigned);
        Ok(Arc::new(Self { header, vector, whole, id, is_unsigned, payload }))
    }
}

impl Reader {
    /// Reads on from a row.
    pub fn open(path: &Path, layout: &Arc<Layout>, from: u64) -> Result<Self> {
        let mut reader = Self::of(layout.clone(), open(path)?);
        guarded(|| reader.skip(from))?;
        Ok(reader)
    }

    fn of(layout: Arc<Layout>, file: SerializedFileReader<File>) -> Self {
        Self { layout, file, next_group: 0, row: 0, open: None }
    }

    /// The next rows, at most so many, and fewer once their payloads have `bytes`.
    pub fn read(&mut self, rows: usize, bytes: usize) -> Result<Rows> {
        guarded(|| self.read_rows(rows, bytes))
    }

    fn first_length(&mut self) -> Result<u64> {
        guarded(|| {
            let Some(group) = self.group()? else { return Err(wrong("it has no rows")) };
            let floats = floats(&mut group.vector, 1, &mut Levels::default())?;
            match floats.len() as u64 {
                0 => Err(wrong("row 0 has no vector")),
                length => Ok(length),
            }
        })
    }

    fn skip(&mut self, mut rows: u64) -> Result<()> {
        while rows > 0 {
            let Some(group) = self.group()? else { break };
            let count = group.left.min(usize::try_from(rows).unwrap_or(usize::MAX));
            skip(&mut group.vector, count)?;
            group.id.as_mut().map_or(Ok(()), |id| skip(id, count))?;
            group.payload.as_mut().and_then(|payload| payload.nth(count - 1));
            group.left -= count;
            (self.row, rows) = (self.row + count as u64, rows - count as u64);
        }
        Ok(())
    }

    fn read_rows(&mut self, rows: usize, bytes: usize) -> Result<Rows> {
        let layout = self.layout.clone();
        let mut found = Rows {
            vectors: Vec::with_capacity(rows * layout.header.row_bytes() as usize),
            ids: layout.id.map(|_| Vec::new()),
            payloads: layout.payload.as_ref().map(|_| Vec::new()),
        };
        let (mut levels, mut left) = (Levels::of(layout.whole), rows);
        while left > 0 && found.payloads.as_ref().is_none_or(|lines| lines.len() < bytes) {
            let row = self.row;
            let Some(group) = self.group()? else { break };
            let count = left.min(group.left).min(ROWS_AT_ONCE);
            let floats = floats(&mut group.vector, count, &mut levels)?;
            levels.check(row, count, layout.header.size as usize, floats.len())?;
            found.vectors.extend(floats.into_iter().flat_map(f32::to_le_bytes));
            if let (Some(column), Some(ids)) = (&mut group.id, &mut found.ids) {
                ids.extend(point_ids(column, layout.is_unsigned, row, count)?);
            }
            if let (Some(rows), Some(lines)) = (&mut group.payload, &mut found.payloads) {
                for at in row..row + count as u64 {
                    let fields = rows
                        .next()
                        .ok_or_else(|| wrong(format!("row {at} has no columns for its payload")))?;
                    append(fields.map_err(|e| unreadable(&e))?, at, lines)?;
                }
            }
            group.left -= count;
            (self.row, left) = (row + count as u64, left - count);
        }
        Ok(found)
    }

    /// The row group that has the next row.
    fn group(&mut self) -> Result<Option<&mut Group>> {
        while self.open.as_ref().is_none_or(|group| group.left == 0) {
            if self.next_group == self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.next_group).map_err(|e| unreadable(&e))?;
            let column = |leaf: usize| group.get_column_reader(leaf).map_err(|e| unreadable(&e));
            let payload = self.layout.payload.clone();
            let rows = payload.map(|schema| TreeBuilder::new().as_iter(schema, &*group)).transpose();
            self.open = Some(Group {
                left: usize::try_from(group.metadata().num_rows()).unwrap_or_default(),
                vector: column(self.layout.vector)?,
                id: self.layout.id.map(column).transpose()?,
                payload: rows.map_err(|e| unreadable(&e))?,
            });
            self.next_group += 1;
        }
        Ok(self.open.as_mut())
    }
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
    guarded(|| SerializedFileReader::new(file).map_err(|e| unreadable(&e)))
}

/// The library gives up on some damage by a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(wrong("it is damaged; write it again")))
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::bad_request(why)
}

fn unreadable(error: &ParquetError) -> Error {
    wrong(format!("it cannot be read as Parquet: {error}"))
}
