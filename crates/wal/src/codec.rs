//! A slice of operations to and from bytes.
//!
//! Numbers are LEB128 varints. Ids in sets are delta-coded, so that a hundred thousand neighbours take a hundred
//! kilobytes. Decoding copies no vector and no payload: rows point into the object they came in.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use lodestone_types::{JsonPath, PointId};
use uuid::Uuid;

use crate::DecodeError;
use crate::ops::{Delta, IdSet, Op, Row, RowVectors, VectorRow};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const PATCH: u8 = 3;
const PUT_VECTORS: u8 = 4;

const SET_PAYLOAD: u8 = 1;
const OVERWRITE_PAYLOAD: u8 = 2;
const DELETE_PAYLOAD: u8 = 3;
const CLEAR_PAYLOAD: u8 = 4;
const REMOVE_VECTORS: u8 = 5;

const NUM: u8 = 0;
const UUID: u8 = 1;

/// Encodes operations.
pub fn encode_slice(ops: &[Op]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, ops.len() as u64);
    for op in ops {
        encode_op(&mut out, op);
    }
    out
}

/// Decodes operations; what they hold points into `bytes`.
pub fn decode_slice(bytes: Bytes) -> Result<Vec<Op>, DecodeError> {
    let mut input = Reader(bytes);
    let ops = input.list(Reader::op)?;
    if input.0.is_empty() { Ok(ops) } else { Err(DecodeError::Damaged("bytes after the last operation")) }
}

fn encode_op(out: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Put(rows) => {
            out.push(PUT);
            let names = Names::of(rows.iter().map(|r| &r.vectors));
            names.encode(out);
            put_varint(out, rows.len() as u64);
            for row in rows {
                put_id(out, row.id);
                names.encode_vectors(out, &row.vectors);
                put_bytes(out, &row.payload);
            }
        }
        Op::Delete(ids) => {
            out.push(DELETE);
            put_ids(out, ids);
        }
        Op::Patch { ids, delta } => {
            out.push(PATCH);
            put_ids(out, ids);
            encode_delta(out, delta);
        }
        Op::PutVectors(rows) => {
            out.push(PUT_VECTORS);
            let names = Names::of(rows.iter().map(|r| &r.vectors));
            names.encode(out);
            put_varint(out, rows.len() as u64);
            for row in rows {
                put_id(out, row.id);
                names.encode_vectors(out, &row.vectors);
            }
        }
    }
}

fn encode_delta(out: &mut Vec<u8>, delta: &Delta) {
    match delta {
        Delta::SetPayload { payload, key } => {
            out.push(SET_PAYLOAD);
            put_bytes(out, payload);
            put_bytes(out, key.as_ref().map(JsonPath::to_string).unwrap_or_default().as_bytes());
        }
        Delta::OverwritePayload(payload) => {
            out.push(OVERWRITE_PAYLOAD);
            put_bytes(out, payload);
        }
        Delta::DeletePayload(keys) => {
            out.push(DELETE_PAYLOAD);
            put_varint(out, keys.len() as u64);
            keys.iter().for_each(|key| put_bytes(out, key.to_string().as_bytes()));
        }
        Delta::ClearPayload => out.push(CLEAR_PAYLOAD),
        Delta::RemoveVectors(names) => {
            out.push(REMOVE_VECTORS);
            put_varint(out, names.len() as u64);
            names.iter().for_each(|name| put_bytes(out, name.as_bytes()));
        }
    }
}

/// The vector names of an operation, each written once.
struct Names<'a>(Vec<&'a Arc<str>>);

impl<'a> Names<'a> {
    fn of(rows: impl Iterator<Item = &'a RowVectors>) -> Self {
        let mut names: Vec<&Arc<str>> = Vec::new();
        for (name, _) in rows.flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self(names)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        self.0.iter().for_each(|name| put_bytes(out, name.as_bytes()));
    }

