//! What must hold of every read.
//!
//! The lists of a collection at slot `s` are one truth: every reader who says "this is the state at `s`" must see
//! the same, and what was acknowledged at a slot must be in it at that slot.

use std::collections::BTreeMap;

use lodestone_manifest::Slot;

use crate::contents::{List, Rows, Token};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Appends to these points, come what may.
    Blind,
    /// Appends to these points where they do not exist.
    Insert,
    /// Appends to every point whose list is of even length.
    PatchEven,
}

#[derive(Debug)]
struct Write {
    collection: usize,
    ids: Vec<u64>,
    kind: Kind,
    refused: bool,
    seen: Option<Slot>,
}

#[derive(Debug, Default)]
struct Truth {
    lists: BTreeMap<u64, List>,
    /// The lists are known up to this slot.
    upto: Slot,
    /// Acknowledged, and not yet looked for.
    acked: Vec<(Token, Slot)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    writes: Vec<Write>,
    truths: [Truth; COLLECTIONS],
    highest_ack: Slot,
}

/// Collections in a run.
pub const COLLECTIONS: usize = 2;

/// What holds of the rows of a point by filter: how [`Kind::PatchEven`] chooses.
pub fn is_even(list: &List) -> bool {
    list.len().is_multiple_of(2)
}

impl Model {
    /// A write sets out.
    pub fn begin(&mut self, collection: usize, ids: Vec<u64>, kind: Kind) -> Token {
        self.writes.push(Write { collection, ids, kind, refused: false, seen: None });
        self.writes.len() as Token - 1
    }

    /// A write was acknowledged at `slot`.
    pub fn acked(&mut self, token: Token, slot: Slot) -> Result<(), String> {
        let write = &self.writes[token as usize];
        // The others may have had nothing to do; then the slot is that of the state that said so.
        if write.kind == Kind::Blind {
            self.highest_ack = self.highest_ack.max(slot);
            let truth = &mut self.truths[write.collection];
            truth.acked.push((token, slot));
            self.look_for_acked(self.writes[token as usize].collection)?;
        }
        Ok(())
    }

    /// A write was refused: it has no effect, now or later.
    pub fn refused(&mut self, token: Token, why: &str) -> Result<(), String> {
        let write = &mut self.writes[token as usize];
        write.refused = true;
        match write.seen {
            Some(slot) => Err(format!("write {token} was refused ({why}) and is there at slot {slot}")),
            None => Ok(()),
        }
    }

    /// What a strong read that starts now must reach.
    pub fn required(&self) -> Slot {
        self.highest_ack
    }

    /// Somebody read `rows` of a collection at `slot`.
    pub fn read(&mut self, collection: usize, slot: Slot, rows: &Rows) -> Result<(), String> {
        if slot <= self.truths[collection].upto {
            return self.truths[collection].agrees(slot, rows);
        }
        let added = self.truths[collection].extend(slot, rows)?;
        for (slot, tokens) in added {
            for (token, places) in tokens {
                self.check_write(collection, slot, token, &places)?;
            }
        }
        self.look_for_acked(collection)
    }

    /// A write that was seen for the first time, at `slot`: by whom it was seen, and as the how-manieth.
    fn check_write(
        &mut self,
        collection: usize,
        slot: Slot,
        token: Token,
        places: &[(u64, usize)],
    ) -> Result<(), String> {
        let write = self.writes.get_mut(token as usize).ok_or(format!("write {token} was never sent"))?;
        if let Some(before) = write.seen.replace(slot) {
            return Err(format!("write {token} was applied twice, in slots {before} and {slot}"));
        }
        if write.refused {
            return Err(format!("write {token} was refused and is there at slot {slot}"));
        }
        if write.collection != collection {
            return Err(format!("write {token} is in another collection"));
        }
        let mut ids: Vec<u64> = places.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != places.len() {
            return Err(format!("write {token} reached a point twice at slot {slot}: {places:?}"));
        }
        let truth = &self.truths[collection];
        let expected: Vec<u64> = match write.kind {
            Kind::Blind => write.ids.clone(),
            Kind::Insert => {
                let absent = |id: &u64| truth.before(*id, slot).is_empty();
                write.ids.iter().copied().filter(absent).collect()
            }
            Kind::PatchEven => {
                let even = |id: &u64| {
                    let before = truth.before(*id, slot);
                    !before.is_empty() && before.len().is_multiple_of(2)
                };
                truth.lists.keys().copied().filter(even).collect()
            }
        };
        if ids != expected {
            return Err(format!(
                "{:?} write {token} at slot {slot} reached {ids:?}, not {expected:?}",
                write.kind
            ));
        }
        Ok(())
    }

    fn look_for_acked(&mut self, collection: usize) -> Result<(), String> {
        let truth = &mut self.truths[collection];
        let upto = truth.upto;
        let (due, later): (Vec<(Token, Slot)>, Vec<_>) =
            truth.acked.iter().partition(|(_, slot)| *slot <= upto);
        truth.acked = later;
        for (token, slot) in due {
            let seen = self.writes[token as usize].seen;
            if seen != Some(slot) {
                return Err(format!(
                    "write {token} was acknowledged at slot {slot} and is lost (seen: {seen:?})"
                ));
            }
        }
        Ok(())
    }
}

/// By slot and token, the points reached and the place in each list.
type Added = BTreeMap<Slot, BTreeMap<Token, Vec<(u64, usize)>>>;

impl Truth {
    /// The list of a point before `slot`.
    fn before(&self, id: u64, slot: Slot) -> &[(Token, Slot)] {
        let list = self.lists.get(&id).map_or(&[][..], Vec::as_slice);
        &list[..list.partition_point(|(_, s)| *s < slot)]
    }

    fn agrees(&self, slot: Slot, rows: &Rows) -> Result<(), String> {
        let expected = |id: &u64| self.before(*id, slot.next());
        for id in self.lists.keys().chain(rows.keys()) {
            let got = rows.get(id).map_or(&[][..], Vec::as_slice);
            if got != expected(id) {
                return Err(format!("two truths at slot {slot}, point {id}: {:?} and {got:?}", expected(id)));
            }
        }
        Ok(())
    }

    fn extend(&mut self, slot: Slot, rows: &Rows) -> Result<Added, String> {
        let mut added = Added::new();
        for id in self.lists.keys() {
            if !rows.contains_key(id) {
                return Err(format!("point {id} is lost at slot {slot}"));
            }
        }
        for (id, list) in rows {
            let known = self.lists.entry(*id).or_default();
            if !list.starts_with(known) {
                return Err(format!("point {id} at slot {slot} is {list:?}, and was {known:?}"));
            }
            let mut last = self.upto;
            for (place, (token, at)) in list.iter().enumerate().skip(known.len()) {
                if *at <= self.upto || *at < last || *at > slot {
                    return Err(format!(
                        "point {id} at slot {slot} has write {token} of slot {at} out of order"
                    ));
                }
                last = *at;
                added.entry(*at).or_default().entry(*token).or_default().push((*id, place));
            }
            known.clone_from(list);
        }
        self.upto = slot;
        Ok(added)
    }
}
