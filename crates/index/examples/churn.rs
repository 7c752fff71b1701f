//! A fifth of the rows replaced, fifty times over, by merging: is the index as good afterwards as a new one?
//!
//! `--rows N`, `--generations N`, `--replaced SHARE`, `--ef N` (as `hnsw_ef`), `--keep-model` (never train another one);
//! rows are generated, `--dim N` components for `--distance euclid|dot`, and move by `--drift WIDTHS` with each
//! generation; or they come from `--vectors FILE.npy` in the order of the file, or `--shuffled`, over and over, and
//! `--queries FILE.npy`.

#[path = "../tests/churning/mod.rs"]
mod churning;
#[path = "../tests/vectors/mod.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::time::Instant;

use churning::{Churn, Settings, Source, drifting};
use lodestone_index::dense::{Distance, Effort};
use lodestone_kernels::{Element, decode, normalize};

type Failure = Box<dyn std::error::Error>;

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let mut named = BTreeMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").ok_or_else(|| format!("{name} is no argument"))?.to_owned();
            let is_switch = ["keep-model", "shuffled"].contains(&&*name);
            let value = if is_switch { String::new() } else { arguments.next().ok_or("no value")? };
            named.insert(name, value);
        }
        Ok(Self(named))
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        let Some(value) = self.0.get(name) else { return Ok(default) };
        Ok(value.parse().map_err(|_| format!("--{name} wants a number"))?)
    }
}

/// The rows of a `.npy` file.
struct File {
    bytes: Vec<u8>,
    start: usize,
    element: Element,
    dim: usize,
    distance: Distance,
}

impl File {
    fn open(path: &str, distance: Distance) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8_lossy(&bytes[10..start]);
        let kinds = [("<f4", Element::F32), ("<f2", Element::F16), ("|u1", Element::U8)];
        let kind = kinds.into_iter().find(|(name, _)| header.contains(name));
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
        let dim = shape.and_then(|(shape, _)| shape.split_once(',')).ok_or("no shape")?.1.trim().parse()?;
        let element = kind.ok_or("neither f4, f2 nor u1")?.1;
        Ok(Self { bytes, start, element, dim, distance })
    }

    fn count(&self) -> usize {
        (self.bytes.len() - self.start) / (self.dim * self.element.bytes())
    }

    fn row(&self, i: usize) -> Vec<f32> {
        let (mut row, size) = (Vec::with_capacity(self.dim), self.dim * self.element.bytes());
        decode(self.element, &self.bytes[self.start + i * size..][..size], &mut row);
        if self.distance == Distance::Dot {
            normalize(&mut row);
        }
        row
    }

    /// Its rows over and over, in their order or in one without meaning.
    fn source(self, shuffled: bool) -> Box<Source> {
        let (mut at, count) = (0, self.count());
        Box::new(move |_| {
            at += 1;
            // A prime that the count is no multiple of leads to every row.
            self.row(if shuffled { at * 982_451_653 % count } else { at % count })
        })
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read()?;
    let distance = match arguments.0.get("distance").map(String::as_str) {
        Some("euclid") => Distance::Euclid,
        None | Some("dot") => Distance::Dot,
        Some(other) => return Err(format!("no distance is called {other}").into()),
    };
    let (rows, generations) = (arguments.number("rows", 40_000)?, arguments.number("generations", 50)?);
    let (dim, mut source) = match arguments.0.get("vectors") {
        Some(path) => {
            let file = File::open(path, distance)?;
            (file.dim, file.source(arguments.0.contains_key("shuffled")))
        }
        None => {
            let dim = arguments.number("dim", 384)?;
            (dim, drifting(distance, dim, arguments.number("drift", 0.02)?, 7))
        }
    };
    let queries = arguments.0.get("queries").map(|path| File::open(path, distance)).transpose()?;
    // As the server does for ten answers.
    let lists = 2 * arguments.number("ef", 128)?;
    let effort = Effort { lists, wanted: 10, keep: 150 + lists / 2, candidates: 24 + lists / 16, doubt: 2.0 };
    let replaced = arguments.number("replaced", 0.2)?;
    let retrain = !arguments.0.contains_key("keep-model");
    let settings = Settings { distance, replaced, effort, retrain };
    let mut churn = Churn::new(dim, rows, settings, &mut *source);
    for generation in 1..=generations {
        let begun = Instant::now();
        churn.step(generation, &mut *source);
        let (seconds, spread, trained) = (begun.elapsed().as_secs_f64(), churn.spread(), churn.trained());
        println!("generation {generation}: {seconds:.2} s, spread {spread:.3}, {trained} models so far");
        if generation % 10 == 0 || generation == generations {
            let outcome = churn.outcome(&match &queries {
                Some(file) => (0..file.count()).map(|i| file.row(i)).collect(),
                None => (0..500).map(|_| source(generation)).collect::<Vec<_>>(),
            });
            println!("  recall@10 {:.4}, of a rebuild {:.4}", outcome.churned, outcome.rebuilt);
        }
    }
    Ok(())
}
