//! A tail of thousands of rows is searched by codes with bounds, and finds what comparing all of its rows would.

use std::collections::BTreeMap;
use std::sync::Arc;

use lodestone_kernels::Scorer;
use lodestone_shard::{Cancel, Memtable, Method, Nearest, Selection, ShardSchema, ShardView};
use lodestone_types::{CollectionConfig, Datatype, Distance, PointId, VectorParams};
use lodestone_wal::{Delta, Op, Row};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DIM: usize = 70;
const ROWS: u64 = 3000;

fn schema(distance: Distance, datatype: Datatype) -> Arc<ShardSchema> {
    let vector = VectorParams { datatype: Some(datatype), ..VectorParams::new(DIM as u64, distance) };
    let config = CollectionConfig::new([(String::new(), vector)].into());
    Arc::new(ShardSchema::new(&config, BTreeMap::new()).unwrap())
}

/// Groups of rows of very different sizes, some of them twice.
fn vector(rng: &mut StdRng, bytes: bool) -> Vec<f32> {
    let (size, centre) = (10f32.powi(rng.random_range(-2..2)), rng.random_range(0..20) as f32 / 20.0);
    let component = |_| {
        let x = size * (centre + rng.random_range(-1.0..1.0f32));
        if bytes { (x.abs() * 9.0).min(255.0) } else { x }
    };
    (0..DIM).map(component).collect()
}

#[tokio::test]
async fn a_long_tail_is_searched_as_if_all_its_rows_were_compared() {
    let distances = [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan];
    let datatypes = [Datatype::Float32, Datatype::Float16, Datatype::Uint8];
    for (seed, (distance, datatype)) in
        (0..).zip(distances.iter().flat_map(|d| datatypes.iter().map(move |t| (*d, *t))))
    {
        let mut rng = StdRng::seed_from_u64(seed);
        let schema = schema(distance, datatype);
        let shape = *schema.vector("").unwrap();
        let bytes = datatype == Datatype::Uint8;
        let mut stored: Vec<Vec<u8>> = (0..ROWS).map(|_| shape.encode(&vector(&mut rng, bytes))).collect();
        stored[7] = stored[2999].clone();
        let mut memtable = Memtable::new(0);
        for (lsn, rows) in (1..).zip(stored.chunks(190)) {
            let first = 190 * (lsn - 1);
            let row = |(i, vector): (u64, &Vec<u8>)| Row {
                id: PointId::Num(first + i),
                vectors: vec![("".into(), vector.clone().into())],
                payload: Default::default(),
            };
            memtable = memtable.apply(lsn, vec![Op::Put((0..).zip(rows).map(row).collect())]).unwrap();
        }
        let view = ShardView::new(schema, Vec::new(), memtable);
        let is_quick = |view: &ShardView| {
            Selection::are_quick(&[Selection::new(view, None)], "", 10, &Method::default())
        };
        assert!(!is_quick(&view), "nobody has seen the tail yet");
        for limit in [1, 10, 100] {
            let query = vector(&mut rng, bytes);
            let method = Method::default();
            let nearest =
                Nearest { vector: &query, using: "", score_threshold: None, except: None, limit, method };
            let hits = Selection::new(&view, None).nearest(&nearest, &Cancel::default()).unwrap();
            let hits: Vec<(f32, PointId)> = hits.iter().map(|hit| (hit.score, hit.found.id)).collect();
            let scorer = Scorer::new(&query, shape.metric, shape.element);
            let mut expected: Vec<(f32, PointId)> =
                (0..).map(PointId::Num).zip(&stored).map(|(id, vector)| (scorer.score(vector), id)).collect();
            let sign = if shape.metric.greater_is_nearer() { -1.0 } else { 1.0 };
            expected.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1)));
            expected.truncate(limit);
            assert_eq!(hits, expected, "{distance:?} {datatype:?} {limit}");
            assert!(is_quick(&view));
            let alone = Selection::new(&view, None).nearest_alone(&nearest, &Cancel::default()).unwrap();
            let alone: Vec<(f32, PointId)> = alone.iter().map(|hit| (hit.score, hit.found.id)).collect();
            assert_eq!(alone, expected, "{distance:?} {datatype:?} {limit}");
        }
        assert!(!Selection::are_quick(
            &[Selection::new(&view, None)],
            "",
            10,
            &Method { exact: true, ..Method::default() }
        ));
        assert!(is_quick(
            &view.apply(100, vec![Op::Delete([PointId::Num(1)].into_iter().collect())]).unwrap()
        ));
        let (query, method) = (vector(&mut rng, bytes), Method::default());
        let nearest =
            Nearest { vector: &query, using: "", score_threshold: None, except: None, limit: 1, method };
        let mut changed = view.clone();
        for lsn in 100..105 {
            let patch = Op::Patch { ids: (0..1000).map(PointId::Num).collect(), delta: Delta::ClearPayload };
            changed = changed.apply(lsn, vec![patch]).unwrap();
            Selection::new(&changed, None).nearest(&nearest, &Cancel::default()).unwrap();
        }
        assert!(!is_quick(&changed), "rows that were changed cost more");
    }
}
