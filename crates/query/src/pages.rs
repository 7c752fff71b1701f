//! Points by id, by value, at random; counts.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use lodestone_shard::{
    Cancel, Found, PayloadPicker, RowReader, Sampled, Selection, ValueOrder, merge, merge_pages, on_pool,
};
use lodestone_types::{
    Filter, OrderBy, OrderValue, PayloadSelector, PointId, Record, Result, RetrieveRequest, ScrollPage,
    ScrollRequest, VectorSelector,
};

use crate::scope::Scope;

/// Runs `work` on every shard's selection and collects what each found.
async fn on_each<T: Send + 'static>(
    selections: &[Selection],
    work: impl Fn(&Selection) -> Result<T> + Clone + Send + 'static,
) -> Result<Vec<T>> {
    let parts = selections.iter().map(|selection| {
        let (selection, work) = (selection.clone(), work.clone());
        on_pool(move || work(&selection))
    });
    try_join_all(parts).await?.into_iter().collect()
}

/// At most `limit` rows by id, with their shards, and where the next page starts.
pub(crate) async fn page(
    selections: &[Selection],
    offset: Option<PointId>,
    limit: usize,
    cancel: &Cancel,
) -> Result<(Vec<(usize, Found)>, Option<PointId>)> {
    let cancel = cancel.clone();
    let parts = on_each(selections, move |s| s.page(offset, limit.saturating_add(1), &cancel)).await?;
    Ok(merge_pages(parts, |found| found.id, limit))
}

/// At most `limit` rows in the order of a value, with their shards and values.
pub(crate) async fn page_by_value(
    scope: &Scope,
    selections: &[Selection],
    order: &OrderBy,
    limit: usize,
    cancel: &Cancel,
) -> Result<Vec<(usize, Found, OrderValue)>> {
    let order = ValueOrder::new(order, scope.schema()?.field_kind(&order.key))?;
    try_join_all(scope.views.iter().map(|view| view.load_order(&order))).await?;
    let cancel = cancel.clone();
    let parts = on_each(selections, move |s| s.page_by_value(&order, limit, &cancel)).await?;
    let page = merge(parts, Ord::cmp, 0, limit);
    Ok(page.into_iter().map(|(part, at)| (part, at.key, at.value)).collect())
}

/// At most `limit` rows at random, with their shards.
pub(crate) async fn sample(
    selections: &[Selection],
    limit: usize,
    seed: u64,
    cancel: &Cancel,
) -> Result<Vec<(usize, Found)>> {
    let cancel = cancel.clone();
    let parts: Vec<Vec<Sampled>> = on_each(selections, move |s| s.sample(limit, seed, &cancel)).await?;
    Ok(merge(parts, Ord::cmp, 0, limit).into_iter().map(|(part, sampled)| (part, sampled.found)).collect())
}

/// How many rows match in all shards.
pub(crate) async fn count(scope: &Scope, filter: Option<&Filter>, cancel: &Cancel) -> Result<u64> {
    let selections = scope.select(filter).await?;
    let cancel = cancel.clone();
    Ok(on_each(&selections, move |s| s.count(&cancel)).await?.into_iter().sum())
}

/// A page by id or by value.
pub(crate) async fn scroll(scope: &Scope, request: &ScrollRequest, cancel: &Cancel) -> Result<ScrollPage> {
    let selections = scope.select(request.filter.as_ref()).await?;
    let (found, next) = match &request.order_by {
        Some(order) => {
            let page = page_by_value(scope, &selections, order, request.limit, cancel).await?;
            (page.into_iter().map(|(part, found, value)| (part, found, Some(value))).collect(), None)
        }
        None => {
            let (page, next) = page(&selections, request.offset, request.limit, cancel).await?;
            (page.into_iter().map(|(part, found)| (part, found, None)).collect(), next)
        }
    };
    let points = records(scope, found, &request.with_payload, &request.with_vectors).await?;
    Ok(ScrollPage { points, next })
}

/// Points by id, in the order asked, each once.
pub(crate) async fn retrieve(scope: &Scope, request: &RetrieveRequest) -> Result<Vec<Record>> {
    let picker = PayloadPicker::new(&request.with_payload);
    let loading = scope.views.iter().map(|view| {
        let prepared = view.prepare_records(request.ids.len(), &picker, &request.with_vectors);
        try_join(view.load_masks(), prepared)
    });
    try_join_all(loading).await?;
    let mut places: HashMap<PointId, (usize, Found)> = HashMap::with_capacity(request.ids.len());
    for (part, view) in scope.views.iter().enumerate() {
        places.extend(view.find_all(&request.ids)?.into_iter().map(|found| (found.id, (part, found))));
    }
    // Taking each place out of the map answers an id that is asked for twice once.
    let found =
        request.ids.iter().filter_map(|id| places.remove(id)).map(|(part, f)| (part, f, None)).collect();
    records(scope, found, &request.with_payload, &request.with_vectors).await
}

async fn records(
    scope: &Scope,
    found: Vec<(usize, Found, Option<OrderValue>)>,
    payload: &PayloadSelector,
    vectors: &VectorSelector,
) -> Result<Vec<Record>> {
    let picker = Arc::new(PayloadPicker::new(payload));
    let rows = found.iter().map(|(part, row, _)| (*part, *row));
    let far = scope.load_records(rows, &picker, vectors).await?;
    let (views, vectors) = (scope.views.clone(), vectors.clone());
    on_pool(move || {
        let readers = views.iter().zip(&far).map(|(view, far)| RowReader::with_far(view, far));
        let mut readers: Vec<RowReader> = readers.collect();
        let shown =
            found.into_iter().map(|(part, row, value)| readers[part].record(row, &picker, &vectors, value));
        shown.collect()
    })
    .await?
}
