//! How many bytes a second each kernel gets through, with each instruction set that the processor has, on one thread: from memory,
//! from data that stays in the processor's cache, and beside both what the machine reads there if bytes are only added up.
//!
//! `--dim N` components, `--memory MIB`, `--cache KIB`, `--seconds S` for each figure; `--json` prints a line of JSON for each
//! figure in place of the table. A figure is the median of passes over all of the data, but what the machine reads is the best of them.
//!
//! The product of matrices is bounded by arithmetic: there a row's bytes count once for each of the 256 centroids that it is compared
//! with, as if each were read for itself.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use lodestone_kernels::{
    BLOCK_ROWS, Centroids, Element, Estimate, Isa, LEVEL_DIM_STEP, LevelBits, LevelQuery, Metric, Scorer,
    SignQuery, block_bytes, empty_block, encode, put_row,
};

type Failure = Box<dyn std::error::Error>;

/// Centroids of the product.
const CENTROIDS: usize = 256;

struct Options {
    dim: usize,
    memory: usize,
    cache: usize,
    time: Duration,
    json: bool,
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let time = Duration::from_millis(200);
        let mut options = Self { dim: 768, memory: 256 << 20, cache: 256 << 10, time, json: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--json" {
                options.json = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
            match &*name {
                "--dim" => options.dim = value.parse()?,
                "--memory" => options.memory = value.parse::<usize>()? << 20,
                "--cache" => options.cache = value.parse::<usize>()? << 10,
                "--seconds" => options.time = Duration::try_from_secs_f64(value.parse()?)?,
                _ => return Err(format!("{name} is no option; read the head of the example").into()),
            }
        }
        if options.dim == 0 || !options.dim.is_multiple_of(LEVEL_DIM_STEP) {
            return Err(format!("--dim must be a multiple of {LEVEL_DIM_STEP}").into());
        }
        Ok(options)
    }
}

/// Reads all of the data once.
type Pass<'a> = Box<dyn FnMut() + 'a>;

/// GB/s by instruction set.
type Figures = BTreeMap<String, f64>;

struct Row {
    place: &'static str,
    kernel: String,
    figures: Figures,
}

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let mut rows = Vec::new();
    for (place, bytes) in [("memory", options.memory), ("cache", options.cache)] {
        let measured = measure(&options, bytes).into_iter();
        rows.extend(measured.map(|(kernel, figures)| Row { place, kernel, figures }));
    }
    if options.json {
        print_lines(&rows, options.dim);
    } else {
        print_table(&rows, options.dim);
    }
    Ok(())
}

/// Every kernel on about so many bytes.
fn measure(options: &Options, bytes: usize) -> Vec<(String, Figures)> {
    let (dim, time) = (options.dim, options.time);
    let before = reading(bytes, time);
    let mut measured = Vec::new();
    for element in [Element::F32, Element::F16, Element::U8] {
        let rows = stored(element, dim, bytes);
        for metric in [Metric::Dot, Metric::Euclid, Metric::Manhattan] {
            let with = |isa| scoring(isa, metric, element, dim, &rows);
            let name = format!("{metric:?} {element:?}").to_lowercase();
            measured.push((name, of_each(rows.len(), time, with)));
        }
    }
    let blocks = sign_codes(dim, bytes);
    let name = "sign codes".to_owned();
    measured.push((name, of_each(blocks.len(), time, |isa| scanning(isa, dim, &blocks))));
    for bits in [LevelBits::Four, LevelBits::Eight] {
        let code = bits.code_bytes(dim);
        let codes = noise((bytes / code).max(1) * code);
        let name = format!("level codes of {} bits", bits.bits());
        measured.push((name, of_each(codes.len(), time, |isa| comparing(isa, bits, dim, &codes))));
    }
    // It takes a hundred times as long as the others, and less of the data says as much.
    let rows = floats((bytes / 64 / dim).max(6) * dim);
    let name = format!("product with {CENTROIDS}");
    let compared = CENTROIDS * 4 * rows.len();
    measured.push((name, of_each(compared, time, |isa| multiplying(isa, dim, &rows))));
    let machine = Figures::from([("machine".to_owned(), before.max(reading(bytes, time)))]);
    measured.insert(0, ("read".to_owned(), machine));
    measured
}

fn of_each<'a>(bytes: usize, time: Duration, with: impl Fn(Isa) -> Option<Pass<'a>>) -> Figures {
    let passes = Isa::available().into_iter().filter_map(|isa| Some((format!("{isa:?}"), with(isa)?)));
    passes.map(|(isa, mut pass)| (isa, gigabytes(bytes, time, &mut pass))).collect()
}

/// Of the median of passes over so many bytes.
fn gigabytes(bytes: usize, time: Duration, pass: &mut dyn FnMut()) -> f64 {
    let took = passes(time, pass);
    bytes as f64 / took[took.len() / 2].as_secs_f64() / 1e9
}

