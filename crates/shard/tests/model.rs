//! Random writes, folds and merges, and after them every read, against a plain map of points.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use lodestone_shard::{
    Cancel, Found, Memtable, Method, Nearest, PayloadPicker, Selection, ShardView, ValueOrder, merge_pages,
};
use lodestone_types::{
    FieldIndexKind, OrderBy, OrderDirection, OrderValue, PayloadSelector, PointId, VectorSelector,
};
use proptest::prelude::*;
use serde_json::Value;
use support::bucket::Bucket;
use support::model::{Model, Write, any_write, schema};
use support::question::{Question, any_question};

/// One thing that happens to a shard.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Write>),
    /// A fold begins: what it folds is the shard as it is now.
    BeginFold,
    /// It is installed; writes in between stay in the tail.
    EndFold,
    Merge,
    Ask(Question),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any_write(), 1..4).prop_map(Step::Write),
        1 => Just(Step::BeginFold),
        1 => Just(Step::EndFold),
        1 => Just(Step::Merge),
        3 => any_question().prop_map(Step::Ask),
    ]
}

struct Shard {
    bucket: Bucket,
    view: ShardView,
    folding: Option<ShardView>,
    model: Model,
    lsn: u64,
}

impl Shard {
    fn new() -> Self {
        let view = ShardView::new(Arc::new(schema()), Vec::new(), Memtable::new(0));
        Self { bucket: Bucket::default(), view, folding: None, model: Model::default(), lsn: 0 }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write(writes) => {
                self.lsn += 3;
                let ops = writes.iter().map(|write| write.op(self.view.schema())).collect();
                self.view = self.view.apply(self.lsn, ops).unwrap();
                writes.iter().for_each(|write| self.model.apply(self.lsn, write));
            }
            Step::BeginFold => self.folding = Some(self.view.clone()),
            Step::EndFold => {
                if let Some(snapshot) = self.folding.take() {
                    let segments = self.bucket.fold(&snapshot).await;
                    let memtable = self.view.memtable().after_fold(snapshot.lsn()).unwrap();
                    assert_eq!(memtable.lsn(), self.view.lsn());
                    self.view = ShardView::new(self.view.schema().clone(), segments, memtable);
                }
            }
            // A fold and a merge of the same segments exclude each other; the compactor sees to that.
            Step::Merge if self.folding.is_some() => {}
            Step::Merge => {
                let segments = self.bucket.merge(&self.view).await;
                let memtable = self.view.memtable().clone();
                self.view = ShardView::new(self.view.schema().clone(), segments, memtable);
            }
            Step::Ask(question) => self.ask(question).await,
        }
    }

    async fn ask(&self, question: &Question) {
        let (view, model, cancel) = (&self.view, &self.model, Cancel::default());
        let filter = question.filter.as_ref().map(|filter| filter.filter());
        let matching = model.matching(question.filter.as_ref());
        let selection = Selection::new(view, filter.as_ref());
        selection.load().await.unwrap();
        let ids = |found: &[Found]| found.iter().map(|found| found.id).collect::<Vec<_>>();

        // Pages first: they must not depend on what counting found out.
        let mut paged = Vec::new();
        let mut offset = None;
        loop {
            let page = selection.page(offset, question.limit + 1, &cancel).unwrap();
            let (page, next) = merge_pages(vec![page], |found| found.id, question.limit);
            paged.extend(page.into_iter().map(|(_, found)| found.id));
            offset = next;
            if offset.is_none() {
                break;
            }
        }
        assert_eq!(paged, matching);
        assert_eq!(selection.count(&cancel).unwrap(), matching.len() as u64);
        let all = selection.all(&cancel).unwrap();
        assert_eq!(ids(&all), matching);
        self.check_records(&all).await;
        self.check_nearest(&selection, question, &matching).await;
        self.check_order(&selection, question, &matching).await;

        let sample = selection.sample(question.limit, question.seed, &cancel).unwrap();
        assert_eq!(sample.len(), question.limit.min(matching.len()));
        assert!(sample.iter().all(|sampled| matching.contains(&sampled.found.id)));
        assert!(sample.is_sorted_by(|a, b| a < b), "each once");

        let found = view.find_all(&model.some_ids()).unwrap();
        assert_eq!(ids(&found), model.points.keys().copied().collect::<Vec<_>>());
    }

    async fn check_records(&self, found: &[Found]) {
        let (payload, vectors) = (PayloadPicker::new(&PayloadSelector::All), VectorSelector::All);
        self.view.load_records(found, &payload, &vectors).await.unwrap();
        let records = self.view.records(found, &payload, &vectors).unwrap();
        let mut reader = lodestone_shard::RowReader::new(&self.view);
        for (record, found) in records.into_iter().zip(found) {
            let point = &self.model.points[&record.id];
            assert_eq!(record.payload.unwrap().0, point.payload, "{}", record.id);
            let vectors: BTreeMap<String, Vec<f32>> = record.vectors.unwrap().0.into_iter().collect();
            assert_eq!(vectors, point.vectors, "{}", record.id);
            assert_eq!(reader.version(*found).unwrap(), point.lsn, "{}", record.id);
            assert_eq!(reader.payload(*found).unwrap().0, point.payload);
        }
    }

    async fn check_nearest(&self, selection: &Selection, question: &Question, matching: &[PointId]) {
        let using = question.using;
        self.view.load_vector(using).await.unwrap();
        let shape = *self.view.schema().vector(using).unwrap();
        let vector = &question.vector[..shape.dim];
        let query = Nearest {
            vector,
            using,
            score_threshold: question.threshold,
            except: question.except,
            limit: question.limit,
            method: Method::default(),
        };
        let hits = selection.nearest(&query, &Cancel::default()).unwrap();
        let hits: Vec<(PointId, f32)> = hits.iter().map(|hit| (hit.found.id, hit.score)).collect();
        let greater = shape.metric.greater_is_nearer();
        let mut expected: Vec<(PointId, f32)> = matching
            .iter()
            .filter(|id| Some(**id) != question.except)
            .filter_map(|id| {
                Some((*id, support::model::score(using, vector, self.model.points[id].vectors.get(using)?)))
            })
            .filter(|(_, score)| {
                question.threshold.is_none_or(|t| if greater { *score > t } else { *score < t })
            })
            .collect();
        expected.sort_by(|a, b| {
            let by_score = a.1.total_cmp(&b.1);
            (if greater { by_score.reverse() } else { by_score }).then(a.0.cmp(&b.0))
        });
        expected.truncate(question.limit);
        assert_eq!(hits, expected);
    }

    async fn check_order(&self, selection: &Selection, question: &Question, matching: &[PointId]) {
        let direction =
            if question.seed.is_multiple_of(2) { OrderDirection::Asc } else { OrderDirection::Desc };
        let start = question.start.map(OrderValue::Int);
        let by = OrderBy { key: "n".parse().unwrap(), direction, start_from: start };
        let kind = self.view.schema().field_kind(&by.key);
        assert_eq!(kind, Some(FieldIndexKind::Integer));
        let order = ValueOrder::new(&by, kind).unwrap();
        self.view.load_order(&order).await.unwrap();
        let page = selection.page_by_value(&order, question.limit, &Cancel::default()).unwrap();
        let page: Vec<(i64, PointId)> = page
            .iter()
            .map(|at| match at.value {
                OrderValue::Int(value) => (value, at.id),
                OrderValue::Float(_) => panic!("an integer index orders by integers"),
            })
            .collect();
        let mut expected = Vec::new();
        for id in matching {
            let values = match self.model.points[id].payload.get("n") {
                Some(Value::Array(values)) => values.clone(),
                Some(value) => vec![value.clone()],
                None => Vec::new(),
            };
            expected.extend(values.iter().filter_map(Value::as_i64).map(|value| (value, *id)));
        }
        expected.sort();
        expected.dedup();
        if direction == OrderDirection::Desc {
            expected.reverse();
        }
        if let Some(start) = question.start {
            expected
                .retain(|(v, _)| if direction == OrderDirection::Asc { *v >= start } else { *v <= start });
        }
        expected.truncate(question.limit);
        assert_eq!(page, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_as_a_map_would(steps in prop::collection::vec(any_step(), 1..40), last in any_question()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut shard = Shard::new();
            for step in &steps {
                shard.step(step).await;
            }
            // Whatever happened, everything is there, before and after a last fold.
            shard.step(&Step::Ask(Question { filter: None, ..last.clone() })).await;
            shard.step(&Step::BeginFold).await;
            shard.step(&Step::EndFold).await;
            assert!(shard.view.memtable().is_empty());
            shard.step(&Step::Ask(last.clone())).await;
        });
    }
}

#[test]
fn stops_when_cancelled() {
    let mut shard = Shard::new();
    let writes: Vec<Write> = (0..4).map(support::model::plain_put).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shard.step(&Step::Write(writes)));
    let cancel = Cancel::default();
    cancel.cancel();
    let filter = support::question::Cond::AtLeast(0).filter();
    let selection = Selection::new(&shard.view, Some(&filter));
    let error = selection.count(&cancel).unwrap_err();
    assert_eq!(error.kind, lodestone_types::ErrorKind::Timeout);
    assert_eq!(selection.count(&Cancel::default()).unwrap(), 4);
}
