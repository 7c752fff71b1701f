//! What a state's objects hold.
//!
//! A point is read as a list: every operation that reaches it appends its token and its slot, so that a write that
//! is lost, doubled, torn or out of order shows. A fold's part holds the lists of a shard whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use futures::FutureExt;
use lodestone_manifest::{Collection, Shard, ShardId, SliceHeader, Slot, State};
use lodestone_store::Store;
use lodestone_types::{Payload, PointId};
use lodestone_wal::{Delta, Op, decode_slice, keys, object};
use parking_lot::Mutex;

/// One logical write.
pub type Token = u32;
/// What happened to a point, in order.
pub type List = Vec<(Token, Slot)>;
/// The points of a shard or collection.
pub type Rows = BTreeMap<u64, List>;

enum Effect {
    Append(u64, Token),
    AppendIfThere(Vec<u64>, Token),
}

type Slices = HashMap<(String, u64), (Bytes, Arc<Vec<Effect>>)>;
type Shards = HashMap<usize, (Arc<Shard>, Arc<Rows>)>;

/// Decodes objects straight from the bucket, and remembers what it has decoded.
#[derive(Default)]
pub struct Contents {
    bucket: Option<Arc<dyn Store>>,
    slices: Mutex<Slices>,
    parts: Mutex<HashMap<String, Arc<Rows>>>,
    // By the address of the shard, which the entry keeps alive.
    shards: Mutex<Shards>,
}

impl Contents {
    pub fn new(bucket: Arc<dyn Store>) -> Self {
        Self { bucket: Some(bucket), ..Self::default() }
    }

    fn get(&self, key: &str) -> Result<Bytes, String> {
        let store = self.bucket.as_ref().ok_or("no bucket")?;
        // Memory answers at once.
        let answer = store.get(key).now_or_never().ok_or("the bucket waits")?;
        answer.map_err(|e| format!("`{key}` is named and missing: {e}"))
    }

    /// The points of a collection.
    pub fn collection(&self, state: &State, collection: &Collection) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for id in collection.shards() {
            let shard = self.shard(state, id)?;
            rows.extend(shard.iter().map(|(id, list)| (*id, list.clone())));
        }
        Ok(rows)
    }

    /// The points of a shard; an error names an object that is missing or damaged.
    pub fn shard(&self, state: &State, id: ShardId) -> Result<Arc<Rows>, String> {
        let shard = state.shards.get(&id).ok_or_else(|| format!("shard {id} is missing"))?;
        let address = Arc::as_ptr(shard) as usize;
        if let Some((_, rows)) = self.shards.lock().get(&address) {
            self.still_there(shard)?;
            return Ok(rows.clone());
        }
        let mut rows = Rows::new();
        for segment in &shard.segments {
            for key in &segment.objects {
                rows.extend(self.part(key)?.iter().map(|(id, list)| (*id, list.clone())));
            }
        }
        for range in &shard.tail {
            for effect in self.slice(range.slot, &range.slice)?.iter() {
                match effect {
                    Effect::Append(id, token) => rows.entry(*id).or_default().push((*token, range.slot)),
                    Effect::AppendIfThere(ids, token) => {
                        for id in ids {
                            if let Some(list) = rows.get_mut(id) {
                                list.push((*token, range.slot));
                            }
                        }
                    }
                }
            }
        }
        let rows = Arc::new(rows);
        self.shards.lock().insert(address, (shard.clone(), rows.clone()));
        Ok(rows)
    }

    fn still_there(&self, shard: &Shard) -> Result<(), String> {
        for segment in &shard.segments {
            segment.objects.iter().try_for_each(|key| self.get(key).map(drop))?;
        }
        for range in &shard.tail {
            let key = range.slice.side.clone().unwrap_or_else(|| keys::wal(range.slot));
            self.get(&key)?;
        }
        Ok(())
    }

    fn slice(&self, slot: Slot, header: &SliceHeader) -> Result<Arc<Vec<Effect>>, String> {
        let key = header.side.clone().unwrap_or_else(|| keys::wal(slot));
        let bytes = self.get(&key)?;
        let place = (key, header.offset);
        if let Some((known, effects)) = self.slices.lock().get(&place)
            && known.as_ptr() == bytes.as_ptr()
        {
            return Ok(effects.clone());
        }
        let damaged = |e| format!("`{}`: {e}", place.0);
        let slice = match &header.side {
            Some(_) => object::check_slice(bytes.clone(), header),
            None => object::slice(&bytes, header),
        };
        let ops = decode_slice(slice.map_err(damaged)?).map_err(damaged)?;
        let effects = Arc::new(effects_of(ops)?);
        self.slices.lock().insert(place, (bytes, effects.clone()));
        Ok(effects)
    }

    fn part(&self, key: &str) -> Result<Arc<Rows>, String> {
        let bytes = self.get(key)?;
        if let Some(rows) = self.parts.lock().get(key) {
            return Ok(rows.clone());
        }
        let rows = Arc::new(decode_part(bytes));
        self.parts.lock().insert(key.to_owned(), rows.clone());
        Ok(rows)
    }
}

fn effects_of(ops: Vec<Op>) -> Result<Vec<Effect>, String> {
    let number = |id: PointId| match id {
        PointId::Num(n) => Ok(n),
        PointId::Uuid(_) => Err("an id that nobody wrote".to_owned()),
    };
    let mut effects = Vec::new();
    for op in ops {
        match op {
            Op::Put(rows) => {
                for row in rows {
                    effects.push(Effect::Append(number(row.id)?, token_of(&row.payload)?));
                }
            }
            Op::Patch { ids, delta: Delta::SetPayload { payload, .. } } => {
                let ids = ids.as_slice().iter().map(|id| number(*id)).collect::<Result<_, _>>()?;
                effects.push(Effect::AppendIfThere(ids, token_of(&payload)?));
            }
            other => return Err(format!("an operation that nobody wrote: {other:?}")),
        }
    }
    Ok(effects)
}

/// The payload that carries a token; `padding` makes it large.
pub fn payload(token: Token, padding: usize) -> Payload {
    let mut map = serde_json::Map::new();
    map.insert("t".to_owned(), token.into());
    if padding > 0 {
        map.insert("x".to_owned(), "x".repeat(padding).into());
    }
    Payload(map)
}

fn token_of(payload: &Bytes) -> Result<Token, String> {
    let value: serde_json::Value = serde_json::from_slice(payload).map_err(|e| e.to_string())?;
    let token = value.get("t").and_then(serde_json::Value::as_u64);
    token.map(|t| t as Token).ok_or_else(|| "a payload without a token".to_owned())
}

/// A fold's part.
pub fn encode_part(rows: &Rows) -> Bytes {
    let mut out = Vec::new();
    for (id, list) in rows {
        out.put_u64(*id);
        out.put_u32(list.len() as u32);
        for (token, slot) in list {
            out.put_u32(*token);
            out.put_u64(slot.0);
        }
    }
    out.into()
}

fn decode_part(mut bytes: Bytes) -> Rows {
    let mut rows = Rows::new();
    while bytes.has_remaining() {
        let id = bytes.get_u64();
        let list = (0..bytes.get_u32()).map(|_| (bytes.get_u32(), Slot(bytes.get_u64()))).collect();
        rows.insert(id, list);
    }
    rows
}
