//! Lodestone's index as one engine of the benchmark `benches/ann`, which describes the protocol spoken here.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lodestone_index::dense::{
    BuildOptions, Candidate, Distance, Effort, IndexSections, Model, Searcher, Target, TrainOptions,
    VectorIndex, build,
};
use lodestone_kernels::{Element, LevelBits, Metric, Scorer, prefetch};
use lodestone_store::BatchFile;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// What `--set` takes.
const SETTINGS: [&str; 9] =
    ["bits", "candidates", "disk", "doubt", "keep", "levels", "list_rows", "sample_rows", "spill"];
/// Bytes that are read and checked together.
const PAGE: usize = 4096;

/// Rows of one `.npy` file.
struct Rows {
    bytes: Vec<u8>,
    start: usize,
    dim: usize,
    element: Element,
}

impl Rows {
    fn read(path: &str, dim: usize, element: Element) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        Ok(Self { bytes, start, dim, element })
    }

    fn raw(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn count(&self) -> usize {
        self.raw().len() / (self.dim * self.element.bytes())
    }

    fn row(&self, i: usize) -> &[u8] {
        let size = self.dim * self.element.bytes();
        &self.raw()[i * size..(i + 1) * size]
    }

    fn write(&self, i: usize, out: &mut [f32]) {
        match self.element {
            Element::F32 => {
                for (x, bytes) in out.iter_mut().zip(self.row(i).as_chunks().0) {
                    *x = f32::from_le_bytes(*bytes);
                }
            }
            _ => out.iter_mut().zip(self.row(i)).for_each(|(x, byte)| *x = f32::from(*byte)),
        }
    }
}

/// Rows in a file that nobody else has, read and checked as the server does with vectors on disk.
struct OnDisk {
    file: BatchFile,
    pages: Vec<u32>,
    row_bytes: u64,
}

impl OnDisk {
    /// Moves rows there.
    fn of(rows: &mut Rows, folder: &str) -> Result<Self, Failure> {
        let path = format!("{folder}/vectors.{}", std::process::id());
        let mut bytes = rows.raw().to_vec();
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        std::fs::write(&path, &bytes)?;
        let file = BatchFile::open(path.as_ref())?;
        std::fs::remove_file(&path)?;
        rows.bytes = Vec::new();
        let pages = bytes.chunks(PAGE).map(crc32c::crc32c).collect();
        Ok(Self { file, pages, row_bytes: (rows.dim * rows.element.bytes()) as u64 })
    }

    fn read(&self, numbers: &[u32]) -> Vec<u8> {
        let start = |number: &u32| u64::from(*number) * self.row_bytes;
        let ranges: Vec<_> =
            numbers.iter().map(|number| start(number)..start(number) + self.row_bytes).collect();
        let mut rows = Vec::new();
        self.file.read_checked(&ranges, &self.pages, &mut rows).expect("the file is as it was written");
        rows
    }
}

struct Engine {
    folder: String,
    vectors: Rows,
    on_disk: Option<OnDisk>,
    queries: Rows,
    metric: Metric,
    settings: BTreeMap<String, f64>,
    built: Option<(Model, VectorIndex)>,
}

impl Engine {
    fn setting(&self, name: &str, default: f64) -> f64 {
        self.settings.get(name).copied().unwrap_or(default)
    }

    fn build(&mut self) -> Result<Value, Failure> {
        if self.on_disk.is_some() {
            return Err("its vectors are on the disk already".into());
        }
        let begun = Instant::now();
        let distance = if self.metric == Metric::Cosine { Distance::Dot } else { Distance::Euclid };
        let bits = if self.setting("bits", 4.0) == 8.0 { LevelBits::Eight } else { LevelBits::Four };
        let vectors = &self.vectors;
        let row = |i: usize, out: &mut [f32]| vectors.write(i, out);
        let options = TrainOptions {
            distance,
            list_rows: self.setting("list_rows", 100.0) as usize,
            sample_rows: self.setting("sample_rows", 400_000.0) as usize,
            level_bits: bits,
            seed: 1,
        };
        let mut model = Model::train(vectors.dim, vectors.count(), &row, options);
        model.note_signs_alone(self.setting("levels", 1.0) == 0.0);
        eprintln!("trained after {:.2} s: {} lists", begun.elapsed().as_secs_f64(), model.lists());
        let index = build(
            &model,
            vectors.count(),
            &row,
            &|row| row,
            BuildOptions { spill: self.setting("spill", 1.0) != 0.0 },
        );
        let index = if model.header().signs_alone { without_levels(&index) } else { index };
        let in_memory = self.setting("disk", 0.0) == 0.0;
        let bytes = model.bytes() + index.bytes() + if in_memory { vectors.raw().len() } else { 0 };
        eprintln!(
            "built after {:.2} s: {:.1} bytes a row beside the vectors",
            begun.elapsed().as_secs_f64(),
            (model.bytes() + index.bytes()) as f64 / vectors.count() as f64
        );
        self.built = Some((model, index));
        let seconds = begun.elapsed().as_secs_f64();
        if !in_memory {
            self.on_disk = Some(OnDisk::of(&mut self.vectors, &self.folder)?);
        }
        Ok(json!({ "seconds": seconds, "bytes": bytes, "disk_bytes": null }))
    }

