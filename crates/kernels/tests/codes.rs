//! Codes are compared alike by every instruction set, and as plain arithmetic would within the bounds that the crate
//! states.

use lodestone_kernels::{
    BLOCK_ROWS, Estimate, Isa, LEVEL_DIM_STEP, LevelBits, LevelQuery, SIGN_DIM_STEP, SignQuery, block_bytes,
    block_rows, copy_row, empty_block, pack_levels, put_row, row_mul,
};
use proptest::prelude::*;

/// Repeatable numbers between -1 and 1.
fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

struct SignRow {
    components: Vec<f32>,
    add: f32,
    mul: f32,
}

fn sign_rows(dim: usize, count: usize, seed: u64) -> Vec<SignRow> {
    let mut numbers = numbers(seed);
    let mut row = || SignRow {
        components: numbers.by_ref().take(dim).collect(),
        add: numbers.next().unwrap(),
        mul: -2.0 * numbers.next().unwrap().abs(),
    };
    (0..count).map(|_| row()).collect()
}

/// Row `i` has the place `7 * i + 3`.
fn blocks(dim: usize, rows: &[SignRow]) -> Vec<u8> {
    let mut blocks = Vec::new();
    for (b, some) in rows.chunks(BLOCK_ROWS).enumerate() {
        let mut block = empty_block(dim);
        for (i, row) in some.iter().enumerate() {
            let place = 7 * (b * BLOCK_ROWS + i) as u32 + 3;
            put_row(&mut block, i, &row.components, row.add, row.mul, place);
        }
        blocks.extend(block);
    }
    blocks
}

fn scan(query: &SignQuery, blocks: &[u8], base: f32, limit: f32) -> Vec<Estimate> {
    let mut found = Vec::new();
    query.scan(blocks, blocks, base, limit, &mut found);
    found
}

/// What a row's value is, how far rounding the query's table may take it, and how far rounding of floats may.
fn expected(query: &[f32], row: &SignRow, base: f32) -> (f64, f64, f64) {
    let product: f64 = query
        .iter()
        .zip(&row.components)
        .map(|(q, x)| if *x > 0.0 { f64::from(*q) } else { -f64::from(*q) })
        .sum();
    let reach = |four: &[f32]| four.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    let widest = query.chunks(4).map(reach).fold(0.0, f64::max);
    let (add, mul) = (f64::from(row.add), f64::from(row.mul));
    let table = mul.abs() * widest / 63.0 * query.len() as f64 / 4.0;
    // The sum of the components' sizes is rounded as often as there are fours; the rest a few times.
    let size =
        2.0 * mul.abs() * reach(query) * (query.len() / 4 + 8) as f64 + add.abs() + f64::from(base.abs());
    (mul * product + add + f64::from(base), table, size * 2f64.powi(-23))
}

fn check_signs(dim: usize, count: usize, seed: u64) {
    let rows = sign_rows(dim, count, seed);
    let blocks = blocks(dim, &rows);
    assert_eq!(blocks.len(), count.div_ceil(BLOCK_ROWS) * block_bytes(dim));
    let query: Vec<f32> = numbers(seed + 1).take(dim).collect();
    let base = 0.75;
    let all_of = |isa| {
        let mut signs = SignQuery::with_isa(isa, dim).unwrap();
        signs.set(&query);
        (scan(&signs, &blocks, base, f32::INFINITY), signs)
    };
    let (scalar, _) = all_of(Isa::Scalar);
    for isa in Isa::available() {
        let (all, signs) = all_of(isa);
        let found: Vec<u32> = all.iter().map(|found| found.place).collect();
        assert_eq!(found, (0..count as u32).map(|i| 7 * i + 3).collect::<Vec<_>>(), "{isa:?}, {dim}");
        for ((one, other), row) in all.iter().zip(&scalar).zip(&rows) {
            let (want, table, floats) = expected(&query, row, base);
            let off = |a: f32, b: f64| (f64::from(a) - b).abs();
            assert!(off(one.value, want) <= table + floats, "{isa:?}, {dim}: {} for {want}", one.value);
            assert!(
                off(one.value, f64::from(other.value)) <= floats,
                "{isa:?}, {dim}: {one:?} for {other:?}"
            );
        }
        // Values at the limit are not below it.
        let mut values: Vec<f32> = all.iter().map(|found| found.value).collect();
        values.sort_by(f32::total_cmp);
        for limit in [f32::NEG_INFINITY, values[0], values[count / 2], values[count - 1], f32::NAN] {
            let below: Vec<Estimate> = all.iter().copied().filter(|found| found.value < limit).collect();
            assert_eq!(scan(&signs, &blocks, base, limit), below, "{isa:?}, {dim}, below {limit}");
        }
    }
}

#[test]
fn sign_scans_of_every_length() {
    // Beyond 4,096 components sums no longer fit where they are added up first.
    let lengths = [16, 32, 48, 64, 112, 384, 784, 1008, 1024, 1040, 1536, 2048, 4080, 4096, 4112, 8192];
    for (i, dim) in lengths.into_iter().enumerate() {
        check_signs(dim, 32 + i, dim as u64);
    }
    check_signs(65_536, 3, 1);
}

#[test]
fn blocks_that_are_not_full() {
    for count in 1..=97 {
        check_signs(48, count, count as u64);
    }
}

