//! `lodestone demo`: real points through the real engine, three searches printed, and a server to play with.

mod data;
mod show;

use std::collections::BTreeMap;
use std::time::Instant;

use lodestone_api::Engine;
use lodestone_types::{
    CollectionConfig, Condition, CountRequest, Distance, Error, FieldCondition, FieldIndex, FieldIndexKind,
    Filter, JsonPath, Match, PayloadSelector, Predicate, QueryRequest, QueryTarget, ReadOptions, Result,
    Scalar, UpdateMode, UpdateOp, VectorParams, VectorSelector, WriteOptions,
};

use crate::config::Config;
use crate::paint::Paint;
use crate::serve::Server;
use crate::signals::Signals;
use data::{DIMENSIONS, Demo, Query};

const COLLECTION: &str = "demo";
/// Where the demo goes unless another store is named.
pub const STORE: &str = "./lodestone-demo";
/// Points in one write, about what a client would send.
const BATCH: usize = 512;
/// The collection carries this, so that another one of the same name is never touched.
const MARK: &str = r#"{"lodestone":"demo"}"#;

/// Loads, searches, and serves until told to stop.
pub async fn run(config: Config) -> Result<()> {
    let (store, has_key) = (config.store.to_string(), config.api_key.is_some());
    let mut signals = Signals::install()?;
    let Some(server) = Server::start(config, &mut signals).await? else {
        return Ok(());
    };
    let shown = tokio::select! {
        shown = present(&server, &store, has_key) => shown,
        _ = signals.next() => {
            server.stop(signals).await;
            return Ok(());
        }
    };
    if let Err(error) = shown {
        server.stop(signals).await;
        return Err(error);
    }
    server.run(signals).await
}

async fn present(server: &Server, store: &str, has_key: bool) -> Result<()> {
    let (demo, paint, engine) = (data::read()?, Paint::for_stdout(), server.engine());
    let start = Instant::now();
    let written = load(&*engine, &demo).await?;
    let total = demo.points.len();
    let what = match written {
        true => {
            format!("{total} WordNet entries written to {store} in {:.1} s", start.elapsed().as_secs_f64())
        }
        false => format!("{total} WordNet entries are in {store} already"),
    };
    println!("\n  {}  {}", paint.strong("Lodestone"), paint.faint(&what));
    for (number, query) in demo.queries.iter().enumerate() {
        let start = Instant::now();
        let hits = engine.query(COLLECTION, vec![request(query)?], ReadOptions::default()).await?;
        let took = start.elapsed();
        print!("{}", show::search(paint, number + 1, query, hits.first().map_or(&[], Vec::as_slice), took));
    }
    print!("{}", show::next_steps(paint, &server.url(), store, has_key));
    Ok(())
}

/// Brings the collection to hold exactly the demo's points; `false` if it did.
async fn load(engine: &dyn Engine, demo: &Demo) -> Result<bool> {
    if !engine.collection_exists(COLLECTION).await? {
        engine.create_collection(COLLECTION, config(), None).await?;
    } else if engine.collection(COLLECTION).await?.config.metadata.as_deref() != Some(MARK) {
        return Err(Error::new(
            lodestone_types::ErrorKind::Conflict,
            format!("this store has a collection `{COLLECTION}` of its own; give the demo another --store"),
        ));
    }
    let count =
        engine.count(COLLECTION, CountRequest { filter: None, exact: true }, ReadOptions::default()).await?;
    if count >= demo.points.len() as u64 {
        return Ok(false);
    }
    let options = WriteOptions { wait: true, ..WriteOptions::default() };
    let topic = FieldIndex { kind: FieldIndexKind::Keyword, params: None };
    engine.create_field_index(COLLECTION, "topic".parse()?, topic, options).await?;
    for points in demo.points.chunks(BATCH) {
        let upsert = UpdateOp::Upsert { points: points.to_vec(), condition: None, mode: UpdateMode::Upsert };
        engine.update(COLLECTION, vec![upsert], options).await?;
    }
    Ok(true)
}

fn config() -> CollectionConfig {
    let vector = VectorParams::new(DIMENSIONS as u64, Distance::Cosine);
    CollectionConfig {
        metadata: Some(MARK.to_owned()),
        ..CollectionConfig::new(BTreeMap::from([(String::new(), vector)]))
    }
}

fn request(query: &Query) -> Result<QueryRequest> {
    let topic: JsonPath = "topic".parse()?;
    let only = |value: &String| {
        let is = Predicate::Match(Match::Value(Scalar::Keyword(value.clone())));
        Filter::must(Condition::Field(FieldCondition { key: topic.clone(), predicates: vec![is] }))
    };
    Ok(QueryRequest {
        target: QueryTarget::Vector(query.vector.clone()),
        using: String::new(),
        lookup_from: None,
        filter: query.topic.as_ref().map(only),
        score_threshold: None,
        limit: 5,
        offset: 0,
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::None,
        exact: false,
        hnsw_ef: None,
        indexed_only: false,
        quantization: Default::default(),
    })
}
