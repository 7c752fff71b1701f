//! Every instruction set the processor has gives what plain `f64` arithmetic gives, within the bound that
//! the crate states, for every length, alignment and place in a block.

use lodestone_kernels::{Element, Isa, Metric, Scorer, decode, encode, prepare};
use proptest::prelude::*;

const METRICS: [Metric; 4] = [Metric::Dot, Metric::Cosine, Metric::Euclid, Metric::Manhattan];
const ELEMENTS: [Element; 3] = [Element::F32, Element::F16, Element::U8];

/// What storage keeps of a vector.
fn stored(metric: Metric, element: Element, vector: &[f32]) -> Vec<f64> {
    let (mut vector, mut row, mut back) = (vector.to_vec(), Vec::new(), Vec::new());
    prepare(metric, element, &mut vector);
    encode(element, &vector, &mut row);
    decode(element, &row, &mut back);
    back.into_iter().map(f64::from).collect()
}

/// The score in `f64`, and how far from it an answer may be.
fn expected(metric: Metric, element: Element, query: &[f32], row: &[f32]) -> (f64, f64) {
    let (q, r) = (stored(metric, element, query), stored(metric, element, row));
    let pairs = || q.iter().zip(&r);
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let unit = 2f64.powi(-24);
    let relative = if element == Element::U8 { 0.0 } else { (q.len() + 3) as f64 * unit };
    let (score, slack) = match metric {
        Metric::Cosine if element == Element::U8 => {
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
            let length = (norm(&q) * norm(&r)).sqrt();
            (if length == 0.0 { 0.0 } else { dot / length }, 0.0)
        }
        Metric::Dot | Metric::Cosine => (dot, pairs().map(|(a, b)| (a * b).abs()).sum::<f64>() * relative),
        Metric::Euclid => {
            let length = pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            (length, length * relative)
        }
        Metric::Manhattan => {
            let length = pairs().map(|(a, b)| (a - b).abs()).sum::<f64>();
            (length, length * relative)
        }
    };
    // The last rounding, and what underflow may take.
    (score, slack + score.abs() * unit + f64::from(f32::MIN_POSITIVE))
}

fn check(dim: usize, values: &[f32], shift: usize) -> Result<(), TestCaseError> {
    const ROWS: usize = 7;
    let take =
        |n: usize| -> Vec<f32> { (0..dim).map(|i| values[(n * 131 + i * 7) % values.len()]).collect() };
    let query = take(0);
    let rows: Vec<Vec<f32>> = (1..=ROWS).map(take).collect();
    for metric in METRICS {
        for element in ELEMENTS {
            let mut bytes = vec![0xa5; shift];
            for row in &rows {
                let mut row = row.clone();
                prepare(metric, element, &mut row);
                encode(element, &row, &mut bytes);
            }
            let bytes = &bytes[shift..];
            for isa in Isa::available() {
                let scorer = Scorer::with_isa(isa, &query, metric, element).unwrap();
                let mut block = [f32::NAN; ROWS];
                scorer.score_block(bytes, &mut block);
                let mut numbered = [f32::NAN; 5];
                scorer.score_numbered(bytes, &[6, 0, 3, 3, 1], &mut numbered);
                prop_assert_eq!(numbered, [block[6], block[0], block[3], block[3], block[1]]);
                for (i, row) in bytes.chunks_exact(scorer.row_bytes()).enumerate() {
                    let alone = scorer.score(row);
                    prop_assert_eq!(alone, block[i], "the place in a block matters: {:?}", scorer);
                    let (want, slack) = expected(metric, element, &query, &rows[i]);
                    prop_assert!(
                        (f64::from(alone) - want).abs() <= slack,
                        "{scorer:?}: {alone} is not {want} +- {slack}"
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn small_numbers(dim in 1usize..=1100, values in prop::collection::vec(-1.0f32..1.0, 700), shift in 0usize..64) {
        check(dim, &values, shift)?;
    }

    #[test]
    fn large_numbers(dim in 1usize..=1100, values in prop::collection::vec(-300.0f32..300.0, 700), shift in 0usize..64) {
        check(dim, &values, shift)?;
    }
}

#[test]
fn every_short_length() {
    let values: Vec<f32> = (0..701).map(|i| ((i * 37) % 511) as f32 / 2.0 - 20.0).collect();
    for dim in 1..=200 {
        check(dim, &values, dim % 64).unwrap();
    }
}

#[test]
fn the_longest_u8_rows_do_not_overflow() {
    let query = vec![255.0; lodestone_kernels::MAX_DIM];
    let row = vec![255u8; query.len()];
    let zeros = vec![0u8; query.len()];
    let square = query.len() as f64 * 255.0 * 255.0;
    for isa in Isa::available() {
        let score = |metric, row: &[u8]| {
            f64::from(Scorer::with_isa(isa, &query, metric, Element::U8).unwrap().score(row))
        };
        assert_eq!(score(Metric::Dot, &row), f64::from(square as f32), "{isa:?}");
        assert_eq!(score(Metric::Cosine, &row), 1.0, "{isa:?}");
        assert_eq!(score(Metric::Cosine, &zeros), 0.0, "{isa:?}");
        assert_eq!(score(Metric::Euclid, &zeros), 65_280.0, "{isa:?}");
        assert_eq!(score(Metric::Manhattan, &zeros), 65_536.0 * 255.0, "{isa:?}");
    }
}

#[test]
fn a_stored_vector_is_at_distance_zero_from_itself() {
    let vector: Vec<f32> = (0..97).map(|i| (i as f32).sin() * 3.0 + 4.0).collect();
    for element in ELEMENTS {
        let mut row = Vec::new();
        encode(element, &vector, &mut row);
        for metric in [Metric::Euclid, Metric::Manhattan] {
            assert_eq!(Scorer::new(&vector, metric, element).score(&row), 0.0);
        }
    }
}
