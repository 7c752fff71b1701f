//! Whether the engine agrees with the model.

use std::collections::BTreeMap;

use lodestone_api::Engine;
use lodestone_types::{
    CountRequest, ErrorKind, Filter, NamedVectors, PayloadSelector, Point, PointId, QueryRequest,
    QueryTarget, ReadOptions, Record, RetrieveRequest, ScrollRequest, VectorSelector,
};
use rand::Rng;
use rand::rngs::StdRng;

use crate::model::{Held, Model};
use crate::random;

/// What does not agree.
pub type Checked = Result<(), String>;

const TOLERANCE: f32 = 1e-5;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

fn strong() -> ReadOptions {
    ReadOptions::default()
}

/// Compares everything.
pub async fn everything(engine: &dyn Engine, model: &Model) -> Checked {
    let failed = |e: lodestone_types::Error| format!("{e} ({:?})", e.kind);
    let names = engine.collections().await.map_err(failed)?;
    ensure(names.iter().eq(model.collections.keys()), || format!("collections: {names:?}"))?;
    let aliases = engine.aliases(None).await.map_err(failed)?;
    let expected = model.aliases.iter().map(|(alias, name)| (alias.clone(), name.clone()));
    ensure(aliases.iter().cloned().eq(expected), || format!("aliases: {aliases:?}"))?;
    for (name, held) in &model.collections {
        let info = engine.collection(name).await.map_err(failed)?;
        ensure(info.config == held.config, || format!("config of {name}"))?;
        let fields = info.payload_schema.iter().map(|(path, (index, _))| (path, index));
        ensure(fields.eq(&held.fields), || format!("indexes of {name}: {:?}", info.payload_schema))?;
        let count = held.points.len() as u64;
        ensure(info.points_count == count, || {
            format!("{name} has {} points and should have {count}", info.points_count)
        })?;
        let points = scroll(engine, name, None, 7).await?;
        same_points(&points, held.points.values()).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Asks some questions about one collection.
pub async fn something(engine: &dyn Engine, model: &Model, rng: &mut StdRng) -> Checked {
    let known: Vec<&String> = model.collections.keys().collect();
    if known.is_empty() {
        return Ok(());
    }
    let name = known[rng.random_range(0..known.len())];
    let held = &model.collections[name];
    let filter = random::filter(rng, 2);
    let what = |e: String| format!("{name}: {e}\nwith {filter:?}\nand indexes {:?}", held.fields);
    let matching = held.matching(Some(&filter));
    let count = CountRequest { filter: Some(filter.clone()), exact: true };
    let count = engine.count(name, count, strong()).await.map_err(|e| what(e.to_string()))?;
    ensure(count == matching.len() as u64, || what(format!("counted {count}, not {}", matching.len())))?;
    let page = rng.random_range(1..20);
    let found = scroll(engine, name, Some(&filter), page).await?;
    same_points(&found, matching.iter().copied()).map_err(what)?;
    retrieve(engine, name, held, rng).await?;
    let filter = rng.random::<bool>().then_some(filter);
    search(engine, name, held, filter, rng).await
}

async fn scroll(
    engine: &dyn Engine,
    name: &str,
    filter: Option<&Filter>,
    limit: usize,
) -> Result<Vec<Record>, String> {
    let mut all = Vec::new();
    let mut offset = None;
    loop {
        let request = ScrollRequest {
            offset,
            limit,
            filter: filter.cloned(),
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::All,
            order_by: None,
        };
        let page = engine.scroll(name, request, strong()).await.map_err(|e| format!("scroll: {e}"))?;
        ensure(page.points.len() <= limit, || "a page is too long".into())?;
        ensure(page.next.is_none() || page.points.len() == limit, || "a page is too short".into())?;
        all.extend(page.points);
        match page.next {
            Some(next) => offset = Some(next),
            None => return Ok(all),
        }
    }
}

async fn retrieve(engine: &dyn Engine, name: &str, held: &Held, rng: &mut StdRng) -> Checked {
    let mut ids = random::ids(rng);
    let request = RetrieveRequest {
        ids: ids.clone(),
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::All,
    };
    let found = engine.retrieve(name, request, strong()).await.map_err(|e| format!("retrieve: {e}"))?;
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    same_points(&found, ids.iter().filter_map(|id| held.points.get(id)))
        .map_err(|e| format!("retrieve {ids:?} of {name}: {e}"))
}

fn same_points<'a>(found: &[Record], expected: impl Iterator<Item = &'a Point>) -> Checked {
    let expected: Vec<&Point> = expected.collect();
    let ids = |found: Vec<PointId>| found;
    let (found_ids, expected_ids) =
        (ids(found.iter().map(|r| r.id).collect()), ids(expected.iter().map(|p| p.id).collect()));
    ensure(found_ids == expected_ids, || format!("found {found_ids:?}\nexpected {expected_ids:?}"))?;
    for (record, point) in found.iter().zip(expected) {
        ensure(record.payload.as_ref() == Some(&point.payload), || {
            format!("payload of {}: {:?}\nexpected {:?}", point.id, record.payload, point.payload)
        })?;
        let vectors = record.vectors.as_ref();
        ensure(vectors.is_some_and(|found| same_vectors(found, &point.vectors)), || {
            format!("vectors of {}: {vectors:?}\nexpected {:?}", point.id, point.vectors)
        })?;
    }
    Ok(())
}

fn same_vectors(found: &NamedVectors, expected: &NamedVectors) -> bool {
    let near =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= TOLERANCE);
    found.0.len() == expected.0.len()
        && expected.0.iter().all(|(name, vector)| found.get(name).is_some_and(|found| near(found, vector)))
}

