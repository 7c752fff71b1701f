//! Is a write right for its collection? Checked before anything is written; the message says what to change.

use lodestone_kernels::F16_MOST;
use lodestone_manifest::Collection;
use lodestone_types::{
    Datatype, Distance, Error, NamedVectors, PointSelector, Result, UpdateOp, VectorParams, limits,
};

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

fn known<'a>(collection: &'a Collection, name: &str) -> Result<&'a VectorParams> {
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
        components(params, vector)?;
    }
    Ok(())
}

/// How many there are, and whether they can be stored.
fn components(params: &VectorParams, vector: &[f32]) -> Result<()> {
    if vector.len() as u64 != params.size {
        return Err(Error::bad_request(format!(
            "Wrong input: Vector dimension error: expected dim: {}, got {}",
            params.size,
            vector.len()
        )));
    }
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::bad_request(format!(
            "Wrong input: component {at} of a vector is {}; every component must be a finite number",
            vector[at]
        )));
    }
    // Cosine makes them small first.
    let is_half = params.datatype() == Datatype::Float16 && params.distance != Distance::Cosine;
    if is_half && let Some(at) = vector.iter().position(|x| x.abs() > F16_MOST) {
        return Err(Error::bad_request(format!(
            "Wrong input: component {at} of a vector is {}, and `float16` ends at {F16_MOST}; scale the vectors, or store them as `float32`",
            vector[at]
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_finite_and_fit_their_type() {
        let params = |distance, datatype| VectorParams { datatype, ..VectorParams::new(2, distance) };
        let message = |distance, datatype, vector: [f32; 2]| {
            components(&params(distance, datatype), &vector).err().map(|error| error.to_string())
        };
        let half = Some(Datatype::Float16);
        for distance in [Distance::Dot, Distance::Euclid, Distance::Manhattan] {
            let refused = message(distance, half, [1.0, -65_505.0]).unwrap();
            assert!(refused.contains("component 1 of a vector is -65505"), "{refused}");
            assert_eq!(message(distance, half, [F16_MOST, -F16_MOST]), None);
            assert_eq!(message(distance, None, [1e30, -1e30]), None);
            assert_eq!(message(distance, Some(Datatype::Uint8), [1e30, -1e30]), None, "clamped");
        }
        assert_eq!(message(Distance::Cosine, half, [1e30, -1e30]), None, "it is made short first");
        for datatype in [None, half] {
            assert!(message(Distance::Dot, datatype, [f32::NAN, 0.0]).unwrap().contains("finite"));
            assert!(message(Distance::Cosine, datatype, [0.0, f32::INFINITY]).unwrap().contains("finite"));
        }
        assert!(components(&params(Distance::Dot, None), &[0.0]).is_err());
    }
}
