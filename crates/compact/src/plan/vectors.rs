//! Which segment gets an index of its vectors next.

use std::collections::BTreeMap;
use std::time::Duration;

use lodestone_index::dense::{IndexShape, ModelHeader};
use lodestone_manifest::{Collection, SegmentEntry, SegmentId, Shard};
use lodestone_segment::{PartKind, PartMeta, SegmentMeta};
use lodestone_types::{Distance, Result, VectorParams};

use super::{Aside, Codes, CompactOptions, Kind, is_at_rest, merge_due};

/// An index to build over the vectors of one name in one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexTask {
    /// The segment.
    pub segment: SegmentId,
    /// The name of the vectors.
    pub vector: String,
    /// How they are compared.
    pub distance: Distance,
    /// Whether the vectors live on disk.
    pub on_disk: bool,
    /// How they are coded.
    pub codes: Codes,
    /// Threads to build with; 0 is automatic.
    pub threads: usize,
    /// A segment of the shard whose model suits this one too, and the model's part; otherwise one is made.
    pub model: Option<(SegmentId, PartMeta)>,
    /// The index that the segment has, whose place this one takes.
    pub replaces: Option<PartMeta>,
}

/// An index that a fold makes with the segment it writes.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldIndex {
    /// The name of the vectors.
    pub vector: String,
    /// How many there have to be, and how they are coded.
    pub indexed: Indexed,
    /// A segment of the shard whose model suits them.
    pub model_of: SegmentId,
    /// The part of that model.
    pub model: PartMeta,
}

/// The indexes that a fold of the tail makes at once: of vectors for which the shard has a model that suits so many rows.
pub fn fold_indexes(
    collection: &Collection,
    shard: &Shard,
    options: &CompactOptions,
) -> Result<Vec<FoldIndex>> {
    let mut indexes = Vec::new();
    for (vector, indexed) in indexed_from(collection, options)? {
        if shard.tail_rows < indexed.least {
            continue;
        }
        let model = model_for(&vector, shard.tail_rows, indexed.codes, None, &shard.segments)?;
        indexes.extend(model.map(|(model_of, model)| FoldIndex { vector, indexed, model_of, model }));
    }
    Ok(indexes)
}

/// What an index is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Searches have none, or miss rows by the one they have, or take several times as long, or it is not as the user wants it.
    Need,
    /// Searches look at more than they would have to.
    Refinement,
}

/// The index that is due first for this purpose and not left aside, if any. Where nothing was written for long, segments too small for
/// one get it too if another has one: whoever comes with nothing here would have to read all their vectors.
pub fn index_due(
    purpose: Purpose,
    collection: &Collection,
    shard: &Shard,
    rested: Duration,
    aside: &Aside,
    options: &CompactOptions,
) -> Result<Option<IndexTask>> {
    let mergeable = aside.without(&Kind::Merge, shard);
    let merging = merge_due(&mergeable, rested, &options.of(collection)).unwrap_or_default();
    for (name, Indexed { least, codes }) in indexed_from(collection, options)? {
        let Some(vector) = collection.config.params.vectors.get(&name) else { continue };
        let least = match is_at_rest(rested, options) && has_index(&name, shard)? {
            true => least.min(options.index_rows),
            false => least,
        };
        let kind = Kind::Index(name.clone());
        let waits = |segment| merging.contains(&segment) || aside.has(&kind, segment);
        for entry in shard.segments.iter().filter(|entry| !waits(entry.id)) {
            let meta = SegmentMeta::from_entry(entry)?;
            let rows = meta.part(&PartKind::Vector(name.clone())).map_or(0, |part| part.entries);
            let model = meta.part(&PartKind::Model(name.clone()));
            let index = meta.part(&PartKind::VectorIndex(name.clone()));
            let due = match (model, index) {
                (Some(model), Some(index)) => {
                    purpose_instead(&model.model_header()?, &index.index_shape()?, codes)
                }
                _ => Some(Purpose::Need),
            };
            if rows >= least && due == Some(purpose) {
                return Ok(Some(IndexTask {
                    segment: entry.id,
                    distance: vector.distance,
                    on_disk: vector.on_disk == Some(true),
                    codes,
                    threads: threads(collection, vector),
                    model: model_for(&name, rows, codes, index.and(model), &shard.segments)?,
                    replaces: index.cloned(),
                    vector: name,
                }));
            }
        }
    }
    Ok(None)
}