async fn search(
    engine: &dyn Engine,
    name: &str,
    held: &Held,
    filter: Option<Filter>,
    rng: &mut StdRng,
) -> Checked {
    let Some(using) = random::vector_name(rng, held) else { return Ok(()) };
    let params = &held.config.params.vectors[&using];
    let by_id = rng.random_ratio(1, 4);
    let target = if by_id {
        QueryTarget::Point(random::id(rng))
    } else {
        QueryTarget::Vector(random::vector(rng, params.size as usize))
    };
    let request = QueryRequest {
        target: target.clone(),
        using: using.clone(),
        lookup_from: None,
        filter: filter.clone(),
        score_threshold: rng.random_ratio(1, 4).then(|| f32::from(rng.random_range(0..12u8)) + 0.4321),
        limit: rng.random_range(1..15),
        offset: if rng.random_ratio(1, 4) { rng.random_range(0..5) } else { 0 },
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::None,
        exact: rng.random(),
        hnsw_ef: None,
        indexed_only: false,
        quantization: Default::default(),
    };
    let answer = engine.query(name, vec![request.clone()], strong()).await;
    let (query, except) = match &target {
        QueryTarget::Point(id) => match held.points.get(id).map(|p| p.vectors.get(&using)) {
            Some(Some(vector)) => (vector.to_vec(), Some(*id)),
            missing => {
                let kind = if missing.is_none() { ErrorKind::NotFound } else { ErrorKind::BadRequest };
                let found = answer.as_ref().map_err(|e| e.kind);
                return ensure(found.err() == Some(kind), || format!("search by {id}: {answer:?}"));
            }
        },
        QueryTarget::Vector(vector) => (vector.clone(), None),
        _ => return Err("another target".into()),
    };
    let found = answer.map_err(|e| format!("search: {e}"))?.remove(0);
    let greater = params.distance.greater_is_nearer();
    let mut scores: BTreeMap<PointId, f32> = BTreeMap::new();
    for point in held.matching(filter.as_ref()) {
        if let Some(vector) = point.vectors.get(&using).filter(|_| Some(point.id) != except) {
            let score = held.score(&using, vector, &query);
            if request.score_threshold.is_none_or(|t| if greater { score >= t } else { score <= t }) {
                scores.insert(point.id, score);
            }
        }
    }
    let mut nearest: Vec<f32> = scores.values().copied().collect();
    nearest.sort_by(|a, b| if greater { b.total_cmp(a) } else { a.total_cmp(b) });
    let wanted: Vec<f32> = nearest.into_iter().skip(request.offset).take(request.limit).collect();
    let what =
        |why: &str| format!("search in {name}: {why}\n{request:?}\nfound {found:?}\nexpected {wanted:?}");
    ensure(found.len() == wanted.len(), || what("another number of hits"))?;
    let mut seen = std::collections::BTreeSet::new();
    for (hit, wanted) in found.iter().zip(&wanted) {
        let near = |a: f32, b: f32| (a - b).abs() <= TOLERANCE * (1.0 + b.abs());
        ensure(near(hit.score, *wanted), || what("other scores"))?;
        let own = scores.get(&hit.id).is_some_and(|score| near(hit.score, *score));
        ensure(own && seen.insert(hit.id), || what("a point that should not be there"))?;
        let payload = held.points.get(&hit.id).map(|p| &p.payload);
        ensure(hit.payload.as_ref() == payload, || what("another payload"))?;
    }
    Ok(())
}
