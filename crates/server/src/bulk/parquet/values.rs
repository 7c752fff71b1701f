//! The values of columns: numbers of lists, ids, and rows as JSON.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::record::{Field, Row};
use half::f16;
use lodestone_types::{Error, PointId, Result};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::{unreadable, wrong};

/// Where lists begin, and what of them is there.
#[derive(Default)]
pub struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
    /// See [`super::Layout::whole`].
    whole: i16,
}

impl Levels {
    /// Of a column of lists, whose numbers have the definition level `whole` where they are there.
    pub fn of(whole: i16) -> Self {
        Self { whole, ..Self::default() }
    }

    /// Whether `count` rows from `row` on have `size` numbers each, of which `numbers` came.
    pub fn check(&self, row: u64, count: usize, size: usize, numbers: usize) -> Result<()> {
        if numbers == count * size
            && self.repetition.len() == numbers
            && self.repetition.iter().enumerate().all(|(at, level)| (*level == 0) == (at % size == 0))
        {
            return Ok(());
        }
        let starts = self.repetition.iter().enumerate().filter(|(_, level)| **level == 0).map(|(at, _)| at);
        let ends = starts.clone().skip(1).chain([self.repetition.len()]);
        for (row, (start, end)) in (row..).zip(starts.zip(ends)) {
            let there = self.definition[start..end].iter().filter(|level| **level == self.whole).count();
            match there {
                _ if there == size && there == end - start => {}
                0 => return Err(wrong(format!("row {row} has no vector; leave such rows out"))),
                _ if there < end - start => return Err(wrong(format!("row {row} has a vector with a null"))),
                _ => return Err(wrong(format!("row {row} has {there} numbers, row 0 has {size}"))),
            }
        }
        Err(wrong(format!("the rows from {row} on are fewer than the file says; write it again")))
    }
}

/// Up to `count` records of a column, nulls left out.
fn records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    levels: &mut Levels,
) -> Result<Vec<T::T>> {
    levels.definition.clear();
    levels.repetition.clear();
    let mut values = Vec::new();
    let (definition, repetition) = (&mut levels.definition, &mut levels.repetition);
    let mut left = count;
    while left > 0 {
        let read = reader.read_records(left, Some(definition), Some(repetition), &mut values);
        match read.map_err(|e| unreadable(&e))? {
            (0, ..) => break,
            (records, ..) => left -= records,
        }
    }
    Ok(values)
}

/// The numbers of the next `count` lists.
pub fn floats(reader: &mut ColumnReader, count: usize, levels: &mut Levels) -> Result<Vec<f32>> {
    Ok(match reader {
        ColumnReader::FloatColumnReader(reader) => records(reader, count, levels)?,
        ColumnReader::DoubleColumnReader(reader) => {
            records(reader, count, levels)?.into_iter().map(|x| x as f32).collect()
        }
        ColumnReader::Int32ColumnReader(reader) => {
            records(reader, count, levels)?.into_iter().map(|x| x as f32).collect()
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let half = |bytes: &ByteArray| {
                bytes.data().first_chunk().map_or(f32::NAN, |b| f16::from_le_bytes(*b).to_f32())
            };
            records(reader, count, levels)?.iter().map(|bytes| half(bytes)).collect()
        }
        _ => return Err(wrong("its vectors are of another type than its schema says")),
    })
}

/// The ids of the next `count` rows.
pub fn point_ids(
    reader: &mut ColumnReader,
    is_unsigned: bool,
    row: u64,
    count: usize,
) -> Result<Vec<PointId>> {
    let mut levels = Levels::default();
    let signed = |number: i64| {
        u64::try_from(number).map(PointId::Num).map_err(|_| format!("the id {number}, below 0"))
    };
    let ids: Vec<Result<PointId, String>> = match reader {
        ColumnReader::Int64ColumnReader(reader) => {
            let id = |number: i64| if is_unsigned { Ok(PointId::Num(number as u64)) } else { signed(number) };
            records(reader, count, &mut levels)?.into_iter().map(id).collect()
        }
        ColumnReader::Int32ColumnReader(reader) => {
            let id = |number: i32| match is_unsigned {
                true => Ok(PointId::Num(u64::from(number as u32))),
                false => signed(number.into()),
            };
            records(reader, count, &mut levels)?.into_iter().map(id).collect()
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            let id = |text: ByteArray| {
                text.as_utf8()
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| "an id that is neither a number nor a UUID".to_owned())
            };
            records(reader, count, &mut levels)?.into_iter().map(id).collect()
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let id = |bytes: &ByteArray| {
                Uuid::from_slice(bytes.data())
                    .map(PointId::Uuid)
                    .map_err(|_| "an id that is no UUID".to_owned())
            };
            records(reader, count, &mut levels)?.iter().map(|bytes| id(bytes)).collect()
        }
        _ => return Err(wrong("its ids are of another type than its schema says")),
    };
    if ids.len() != count {
        return Err(wrong(format!("a row from {row} on has no id")));
    }
    let named =
        |(row, id): (u64, Result<PointId, String>)| id.map_err(|what| wrong(format!("row {row} has {what}")));
    (row..).zip(ids).map(named).collect()
}

pub fn skip(reader: &mut ColumnReader, count: usize) -> Result<()> {
    let skipped = match reader {
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(count),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(count),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(count),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(count),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(count),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(count),
        _ => return Err(wrong("a column is of another type than its schema says")),
    };
    match skipped.map_err(|e| unreadable(&e))? == count {
        true => Ok(()),
        false => Err(wrong("it has fewer rows than it says; write it again")),
    }
}

/// Appends a row as a line of JSON; nulls at its top are left out.
pub fn append(row: Row, number: u64, lines: &mut Vec<u8>) -> Result<()> {
    let mut object = Map::new();
    for (name, field) in row.into_columns() {
        if field != Field::Null {
            let value = json(field)
                .ok_or_else(|| wrong(format!("row {number}, column `{name}`: a number that is none")))?;
            object.insert(name, value);
        }
    }
    serde_json::to_writer(&mut *lines, &object)
        .map_err(|e| Error::internal(format!("a payload does not serialise: {e}")))?;
    lines.push(b'\n');
    Ok(())
}

/// `None` for what JSON has no number for.
fn json(field: Field) -> Option<Value> {
    let number = |x: f64| Number::from_f64(x).map(Value::Number);
    let time = |micros: i64| Value::from(lodestone_types::format_datetime(micros));
    Some(match field {
        Field::Null => Value::Null,
        Field::Bool(x) => x.into(),
        Field::Byte(x) => x.into(),
        Field::Short(x) => x.into(),
        Field::Int(x) => x.into(),
        Field::Long(x) => x.into(),
        Field::UByte(x) => x.into(),
        Field::UShort(x) => x.into(),
        Field::UInt(x) => x.into(),
        Field::ULong(x) => x.into(),
        Field::Float16(x) => number(x.into())?,
        Field::Float(x) => number(x.into())?,
        Field::Double(x) => number(x)?,
        Field::Str(text) => text.into(),
        Field::Date(days) => time(i64::from(days).checked_mul(86_400_000_000)?),
        Field::TimestampMillis(millis) => time(millis.checked_mul(1000)?),
        Field::TimestampMicros(micros) => time(micros),
        Field::Group(row) => {
            let inner = row.into_columns().into_iter().map(|(name, field)| Some((name, json(field)?)));
            Value::Object(inner.collect::<Option<_>>()?)
        }
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().cloned().map(json).collect::<Option<_>>()?)
        }
        Field::Decimal(_)
        | Field::Bytes(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::MapInternal(_) => {
            return None;
        }
    })
}
