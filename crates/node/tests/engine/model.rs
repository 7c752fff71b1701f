//! What everything should be: maps of points, changed as a user would mean it.

use std::collections::BTreeMap;

use lodestone_index::{Evaluator, IndexSchema};
use lodestone_shard::{PayloadDelta, apply_payload_delta};
use lodestone_types::{
    AliasAction, CollectionConfig, Distance, ErrorKind, FieldIndex, Filter, JsonPath, Point, PointId,
    PointSelector, UpdateMode, UpdateOp,
};

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub collections: BTreeMap<String, Held>,
    pub aliases: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Held {
    pub config: CollectionConfig,
    pub fields: BTreeMap<JsonPath, FieldIndex>,
    pub points: BTreeMap<PointId, Point>,
}

#[expect(clippy::large_enum_variant, reason = "steps are few, and read better unboxed")]
#[derive(Debug, Clone)]
pub enum Step {
    Create { name: String, config: CollectionConfig },
    Delete { name: String },
    Index { name: String, field: JsonPath, index: FieldIndex },
    DropIndex { name: String, field: JsonPath },
    Aliases(Vec<AliasAction>),
    Update { name: String, ops: Vec<UpdateOp> },
}

impl Model {
    /// The states that a step goes through, the one before it first, or what it is refused for.
    pub fn after(&self, step: &Step) -> Result<Vec<Model>, ErrorKind> {
        let mut next = self.clone();
        match step {
            Step::Create { name, config } => {
                if self.collections.contains_key(name) || self.aliases.contains_key(name) {
                    return Err(ErrorKind::Conflict);
                }
                let held = Held { config: config.clone(), fields: BTreeMap::new(), points: BTreeMap::new() };
                next.collections.insert(name.clone(), held);
            }
            Step::Delete { name } => {
                next.collections.remove(name);
                next.aliases.retain(|_, target| target != name);
            }
            Step::Index { name, field, index } => {
                next.held_mut(name)?.fields.insert(field.clone(), index.clone());
            }
            Step::DropIndex { name, field } => drop(next.held_mut(name)?.fields.remove(field)),
            Step::Aliases(actions) => actions.iter().try_for_each(|action| next.change_alias(action))?,
            Step::Update { name, ops } => {
                let mut states = vec![self.clone()];
                for op in ops {
                    next.held_mut(name)?.apply(op);
                    states.push(next.clone());
                }
                return Ok(states);
            }
        }
        Ok(vec![self.clone(), next])
    }

    pub fn held(&self, name: &str) -> Option<&Held> {
        self.collections.get(self.aliases.get(name).map_or(name, String::as_str))
    }

    fn held_mut(&mut self, name: &str) -> Result<&mut Held, ErrorKind> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.collections.get_mut(name).ok_or(ErrorKind::NotFound)
    }

    fn change_alias(&mut self, action: &AliasAction) -> Result<(), ErrorKind> {
        match action {
            AliasAction::Create { collection, alias } => {
                if !self.collections.contains_key(collection) {
                    return Err(ErrorKind::NotFound);
                }
                if self.collections.contains_key(alias) {
                    return Err(ErrorKind::Conflict);
                }
                self.aliases.insert(alias.clone(), collection.clone());
            }
            AliasAction::Delete { alias } => {
                self.aliases.remove(alias).ok_or(ErrorKind::NotFound)?;
            }
            AliasAction::Rename { old, new } => {
                if self.collections.contains_key(new) {
                    return Err(ErrorKind::Conflict);
                }
                let target = self.aliases.remove(old).ok_or(ErrorKind::NotFound)?;
                self.aliases.insert(new.clone(), target);
            }
        }
        Ok(())
    }
}

impl Held {
    pub fn matching(&self, filter: Option<&Filter>) -> Vec<&Point> {
        let schema = IndexSchema::new(&self.fields).unwrap();
        let evaluator = filter.map(|filter| Evaluator::new(filter, &schema));
        self.points.values().filter(|p| evaluator.as_ref().is_none_or(|e| e.matches(p))).collect()
    }

    fn ids(&self, selector: &PointSelector) -> Vec<PointId> {
        match selector {
            PointSelector::Ids(ids) => ids.clone(),
            PointSelector::Filter(filter) => self.matching(Some(filter)).iter().map(|p| p.id).collect(),
        }
    }

    fn matches(&self, id: PointId, condition: Option<&Filter>) -> bool {
        self.matching(condition).iter().any(|p| p.id == id)
    }

    fn apply(&mut self, op: &UpdateOp) {
        match op {
            UpdateOp::Upsert { points, condition, mode } => {
                let before = self.clone();
                for point in points {
                    let wanted = match (before.points.contains_key(&point.id), mode) {
                        (true, UpdateMode::InsertOnly) | (false, UpdateMode::UpdateOnly) => false,
                        (true, _) => before.matches(point.id, condition.as_ref()),
                        (false, _) => true,
                    };
                    if wanted {
                        let mut stored = point.clone();
                        self.store(&mut stored);
                        self.points.insert(stored.id, stored);
                    }
                }
            }
            UpdateOp::Delete(points) => self.ids(points).iter().for_each(|id| drop(self.points.remove(id))),
            UpdateOp::SetPayload { payload, key, points } => {
                self.patch(points, &PayloadDelta::Set { values: payload.0.clone(), key: key.clone() });
            }
            UpdateOp::OverwritePayload { payload, points } => {
                self.patch(points, &PayloadDelta::Overwrite(payload.0.clone()));
            }
            UpdateOp::DeletePayload { keys, points } => {
                self.patch(points, &PayloadDelta::Delete(keys.clone()));
            }
            UpdateOp::ClearPayload(points) => self.patch(points, &PayloadDelta::Clear),
            UpdateOp::UpdateVectors { points, condition } => {
                let before = self.clone();
                for update in points {
                    if !before.matches(update.id, condition.as_ref()) {
                        continue;
                    }
                    let mut changed = self.points[&update.id].clone();
                    for (name, vector) in &update.vectors.0 {
                        changed.vectors.set(name, vector.clone());
                    }
                    self.store(&mut changed);
                    self.points.insert(changed.id, changed);
                }
            }
            UpdateOp::DeleteVectors { names, points } => {
                for id in self.ids(points) {
                    if let Some(point) = self.points.get_mut(&id) {
                        names.iter().for_each(|name| point.vectors.remove(name));
                    }
                }
            }
        }
    }

    fn patch(&mut self, points: &PointSelector, delta: &PayloadDelta) {
        for id in self.ids(points) {
            if let Some(point) = self.points.get_mut(&id) {
                apply_payload_delta(&mut point.payload, delta);
            }
        }
    }

    /// Brings the vectors of a point into the form in which they come back.
    fn store(&self, point: &mut Point) {
        for (name, vector) in &mut point.vectors.0 {
            if self.config.params.vectors[name].distance == Distance::Cosine {
                let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
        point.vectors.0.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// How near two vectors are, by the definition.
    pub fn score(&self, using: &str, stored: &[f32], query: &[f32]) -> f32 {
        let pairs = || stored.iter().zip(query).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let norm = || query.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        (match self.config.params.vectors[using].distance {
            Distance::Dot => pairs().map(|(a, b)| a * b).sum::<f64>(),
            Distance::Cosine => pairs().map(|(a, b)| a * b).sum::<f64>() / norm(),
            Distance::Euclid => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Distance::Manhattan => pairs().map(|(a, b)| (a - b).abs()).sum(),
        }) as f32
    }
}
