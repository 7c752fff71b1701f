//! Is a write right for its collection? Checked before anything is written; the message says what to change.

use lodestone_manifest::Collection;
use lodestone_types::{Error, NamedVectors, PointSelector, Result, UpdateOp, limits};

/// Checks `op` against the vectors of `collection` and the limits.
pub fn operation(collection: &Collection, op: &UpdateOp) -> Result<()> {
    match op {
        UpdateOp::Upsert { points, .. } => {
            count(points.len())?;
            points.iter().try_for_each(|p| vectors(collection, &p.vectors))
        }
        UpdateOp::UpdateVectors { points, .. } => {
            count(points.len())?;
            points.iter().try_for_each(|p| vectors(collection, &p.vectors))
        }
        UpdateOp::DeleteVectors { names, points } => {
            names.iter().try_for_each(|name| known(collection, name).map(|_| ()))?;
            selector(points)
        }
        UpdateOp::Delete(points)
        | UpdateOp::ClearPayload(points)
        | UpdateOp::SetPayload { points, .. }
        | UpdateOp::OverwritePayload { points, .. }
        | UpdateOp::DeletePayload { points, .. } => selector(points),
    }
}

fn count(points: usize) -> Result<()> {
    if points > limits::MAX_POINTS_PER_WRITE {
        return Err(Error::bad_request(format!(
            "{points} points in one write; at most {} are allowed, send several",
            limits::MAX_POINTS_PER_WRITE
        )));
    }
    Ok(())
}

fn selector(points: &PointSelector) -> Result<()> {
    match points {
        PointSelector::Ids(ids) if ids.len() > limits::MAX_IDS => Err(Error::bad_request(format!(
            "{} ids in one write; at most {} are allowed, send several",
            ids.len(),
            limits::MAX_IDS
        ))),
        _ => Ok(()),
    }
}

fn known<'a>(collection: &'a Collection, name: &str) -> Result<&'a lodestone_types::VectorParams> {
    collection
        .config
        .params
        .vectors
        .get(name)
        .ok_or_else(|| Error::bad_request(format!("Wrong input: Not existing vector name error: {name}")))
}

fn vectors(collection: &Collection, vectors: &NamedVectors) -> Result<()> {
    for (i, (name, vector)) in vectors.0.iter().enumerate() {
        let params = known(collection, name)?;
        if vectors.0[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::bad_request(format!(
                "Wrong input: vector `{name}` is given twice for one point"
            )));
        }
        dimensions(params.size, vector)?;
    }
    Ok(())
}

/// Checks the length and the components of one vector.
pub fn dimensions(expected: u64, vector: &[f32]) -> Result<()> {
    if vector.len() as u64 != expected {
        return Err(Error::bad_request(format!(
            "Wrong input: Vector dimension error: expected dim: {expected}, got {}",
            vector.len()
        )));
    }
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::bad_request(format!(
            "Wrong input: component {at} of a vector is {}; every component must be a finite number",
            vector[at]
        )));
    }
    Ok(())
}