    fn encode_vectors(&self, out: &mut Vec<u8>, vectors: &RowVectors) {
        put_varint(out, vectors.len() as u64);
        for (name, bytes) in vectors {
            let index = self.0.iter().position(|n| *n == name).unwrap_or_default();
            put_varint(out, index as u64);
            put_bytes(out, bytes);
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_id(out: &mut Vec<u8>, id: PointId) {
    match id {
        PointId::Num(n) => {
            out.push(NUM);
            put_varint(out, n);
        }
        PointId::Uuid(u) => {
            out.push(UUID);
            out.extend_from_slice(u.as_bytes());
        }
    }
}

fn put_ids(out: &mut Vec<u8>, ids: &IdSet) {
    let ids = ids.as_slice();
    let numbers = ids.partition_point(|id| matches!(id, PointId::Num(_)));
    put_varint(out, numbers as u64);
    put_varint(out, (ids.len() - numbers) as u64);
    let mut last = 0;
    for id in ids {
        match id {
            PointId::Num(n) => {
                put_varint(out, n - last);
                last = *n;
            }
            PointId::Uuid(u) => out.extend_from_slice(u.as_bytes()),
        }
    }
}

struct Reader(Bytes);

const CUT: DecodeError = DecodeError::Damaged("cut short");

impl Reader {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| CUT)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(DecodeError::Damaged("a number of more than 64 bits"))
    }

    fn take(&mut self, len: u64) -> Result<Bytes, DecodeError> {
        if len > self.0.len() as u64 {
            return Err(CUT);
        }
        Ok(self.0.split_to(len as usize))
    }

    fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.varint()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<Bytes, DecodeError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map_err(|_| DecodeError::Damaged("text that is not UTF-8"))?;
        Ok(bytes)
    }

    fn name(&mut self) -> Result<Arc<str>, DecodeError> {
        let bytes = self.text()?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| DecodeError::Damaged("text that is not UTF-8"))
    }

    fn path(&mut self) -> Result<JsonPath, DecodeError> {
        self.name()?.parse().map_err(|_| DecodeError::Damaged("a path that is none"))
    }

    /// A counted list. Every element takes at least a byte, so a count beyond what is left is damage, and no
    /// memory is reserved for it.
    fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.varint()?;
        if count > self.0.len() as u64 {
            return Err(CUT);
        }
        (0..count).map(|_| element(self)).collect()
    }

    fn uuid(&mut self) -> Result<PointId, DecodeError> {
        let bytes = self.take(16)?;
        Uuid::from_slice(&bytes).map(PointId::Uuid).map_err(|_| CUT)
    }

    fn id(&mut self) -> Result<PointId, DecodeError> {
        match self.byte()? {
            NUM => self.varint().map(PointId::Num),
            UUID => self.uuid(),
            _ => Err(DecodeError::Damaged("an id of unknown kind")),
        }
    }

    fn ids(&mut self) -> Result<IdSet, DecodeError> {
        let numbers = self.varint()?;
        let uuids = self.varint()?;
        if numbers.saturating_add(uuids.saturating_mul(16)) > self.0.len() as u64 {
            return Err(CUT);
        }
        let mut ids = Vec::with_capacity((numbers + uuids) as usize);
        let mut last = 0u64;
        for _ in 0..numbers {
            last = last.checked_add(self.varint()?).ok_or(DecodeError::Damaged("an id beyond 64 bits"))?;
            ids.push(PointId::Num(last));
        }
        for _ in 0..uuids {
            ids.push(self.uuid()?);
        }
        Ok(ids.into_iter().collect())
    }

    fn vectors(&mut self, names: &[Arc<str>]) -> Result<RowVectors, DecodeError> {
        self.list(|r| {
            let index = r.varint()? as usize;
            let name = names.get(index).ok_or(DecodeError::Damaged("a vector of unknown name"))?;
            Ok((name.clone(), r.bytes()?))
        })
    }

    fn op(&mut self) -> Result<Op, DecodeError> {
        match self.byte()? {
            PUT => {
                let names = self.list(Reader::name)?;
                let rows =
                    self.list(|r| Ok(Row { id: r.id()?, vectors: r.vectors(&names)?, payload: r.text()? }))?;
                Ok(Op::Put(rows))
            }
            DELETE => self.ids().map(Op::Delete),
            PATCH => Ok(Op::Patch { ids: self.ids()?, delta: self.delta()? }),
            PUT_VECTORS => {
                let names = self.list(Reader::name)?;
                let rows = self.list(|r| Ok(VectorRow { id: r.id()?, vectors: r.vectors(&names)? }))?;
                Ok(Op::PutVectors(rows))
            }
            _ => Err(DecodeError::Damaged("an operation of unknown kind")),
        }
    }

    fn delta(&mut self) -> Result<Delta, DecodeError> {
        match self.byte()? {
            SET_PAYLOAD => {
                let payload = self.text()?;
                let key = self.name()?;
                let key = if key.is_empty() {
                    None
                } else {
                    Some(key.parse().map_err(|_| DecodeError::Damaged("a path that is none"))?)
                };
                Ok(Delta::SetPayload { payload, key })
            }
            OVERWRITE_PAYLOAD => self.text().map(Delta::OverwritePayload),
            DELETE_PAYLOAD => self.list(Reader::path).map(Delta::DeletePayload),
            CLEAR_PAYLOAD => Ok(Delta::ClearPayload),
            REMOVE_VECTORS => self.list(Reader::name).map(Delta::RemoveVectors),
            _ => Err(DecodeError::Damaged("a change of unknown kind")),
        }
    }
}