/// What passes took, the shortest first.
fn passes(time: Duration, pass: &mut dyn FnMut()) -> Vec<Duration> {
    pass();
    let (begun, mut took) = (Instant::now(), Vec::new());
    while took.len() < 3 || begun.elapsed() < time {
        let begun = Instant::now();
        pass();
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took
}

fn print_lines(rows: &[Row], dim: usize) {
    for Row { place, kernel, figures } in rows {
        for (isa, figure) in figures {
            println!(
                r#"{{"bench": "bandwidth", "data": "{place}", "kernel": "{kernel}", "dim": {dim}, "isa": "{isa}", "gb_per_s": {figure:.2}}}"#
            );
        }
    }
}

fn print_table(rows: &[Row], dim: usize) {
    let isas = Isa::available();
    println!(
        "GB/s on one thread, {dim} components. The last column: the best as a share of what the machine reads.\n"
    );
    print!("| data | kernel |");
    isas.iter().for_each(|isa| print!(" {isa:?} |"));
    println!(" of read |\n| --- | --- |{} --- |", " --- |".repeat(isas.len()));
    let mut read = f64::NAN;
    for Row { place, kernel, figures } in rows {
        if let Some(machine) = figures.get("machine") {
            read = *machine;
            println!("| {place} | the machine reads |{} {read:.1} |", " |".repeat(isas.len()));
            continue;
        }
        print!("| {place} | {kernel} |");
        let mut best: f64 = 0.0;
        for isa in &isas {
            let figure = figures[&format!("{isa:?}")];
            best = best.max(figure);
            print!(" {figure:.1} |");
        }
        println!(" {:.0} % |", 100.0 * best / read);
    }
}

fn reading(bytes: usize, time: Duration) -> f64 {
    let data = noise(bytes.next_multiple_of(256));
    let mut pass = || {
        black_box(sum(black_box(&data)));
    };
    data.len() as f64 / passes(time, &mut pass)[0].as_secs_f64() / 1e9
}

/// The sum of all bytes as numbers of 64 bits.
fn sum(data: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // Wider instructions read no faster, and the compiler makes poor use of them here.
        #[target_feature(enable = "avx2")]
        fn avx2(data: &[u8]) -> u64 {
            plain_sum(data)
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { avx2(data) };
        }
    }
    plain_sum(data)
}

#[inline(always)]
fn plain_sum(data: &[u8]) -> u64 {
    let mut sums = [0u64; 32];
    for piece in data.as_chunks::<256>().0 {
        let numbers = piece.as_chunks::<8>().0;
        for i in 0..sums.len() {
            sums[i] = sums[i].wrapping_add(u64::from_ne_bytes(numbers[i]));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn scoring(isa: Isa, metric: Metric, element: Element, dim: usize, rows: &[u8]) -> Option<Pass<'_>> {
    let scorer = Scorer::with_isa(isa, &floats(dim), metric, element)?;
    let mut scores = vec![0.0; rows.len() / scorer.row_bytes()];
    Some(Box::new(move || {
        scorer.score_block(rows, &mut scores);
        black_box(&scores);
    }))
}

/// Finds nothing, as for nearly all rows of a search.
fn scanning(isa: Isa, dim: usize, blocks: &[u8]) -> Option<Pass<'_>> {
    let mut query = SignQuery::with_isa(isa, dim)?;
    query.set(&floats(dim));
    let mut found: Vec<Estimate> = Vec::new();
    Some(Box::new(move || {
        query.scan(blocks, blocks, 0.0, f32::NEG_INFINITY, &mut found);
        black_box(&found);
    }))
}

fn comparing(isa: Isa, bits: LevelBits, dim: usize, codes: &[u8]) -> Option<Pass<'_>> {
    let mut query = LevelQuery::with_isa(isa, dim, bits)?;
    query.set(&floats(dim));
    Some(Box::new(move || {
        let products = codes.chunks_exact(bits.code_bytes(dim)).map(|code| query.product(code));
        black_box(products.fold(f32::INFINITY, f32::min));
    }))
}

fn multiplying(isa: Isa, dim: usize, rows: &[f32]) -> Option<Pass<'_>> {
    let centroids = Centroids::with_isa(isa, dim, &floats(CENTROIDS * dim))?;
    Some(Box::new(move || {
        black_box(centroids.nearest(rows));
    }))
}

/// Rows of about so many bytes.
fn stored(element: Element, dim: usize, bytes: usize) -> Vec<u8> {
    let scale = if element == Element::U8 { 255.0 } else { 1.0 };
    let some: Vec<f32> = floats(64 * dim).into_iter().map(|x| x.abs() * scale).collect();
    let mut row = Vec::new();
    encode(element, &some, &mut row);
    let whole = dim * element.bytes();
    row.into_iter().cycle().take((bytes / whole).max(4) * whole).collect()
}

/// Full blocks of about so many bytes.
fn sign_codes(dim: usize, bytes: usize) -> Vec<u8> {
    let mut block = empty_block(dim);
    for (row, vector) in floats(BLOCK_ROWS * dim).chunks(dim).enumerate() {
        put_row(&mut block, row, vector, 1.0, -0.5, row as u32);
    }
    block.repeat((bytes / block_bytes(dim)).max(1))
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Repeatable numbers between -1 and 1.
fn floats(count: usize) -> Vec<f32> {
    let number = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..count as u64).map(number).collect()
}