    fn search(&self, request: &Value) -> Result<Value, Failure> {
        let number = |name: &str| request[name].as_u64().map(|n| n as usize);
        let (first, count) = (number("first").unwrap_or(0), number("count").ok_or("no count")?);
        let (k, threads) = (number("k").unwrap_or(10), number("threads").unwrap_or(1));
        let lists = number("ef").ok_or("no ef")?;
        let keep = number("keep").unwrap_or(self.setting("keep", 0.0) as usize);
        let candidates = number("candidates").unwrap_or(self.setting("candidates", 0.0) as usize);
        let (model, index) = self.built.as_ref().ok_or("not built")?;
        // As many as in the server, which scans two lists for each unit of effort where few rows are in two.
        let beam = if index.shape().spilled { lists } else { lists / 2 };
        let usual = if model.header().signs_alone { 4 * k + beam / 4 + 8 } else { k + k / 4 + beam / 32 + 4 };
        let effort = Effort {
            lists,
            wanted: k,
            doubt: self.setting("doubt", 2.0) as f32,
            keep: if keep == 0 { 2 * (k + lists) } else { keep },
            candidates: if candidates == 0 { usual } else { candidates },
        };
        let next = AtomicUsize::new(0);
        let results: Vec<std::sync::Mutex<Vec<i64>>> =
            (0..count).map(|_| std::sync::Mutex::default()).collect();
        let barrier = std::sync::Barrier::new(threads + 1);
        let seconds = std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut searcher = Searcher::new(model);
                    let targets = [Target { index, filter: None }];
                    let (mut found, mut query) = (Vec::new(), vec![0.0; self.queries.dim]);
                    barrier.wait();
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= count {
                            break;
                        }
                        self.queries.write(first + i, &mut query);
                        searcher.search(model, &targets, &query, effort, &mut found);
                        let ids = self.rescored(&query, &found, k);
                        *results[i].lock().expect("no thread fails") = ids;
                    }
                    barrier.wait();
                });
            }
            barrier.wait();
            let begun = Instant::now();
            barrier.wait();
            begun.elapsed().as_secs_f64()
        });
        let ids: Vec<i64> =
            results.into_iter().flat_map(|ids| ids.into_inner().expect("no thread fails")).collect();
        Ok(json!({ "seconds": seconds, "ids": ids }))
    }

    fn rescored(&self, query: &[f32], found: &[Candidate], k: usize) -> Vec<i64> {
        let scorer = Scorer::new(query, self.metric, self.vectors.element);
        let numbers: Vec<u32> = found.iter().map(|candidate| candidate.row).collect();
        let mut scores = vec![0.0; numbers.len()];
        match &self.on_disk {
            Some(disk) => scorer.score_block(&disk.read(&numbers), &mut scores),
            None => {
                numbers.iter().take(4).for_each(|row| prefetch(self.vectors.row(*row as usize)));
                scorer.score_numbered(self.vectors.raw(), &numbers, &mut scores);
            }
        }
        let nearness = |score: f32| if self.metric == Metric::Cosine { -score } else { score };
        let mut scored: Vec<(f32, u32)> = scores.into_iter().map(nearness).zip(numbers).collect();
        let order = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if k < scored.len() {
            scored.select_nth_unstable_by(k, order);
            scored.truncate(k);
        }
        scored.sort_unstable_by(order);
        let mut ids: Vec<i64> = scored.into_iter().map(|(_, row)| i64::from(row)).collect();
        ids.resize(k, -1);
        ids
    }
}

/// The same index as a search by signs alone has it in memory.
fn without_levels(index: &VectorIndex) -> VectorIndex {
    let sections = IndexSections { levels: None, ..index.sections() };
    VectorIndex::open(index.shape(), sections, u32::MAX).expect("what was built can be opened")
}

fn open() -> Result<Engine, Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut folder, mut settings) = (String::new(), BTreeMap::new());
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("an argument lacks its value")?;
        match name.as_str() {
            "--data" => folder = value,
            "--threads" => {
                rayon::ThreadPoolBuilder::new().num_threads(value.parse()?).build_global()?;
            }
            "--set" => {
                let (name, value) = value.split_once('=').ok_or("--set wants NAME=VALUE")?;
                if !SETTINGS.contains(&name) {
                    return Err(
                        format!("no setting is called {name}; there are {}", SETTINGS.join(", ")).into()
                    );
                }
                settings.insert(name.to_owned(), value.parse()?);
            }
            _ => return Err(format!("no argument is called {name}").into()),
        }
    }
    let set: Value = serde_json::from_str(&std::fs::read_to_string(format!("{folder}/set.json"))?)?;
    let dim = set["dim"].as_u64().ok_or("set.json lacks dim")? as usize;
    let element = if set["dtype"] == "u8" { Element::U8 } else { Element::F32 };
    let metric = if set["metric"] == "cosine" { Metric::Cosine } else { Metric::Euclid };
    Ok(Engine {
        vectors: Rows::read(&format!("{folder}/vectors.npy"), dim, element)?,
        queries: Rows::read(&format!("{folder}/queries.npy"), dim, element)?,
        metric,
        folder,
        on_disk: None,
        settings,
        built: None,
    })
}

fn main() -> Result<(), Failure> {
    let mut engine = open()?;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let reply = match request["op"].as_str() {
            Some("hello") => json!({ "engine": "lodestone", "settings": engine.settings }),
            Some("build") => engine.build().unwrap_or_else(|e| json!({ "error": e.to_string() })),
            Some("search") => engine.search(&request).unwrap_or_else(|e| json!({ "error": e.to_string() })),
            Some("quit") => return Ok(()),
            _ => json!({ "error": "no such operation" }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}