/// All components agree with their signs, so that every table entry looked up is the greatest.
#[test]
fn the_greatest_sums_do_not_overflow() {
    for dim in [1024, 2048, 4096, 65_536] {
        let row = SignRow { components: vec![1.0; dim], add: 0.0, mul: 1.0 };
        let blocks = blocks(dim, &[row]);
        for isa in Isa::available() {
            let mut signs = SignQuery::with_isa(isa, dim).unwrap();
            signs.set(&vec![0.5; dim]);
            let found = scan(&signs, &blocks, 0.0, f32::INFINITY);
            let want = dim as f32 / 2.0;
            assert!((found[0].value - want).abs() <= 1e-5 * want, "{isa:?}, {dim}: {found:?}");
        }
    }
}

#[test]
fn places_and_factors_are_handed_back() {
    for count in [1, 9, 31, 32] {
        let rows = sign_rows(64, count, 5);
        let block = blocks(64, &rows);
        let found: Vec<(usize, u32)> = block_rows(&block).collect();
        assert_eq!(found, (0..count).map(|i| (i, 7 * i as u32 + 3)).collect::<Vec<_>>());
        assert!(rows.iter().enumerate().all(|(i, row)| row_mul(&block, i) == row.mul));
    }
}

/// Rows moved to other numbers of another block are as if they had been written there.
#[test]
fn rows_are_copied() {
    for dim in [16, 64, 400] {
        let rows = sign_rows(dim, BLOCK_ROWS, dim as u64);
        let from = blocks(dim, &rows);
        let (mut copied, mut written) = (empty_block(dim), empty_block(dim));
        for i in (0..BLOCK_ROWS).filter(|i| i % 3 != 0) {
            let (to, row) = ((i * 7 + 5) % BLOCK_ROWS, &rows[i]);
            copy_row((&from, i), (&mut copied, to), 1000 + i as u32);
            put_row(&mut written, to, &row.components, row.add, row.mul, 1000 + i as u32);
        }
        assert!(copied == written, "{dim}");
    }
}

#[test]
fn strange_queries_do_no_harm() {
    let rows = sign_rows(64, 40, 9);
    let blocks = blocks(64, &rows);
    for strange in [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45] {
        for query in [vec![strange; 64], (0..64).map(|i| if i == 7 { strange } else { 0.1 }).collect()] {
            for isa in Isa::available() {
                let mut signs = SignQuery::with_isa(isa, 64).unwrap();
                signs.set(&query);
                assert!(scan(&signs, &blocks, 0.0, f32::INFINITY).len() <= 40);
                for bits in [LevelBits::Four, LevelBits::Eight] {
                    let mut levels = LevelQuery::with_isa(isa, 64, bits).unwrap();
                    levels.set(&query);
                    levels.product(&vec![0xa5; bits.code_bytes(64)]);
                }
            }
        }
    }
    // Nothing in common with anything: all rows are where their factors say.
    let mut signs = SignQuery::new(64);
    signs.set(&[0.0; 64]);
    for (found, row) in scan(&signs, &blocks, 0.0, f32::INFINITY).iter().zip(&rows) {
        assert_eq!(found.value, row.add);
    }
}

fn check_levels(bits: LevelBits, query: &[f32], levels: &[u8]) {
    let mut code = Vec::new();
    pack_levels(bits, levels, &mut code);
    assert_eq!(code.len(), bits.code_bytes(levels.len()));
    let product = |isa| {
        let mut query_levels = LevelQuery::with_isa(isa, query.len(), bits).unwrap();
        query_levels.set(query);
        query_levels.product(&code)
    };
    let scalar = product(Isa::Scalar);
    for isa in Isa::available() {
        // Whole numbers until the last step, which is the same one.
        assert_eq!(product(isa).to_bits(), scalar.to_bits(), "{isa:?}, {bits:?}, {}", query.len());
    }
    let (middle, count) = (f64::from(bits.middle()), query.len() as f64);
    let pairs = || query.iter().zip(levels).map(|(q, u)| (f64::from(*q), f64::from(*u)));
    let want: f64 = pairs().map(|(q, u)| (u - middle) * q).sum();
    let greatest = query.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let step = f64::from(greatest) / 127.0;
    // Each component of the query is rounded to a step; sums of up to 2^31 are rounded to floats.
    let rounded: f64 = pairs().map(|(_, u)| (u - middle).abs() * step * 0.500_1).sum();
    let floats = 4.0 * 2f64.powi(-23) * 2.0 * middle * f64::from(greatest) * count;
    assert!((f64::from(scalar) - want).abs() <= rounded + floats, "{bits:?}: {scalar} for {want}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sign_scan(step in 1usize..80, count in 1usize..70, seed in any::<u32>()) {
        check_signs(step * SIGN_DIM_STEP, count, u64::from(seed));
    }

    #[test]
    fn any_levels(steps in 1usize..34, seed in any::<u32>(), scale in 1e-6f32..1e6) {
        let dim = steps * LEVEL_DIM_STEP;
        let query: Vec<f32> = numbers(u64::from(seed)).take(dim).map(|x| x * scale).collect();
        for bits in [LevelBits::Four, LevelBits::Eight] {
            let most = f32::from(bits.greatest());
            let levels = numbers(u64::from(seed) + 1).take(dim).map(|x| ((x + 1.0) / 2.0 * (most + 1.0)) as u8);
            let levels: Vec<u8> = levels.map(|level| level.min(bits.greatest())).collect();
            check_levels(bits, &query, &levels);
        }
    }
}

#[test]
fn the_greatest_levels_do_not_overflow() {
    for bits in [LevelBits::Four, LevelBits::Eight] {
        for dim in [64, 8192, 65_536] {
            for sign in [1.0, -1.0] {
                check_levels(bits, &vec![sign; dim], &vec![bits.greatest(); dim]);
                check_levels(bits, &vec![sign; dim], &vec![0; dim]);
            }
        }
    }
}