/// Whether an index that was planned is still of use: its segment is there with the index that it had, and its vectors are to have one,
/// coded as planned.
pub fn is_index_wanted(
    task: &IndexTask,
    collection: &Collection,
    shard: &Shard,
    options: &CompactOptions,
) -> Result<bool> {
    let Some(entry) = shard.segments.iter().find(|entry| entry.id == task.segment) else { return Ok(false) };
    let meta = SegmentMeta::from_entry(entry)?;
    let index = meta.part(&PartKind::VectorIndex(task.vector.clone()));
    let indexed = indexed_from(collection, options)?;
    let codes = indexed.get(&task.vector).map(|indexed| indexed.codes);
    Ok(index == task.replaces.as_ref() && codes == Some(task.codes))
}

/// What another index is due for where there is one, if it is.
fn purpose_instead(model: &ModelHeader, index: &IndexShape, codes: Codes) -> Option<Purpose> {
    let rows = index.rows.into();
    let is_needed = !codes.are_those_of(model, index) || model.has_drifted(index) || model.is_overgrown(rows);
    match is_needed {
        true => Some(Purpose::Need),
        false => (!model.suits(rows)).then_some(Purpose::Refinement),
    }
}

/// Which segments get an index of the vectors of one name, and what kind of index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Those with so many of them.
    pub least: u64,
    /// How they are coded.
    pub codes: Codes,
}

/// The vectors of a collection that get an index.
pub fn indexed_from(collection: &Collection, options: &CompactOptions) -> Result<BTreeMap<String, Indexed>> {
    let Some(threshold) = collection.config.optimizers.indexing_bytes() else { return Ok(BTreeMap::new()) };
    let vectors = collection.config.params.vectors.iter();
    let indexed = |(name, vector): (&String, &VectorParams)| {
        let least = threshold.div_ceil(4 * vector.size.max(1)).max(options.index_rows);
        Ok((name.clone(), Indexed { least, codes: Codes::wanted(collection, vector)? }))
    };
    vectors.filter(|(_, vector)| is_indexed(collection, vector)).map(indexed).collect()
}

/// How many vectors of a shard's segments have an index, deleted ones left out as far as the manifest knows.
pub fn indexed_vectors(shard: &Shard) -> Result<u64> {
    let mut count = 0;
    for entry in &shard.segments {
        let meta = SegmentMeta::from_entry(entry)?;
        let indexes = meta.parts.iter().filter(|part| matches!(part.kind, PartKind::VectorIndex(_)));
        count += indexes.map(|part| part.entries.saturating_sub(entry.deleted.into())).sum::<u64>();
    }
    Ok(count)
}

fn has_index(name: &str, shard: &Shard) -> Result<bool> {
    for entry in &shard.segments {
        if SegmentMeta::from_entry(entry)?.part(&PartKind::VectorIndex(name.to_owned())).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Users turn indexing off by a graph without links.
fn is_indexed(collection: &Collection, vector: &VectorParams) -> bool {
    let links = vector.hnsw.and_then(|hnsw| hnsw.m).or(collection.config.hnsw.m);
    links != Some(0)
}

fn threads(collection: &Collection, vector: &VectorParams) -> usize {
    let own = vector.hnsw.and_then(|hnsw| hnsw.max_indexing_threads);
    own.or(collection.config.hnsw.max_indexing_threads).map_or(0, |threads| threads.min(1024) as usize)
}

/// Threads that a merge may take, all processors if 0: it codes the vectors that have an index, so where these are bounded, as many
/// as the greatest bound says.
pub fn merge_threads(collection: &Collection) -> usize {
    let vectors = collection.config.params.vectors.values();
    let indexed = vectors.filter(|vector| is_indexed(collection, vector));
    let bounds: Vec<usize> = indexed.map(|vector| threads(collection, vector)).collect();
    if bounds.contains(&0) { 0 } else { bounds.into_iter().max().unwrap_or(0) }
}

/// The newest model of the shard that suits so many rows and such codes, but `except`.
fn model_for(
    name: &str,
    rows: u64,
    codes: Codes,
    except: Option<&PartMeta>,
    segments: &[SegmentEntry],
) -> Result<Option<(SegmentId, PartMeta)>> {
    let mut best: Option<(SegmentId, PartMeta)> = None;
    for entry in segments {
        let meta = SegmentMeta::from_entry(entry)?;
        let Some(part) = meta.part(&PartKind::Model(name.to_owned())) else { continue };
        // Names of objects begin with epoch and job, so that later ones are greater.
        let header = part.model_header()?;
        if Some(part) != except
            && header.suits(rows)
            && codes.suit(&header)
            && best.as_ref().is_none_or(|(_, known)| known.object < part.object)
        {
            best = Some((entry.id, part.clone()));
        }
    }
    Ok(best)
}

/// A segment that names this part.
pub fn segment_of<'a>(part: &PartMeta, shard: &'a Shard) -> Result<Option<&'a SegmentEntry>> {
    for entry in &shard.segments {
        if SegmentMeta::from_entry(entry)?.parts.contains(part) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lodestone_index::dense::{self, BuildOptions, Calibration, Model, TrainOptions, build};
    use lodestone_kernels::LevelBits;
    use lodestone_manifest::CollectionId;
    use lodestone_segment::{ObjectWriter, Row, RowTag, SegmentSchema, SegmentWriter, VectorSpec};
    use lodestone_types::{CollectionConfig, Datatype, HnswConfig, OptimizersConfig, PointId};

    use super::*;

    const DIM: usize = 8;

    fn collection() -> Collection {
        let vector = VectorParams::new(DIM as u64, Distance::Euclid);
        let config = CollectionConfig {
            optimizers: OptimizersConfig { indexing_threshold: Some(10), ..Default::default() },
            ..CollectionConfig::new([(String::new(), vector)].into())
        };
        Collection {
            id: CollectionId(1),
            name: "c".into(),
            config: config.into(),
            fields: Default::default(),
        }
    }

    #[test]
    fn a_merge_takes_as_many_threads_as_the_vectors_that_it_codes() {
        let bound = |threads| HnswConfig { max_indexing_threads: threads, ..HnswConfig::default() };
        let threads = |of_collection, of_vector, m| {
            let mut collection = collection();
            let mut config = (*collection.config).clone();
            config.hnsw = bound(of_collection);
            let hnsw = Some(HnswConfig { m, ..bound(of_vector) });
            let other = VectorParams { hnsw, ..VectorParams::new(DIM as u64, Distance::Dot) };
            config.params.vectors.insert("other".into(), other);
            collection.config = config.into();
            merge_threads(&collection)
        };
        assert_eq!((threads(None, None, None), threads(Some(2), None, None)), (0, 2));
        assert_eq!((threads(Some(2), Some(3), None), threads(Some(2), Some(1), None)), (3, 2));
        assert_eq!((threads(None, Some(3), None), threads(Some(2), Some(0), None)), (0, 0));
        assert_eq!(threads(Some(2), Some(3), Some(0)), 2, "what has no index is not coded");
    }

    fn vector(i: usize, scale: f32) -> Vec<f32> {
        (0..DIM).map(|j| scale * (((i * 31 + j * 7 + 1) * 2_654_435_761) % 1000) as f32).collect()
    }

    /// A segment without an index.
    fn segment(id: u64, rows: usize) -> SegmentMeta {
        let spec = VectorSpec { dim: DIM as u32, datatype: Datatype::Float32 };
        let schema = SegmentSchema { vectors: [(String::new(), spec)].into(), fields: Default::default() };
        let mut writer = SegmentWriter::new(&schema).unwrap();
        for i in 0..rows {
            let bytes: Vec<u8> = vector(i, 1.0).iter().flat_map(|x| x.to_le_bytes()).collect();
            let vectors = [("", &bytes[..])];
            let row = Row { id: PointId::Num(i as u64), lsn: 1, vectors: &vectors, payload_json: b"" };
            writer.push(row).unwrap();
        }
        writer.finish(format!("s{id}"), SegmentId(id)).unwrap().1
    }

    /// A model for so many rows.
    fn model(rows: usize) -> Model {
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(&vector(i, 1.0));
        let options = TrainOptions {
            distance: dense::Distance::Euclid,
            list_rows: 50,
            sample_rows: 10_000,
            level_bits: LevelBits::Four,
            seed: 1,
        };
        let mut model = Model::train(DIM, rows, &row, options);
        model.note_spread(&build(&model, rows, &row, &|row| row, BuildOptions { spill: true }));
        model
    }

    /// `meta` with an index of such a model, of rows that are `scale` times as large as the model's.
    fn indexed(meta: &SegmentMeta, model: &Model, object: &str, scale: f32) -> SegmentMeta {
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(&vector(i, scale));
        let index = build(model, meta.rows as usize, &row, &|row| row, BuildOptions { spill: true });
        let mut object = ObjectWriter::new(object);
        let part = object.add_model("", model).unwrap();
        let tag = |row| RowTag { row, slot: 0, checksum: 0, lsn: 1, id: PointId::Num(row.into()) };
        let tags = (0..meta.rows).map(tag).collect();
        let index = object.add_vector_index("", index, &part, &tags).unwrap();
        meta.with_part(part).with_index(&index)
    }

    fn due(segments: &[SegmentMeta]) -> Option<(SegmentId, Option<SegmentId>)> {
        due_after(Duration::ZERO, segments)
    }

    fn due_after(rested: Duration, segments: &[SegmentMeta]) -> Option<(SegmentId, Option<SegmentId>)> {
        let segments = segments.iter().map(|meta| meta.to_entry(0).unwrap()).collect();
        let shard = Shard { segments, ..Shard::default() };
        let of = |purpose| {
            let options = CompactOptions::default();
            index_due(purpose, &collection(), &shard, rested, &Aside::default(), &options).unwrap()
        };
        let task = of(Purpose::Need).or_else(|| of(Purpose::Refinement))?;
        Some((task.segment, task.model.map(|(of, _)| of)))
    }

    #[test]
    fn segments_that_are_too_large_to_be_merged_get_an_index() {
        let mut collection = collection();
        let options = CompactOptions { merge_fan_in: 2, fold_segment_bytes: 1, ..CompactOptions::default() };
        let due = |collection: &Collection| {
            let segments = [1, 2].map(|id| segment(id, 320).to_entry(0).unwrap()).into_iter().collect();
            let shard = Shard { segments, ..Shard::default() };
            index_due(Purpose::Need, collection, &shard, Duration::ZERO, &Aside::default(), &options)
                .unwrap()
                .map(|task| task.segment)
        };
        assert_eq!(due(&collection), None, "they are about to be merged");
        let config = CollectionConfig::clone(&collection.config);
        let optimizers = OptimizersConfig { max_segment_size: Some(1), ..config.optimizers };
        collection.config = CollectionConfig { optimizers, ..config }.into();
        assert_eq!(due(&collection), Some(SegmentId(1)));
    }

    #[test]
    fn what_is_left_aside_gets_no_index_and_what_is_not_merged_does() {
        let options = CompactOptions { merge_fan_in: 2, ..CompactOptions::default() };
        let due = |ids: &[u64], aside: &[(Kind, u64)]| {
            let segments = ids.iter().map(|id| segment(*id, 320).to_entry(0).unwrap()).collect();
            let shard = Shard { segments, ..Shard::default() };
            let aside = aside.iter().map(|(kind, id)| (kind.clone(), SegmentId(*id))).collect();
            let task =
                index_due(Purpose::Need, &collection(), &shard, Duration::ZERO, &aside, &options).unwrap();
            task.map(|task| task.segment.0)
        };
        let index = |name: &str| Kind::Index(name.to_owned());
        assert_eq!(due(&[1], &[]), Some(1));
        assert_eq!(due(&[1], &[(index(""), 1)]), None);
        assert_eq!(due(&[1], &[(index("other"), 1), (Kind::Order, 1)]), Some(1));
        assert_eq!(due(&[1, 2], &[]), None, "they are about to be merged");
        assert_eq!(due(&[1, 2], &[(Kind::Merge, 1)]), Some(1));
        assert_eq!(due(&[1, 2], &[(Kind::Merge, 1), (index(""), 1)]), Some(2));
    }

    #[test]
    fn segments_without_an_index_get_one_from_a_number_of_rows_on() {
        // 10 KiB of eight components.
        assert_eq!(due(&[segment(1, 319)]), None);
        assert_eq!(due(&[segment(1, 320)]), Some((SegmentId(1), None)));
    }

    #[test]
    fn at_rest_small_segments_get_an_index_beside_others_that_have_one() {
        let rested = CompactOptions::default().idle;
        let large = indexed(&segment(1, 9000), &model(9000), "parts/1", 1.0);
        assert_eq!(due(&[large.clone(), segment(2, 300)]), None);
        assert_eq!(due_after(rested, &[large.clone(), segment(2, 300)]), Some((SegmentId(2), None)));
        assert_eq!(due_after(rested, &[large, segment(2, 255)]), None, "of no use");
        assert_eq!(due_after(rested, &[segment(2, 300)]), None, "as users want it");
    }

    #[test]
    fn the_newest_model_that_suits_is_shared() {
        let old = indexed(&segment(1, 1000), &model(1000), "parts/1", 1.0);
        let new = indexed(&segment(2, 900), &model(900), "parts/2", 1.0);
        let large = indexed(&segment(3, 6000), &model(6000), "parts/3", 1.0);
        let segments = |rows| [large.clone(), new.clone(), old.clone(), segment(4, rows)];
        assert_eq!(due(&segments(400)), Some((SegmentId(4), Some(SegmentId(3)))));
        assert_eq!(due(&segments(320)), Some((SegmentId(4), Some(SegmentId(2)))), "6000 is too many for 320");
        assert_eq!(due(&segments(3800)), Some((SegmentId(4), Some(SegmentId(3)))));
        assert_eq!(due(&[new, old, segment(4, 3800)]), Some((SegmentId(4), Some(SegmentId(1)))));
    }

    #[test]
    fn a_fold_indexes_by_a_model_that_suits_its_rows() {
        let large = indexed(&segment(1, 2000), &model(2000), "parts/1", 1.0);
        let planned = |segments: &[SegmentMeta], tail_rows| {
            let segments = segments.iter().map(|meta| meta.to_entry(0).unwrap()).collect();
            let shard = Shard { segments, tail_rows, ..Shard::default() };
            let indexes = fold_indexes(&collection(), &shard, &CompactOptions::default()).unwrap();
            indexes.into_iter().map(|index| (index.vector, index.model_of.0)).collect::<Vec<_>>()
        };
        let by_first = vec![(String::new(), 1)];
        assert_eq!(planned(std::slice::from_ref(&large), 320), by_first);
        assert_eq!(planned(std::slice::from_ref(&large), 319), [], "as many as an index is made for");
        assert_eq!(planned(std::slice::from_ref(&large), 8001), [], "the model is too small");
        assert_eq!(planned(&[segment(2, 2000)], 2000), [], "nobody has a model");
        assert_eq!(planned(&[segment(2, 2000), large], 2000), by_first);
    }

    #[test]
    fn an_index_of_other_codes_than_those_wanted_is_made_anew() {
        let segments = [
            indexed(&segment(1, 1000), &model(1000), "parts/1", 1.0).to_entry(0).unwrap(),
            segment(2, 400).to_entry(0).unwrap(),
        ];
        let shard = Shard { segments: segments.into(), ..Shard::default() };
        let due = |collection: &Collection| {
            let task = index_due(
                Purpose::Need,
                collection,
                &shard,
                Duration::ZERO,
                &Aside::default(),
                &CompactOptions::default(),
            )
            .unwrap()
            .unwrap();
            let Codes { level_bits, small, signs_alone } = task.codes;
            (task.segment, task.model.is_some(), level_bits, (small, signs_alone))
        };
        let mut changed = collection();
        assert_eq!(due(&changed), (SegmentId(2), true, LevelBits::Four, (false, false)));
        Arc::make_mut(&mut changed.config).quantization = Some(r#"{"scalar":{"type":"int8"}}"#.into());
        assert_eq!(due(&changed), (SegmentId(1), false, LevelBits::Eight, (false, false)));
        vector_settings(&mut changed, Some(r#"{"binary":{}}"#), None);
        assert_eq!(due(&changed), (SegmentId(1), false, LevelBits::Four, (true, true)));
        vector_settings(&mut changed, Some("\"Disabled\""), Some(true));
        assert_eq!(due(&changed), (SegmentId(1), false, LevelBits::Four, (true, false)));
        vector_settings(&mut changed, Some("\"Disabled\""), Some(false));
        assert_eq!(due(&changed).0, SegmentId(2), "as it was");
    }

    #[test]
    fn finer_codes_than_were_asked_for_stay_where_the_build_chose_them() {
        let mut finer = model(1000).with_level_bits(LevelBits::Eight);
        finer.note_calibration(Calibration { lists: 2, keep: 4, candidates: 2, finer: true });
        let segments = [
            indexed(&segment(1, 1000), &finer, "parts/1", 1.0).to_entry(0).unwrap(),
            segment(2, 400).to_entry(0).unwrap(),
        ];
        let shard = Shard { segments: segments.into(), tail_rows: 400, ..Shard::default() };
        let options = CompactOptions::default();
        let due = |collection: &Collection| {
            let task =
                index_due(Purpose::Need, collection, &shard, Duration::ZERO, &Aside::default(), &options)
                    .unwrap()
                    .unwrap();
            (task.segment, task.model.map(|(of, _)| of))
        };
        let mut asked = collection();
        assert_eq!(due(&asked), (SegmentId(2), Some(SegmentId(1))), "as good as those that were asked for");
        assert_eq!(fold_indexes(&asked, &shard, &options).unwrap().len(), 1);
        Arc::make_mut(&mut asked.config).quantization = Some(r#"{"scalar":{"type":"int8"}}"#.into());
        assert_eq!(due(&asked), (SegmentId(1), None), "whoever asks for them wants them without more effort");
    }

    fn vector_settings(collection: &mut Collection, quantization: Option<&str>, on_disk: Option<bool>) {
        let vector = Arc::make_mut(&mut collection.config).params.vectors.get_mut("").unwrap();
        (vector.quantization, vector.on_disk) = (quantization.map(str::to_owned), on_disk);
    }

    #[test]
    fn what_only_makes_searches_quicker_is_due_apart() {
        let due = |segments: &[SegmentMeta]| {
            let segments = segments.iter().map(|meta| meta.to_entry(0).unwrap()).collect();
            let shard = Shard { segments, ..Shard::default() };
            [Purpose::Need, Purpose::Refinement].map(|purpose| {
                let (aside, options) = (Aside::default(), CompactOptions::default());
                let task = index_due(purpose, &collection(), &shard, Duration::ZERO, &aside, &options);
                task.unwrap().map(|task| task.segment.0)
            })
        };
        let of_few = indexed(&segment(1, 320), &model(6000), "parts/1", 1.0);
        assert_eq!(due(std::slice::from_ref(&of_few)), [None, Some(1)], "most of its lists are empty");
        assert_eq!(due(&[of_few.clone(), segment(2, 320)]), [Some(2), Some(1)], "it has none");
        let drifted = indexed(&segment(2, 320), &model(320), "parts/2", 1.5);
        assert_eq!(due(&[of_few, drifted]), [Some(2), Some(1)], "it may miss some");
        let mut small = model(100);
        let row = |i: usize, out: &mut [f32]| out.copy_from_slice(&vector(i, 1.0));
        small.note_spread(&build(&small, 1_601, &row, &|row| row, BuildOptions { spill: true }));
        let grown = |rows| indexed(&segment(3, rows), &small, "parts/3", 1.0);
        assert_eq!(due(&[grown(1_600)]), [None, Some(3)]);
        assert_eq!(due(&[grown(1_601)]), [Some(3), None], "it takes too long");
    }

    #[test]
    fn an_index_is_wanted_as_long_as_its_segment_is_as_it_was() {
        let (options, rows) = (CompactOptions::default(), segment(1, 2000));
        let shard = |segments: &[SegmentMeta]| {
            let segments = segments.iter().map(|meta| meta.to_entry(0).unwrap()).collect();
            Shard { segments, ..Shard::default() }
        };
        let planned = |segments: &[SegmentMeta]| {
            let aside = Aside::default();
            [Purpose::Need, Purpose::Refinement]
                .into_iter()
                .find_map(|of| {
                    index_due(of, &collection(), &shard(segments), Duration::ZERO, &aside, &options).unwrap()
                })
                .unwrap()
        };
        let wanted = |task: &IndexTask, collection: &Collection, segments: &[SegmentMeta]| {
            is_index_wanted(task, collection, &shard(segments), &options).unwrap()
        };
        let old = indexed(&rows, &model(499), "parts/1", 1.0);
        let new = indexed(&rows, &model(2000), "parts/2", 1.0);
        let (first, another) = (planned(std::slice::from_ref(&rows)), planned(std::slice::from_ref(&old)));
        let beside = segment(2, 10);
        for (task, segment) in [(&first, &rows), (&another, &old)] {
            assert!(wanted(task, &collection(), &[beside.clone(), segment.clone()]));
            assert!(!wanted(task, &collection(), std::slice::from_ref(&beside)), "its segment is gone");
            assert!(!wanted(task, &collection(), std::slice::from_ref(&new)), "another was quicker");
            let mut changed = collection();
            Arc::make_mut(&mut changed.config).quantization = Some(r#"{"scalar":{"type":"int8"}}"#.into());
            assert!(!wanted(task, &changed, std::slice::from_ref(segment)), "of other codes");
            let hnsw = Some(HnswConfig { m: Some(0), ..HnswConfig::default() });
            let mut changed = collection();
            Arc::make_mut(&mut changed.config).params.vectors.get_mut("").unwrap().hnsw = hnsw;
            assert!(!wanted(task, &changed, std::slice::from_ref(segment)), "of no vectors that are indexed");
        }
    }

    #[test]
    fn an_index_whose_model_does_not_suit_is_made_anew() {
        let rows = segment(1, 2000);
        assert_eq!(due(&[indexed(&rows, &model(2000), "parts/1", 1.0)]), None);
        assert_eq!(due(&[indexed(&rows, &model(500), "parts/1", 1.0)]), None);
        assert_eq!(due(&[indexed(&rows, &model(499), "parts/1", 1.0)]), Some((SegmentId(1), None)));
        let drifted = indexed(&rows, &model(2000), "parts/1", 1.5);
        assert_eq!(due(std::slice::from_ref(&drifted)), Some((SegmentId(1), None)));
        let other = indexed(&segment(2, 2000), &model(2000), "parts/2", 1.0);
        assert_eq!(
            due(&[drifted, other]),
            Some((SegmentId(1), Some(SegmentId(2)))),
            "a newer one is tried first"
        );
    }
}
