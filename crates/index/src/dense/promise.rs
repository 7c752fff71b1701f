//! What the lists of a model promise a query: how densely they hold its nearest rows, as far as centroids tell.
//!
//! A list is some *steps* from a query: the nearest is none, the one in the middle of all lists one. Where a row is twice as many steps
//! away, the chance that it is among the nearest has been squared: it falls exponentially, over seven powers of e on vectors that language
//! models made. How fast it falls, the *decay*, is a matter of the vectors, 10 to 15 on those; so it is measured when a model is
//! made, on rows that were [held out](super::HeldOut).

use lodestone_kernels::{Estimate, SignQuery};

/// The decay that is taken where none was measured: less than was ever seen, so that rather too much is read.
const USUAL_DECAY: f32 = 9.0;
/// Queries are farther from rows than rows are from each other, and what they look for less concentrated.
const CAUTION: f32 = 0.9;
/// What can be measured: where all lists are as far as each other, nothing can.
const DECAYS: std::ops::RangeInclusive<f32> = 2.0..=20.0;
/// By how much less than the nearest list the farthest one promises where steps tell no difference.
const BY_RANK: f32 = 0.001;
/// What any list promises: far ones are read too where much is to be read.
const LEAST: f32 = 1e-6;

/// How far lists are from a query in steps, by the sign codes of their centroids.
pub(super) fn steps(signs: &SignQuery, blocks: &[u8], lists: usize) -> Vec<f32> {
    let mut found: Vec<Estimate> = Vec::new();
    signs.scan(blocks, &[], 0.0, f32::INFINITY, &mut found);
    let mut far = vec![f32::INFINITY; lists];
    for Estimate { value, place } in found {
        if let Some(far) = far.get_mut(place as usize) {
            *far = value;
        }
    }
    let mut sorted = far.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let (Some(nearest), Some(middle)) = (sorted.first(), sorted.get(lists / 2)) else { return far };
    // Where neither is known there is no difference.
    let step = |value: f32| Some((value - nearest) / (middle - nearest)).filter(|steps| !steps.is_nan());
    far.iter().map(|value| step(*value).unwrap_or(0.0)).collect()
}

/// What lists so many steps away promise: 1 the nearest, and no two the same.
pub(super) fn promises(steps: &[f32], measured: Option<f32>) -> Vec<f32> {
    let decay = CAUTION * measured.unwrap_or(USUAL_DECAY / CAUTION);
    let mut order: Vec<u32> = (0..steps.len() as u32).collect();
    order.sort_unstable_by(|a, b| steps[*a as usize].total_cmp(&steps[*b as usize]).then(a.cmp(b)));
    let mut promises = vec![0.0; steps.len()];
    for (rank, list) in order.into_iter().enumerate() {
        let by_rank = 1.0 - BY_RANK * rank as f32 / steps.len() as f32;
        promises[list as usize] = by_rank * (-decay * steps[list as usize]).exp().max(LEAST);
    }
    promises
}

/// What the nearest rows of one query tell of the decay.
pub(super) struct Sample {
    /// Of each list.
    pub steps: Vec<f32>,
    /// Of the list that each of the nearest rows is in.
    pub nearest: Vec<f32>,
}

/// The most likely decay, where lists have so many rows; `None` if nothing tells.
///
/// A nearest row is in a list with the likelihood `size * e^(-decay * steps)` over the sum of those of all lists. The logarithm of
/// the product of these is greatest where steps to nearest rows are as many as such likelihoods let expect, and these fall as the decay
/// grows.
pub(super) fn decay(samples: &[Sample], sizes: &[f32]) -> Option<f32> {
    let near: f32 = samples.iter().flat_map(|sample| &sample.nearest).sum();
    if samples.iter().all(|sample| sample.nearest.is_empty()) || !near.is_finite() {
        return None;
    }
    let expected = |decay: f32| -> f32 {
        let of = |sample: &Sample| sample.nearest.len() as f32 * expected_steps(&sample.steps, sizes, decay);
        samples.iter().map(of).sum()
    };
    let (mut low, mut high) = (*DECAYS.start(), *DECAYS.end());
    while high - low > 0.01 {
        let middle = (low + high) / 2.0;
        if expected(middle) > near { low = middle } else { high = middle }
    }
    Some(low)
}

fn expected_steps(steps: &[f32], sizes: &[f32], decay: f32) -> f32 {
    let (mut all, mut sum) = (0.0, 0.0);
    for (steps, size) in steps.iter().zip(sizes).filter(|(steps, _)| steps.is_finite()) {
        let likely = size * (-decay * steps).exp();
        (all, sum) = (all + likely, sum + likely * steps);
    }
    if all > 0.0 { sum / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestone_kernels::{empty_block, put_row};

    /// Lists whose distances are these, by a query that sees nothing but what is added.
    fn steps_of(values: &[f32]) -> Vec<f32> {
        let mut blocks = Vec::new();
        for (number, some) in values.chunks(lodestone_kernels::BLOCK_ROWS).enumerate() {
            let mut block = empty_block(16);
            for (row, value) in some.iter().enumerate() {
                let place = (number * lodestone_kernels::BLOCK_ROWS + row) as u32;
                put_row(&mut block, row, &[1.0; 16], *value, 0.0, place);
            }
            blocks.extend(block);
        }
        let mut query = SignQuery::new(16);
        query.set(&[1.0; 16]);
        steps(&query, &blocks, values.len())
    }

    #[test]
    fn the_list_in_the_middle_is_one_step_away() {
        assert_eq!(steps_of(&[3.0, -1.0, 1.0, 0.0, 9.0]), [2.0, 0.0, 1.0, 0.5, 5.0]);
        assert_eq!(steps_of(&[7.0; 40]), [0.0; 40]);
        assert_eq!(steps_of(&[1.0]), [0.0]);
        assert!(steps_of(&[]).is_empty());
    }

    #[test]
    fn lists_that_are_as_far_as_each_other_promise_a_little_less_in_turn() {
        let promised = promises(&[0.0, 0.0, 0.1, 0.1, f32::INFINITY], Some(10.0));
        assert_eq!((promised[0], promised[4] > 0.9 * LEAST), (1.0, true));
        assert!(promised.is_sorted_by(|a, b| a > b), "{promised:?}");
        assert!((promised[2].ln() + 0.9).abs() < 0.01, "{promised:?}");
        assert!(promises(&[0.0, 1.0], None)[1] > promises(&[0.0, 1.0], Some(12.0))[1]);
    }

    #[test]
    fn the_decay_is_found_again() {
        for decay_was in [4.0f32, 9.0, 15.0] {
            let steps: Vec<f32> = (0..500).map(|list| list as f32 / 250.0).collect();
            let sizes: Vec<f32> = (0..500).map(|list| (1 + list % 7) as f32).collect();
            // As many nearest rows in each list as there should be.
            let nearest = steps.iter().zip(&sizes).flat_map(|(steps, size)| {
                let rows = (2e4 * size * (-decay_was * steps).exp()) as usize;
                std::iter::repeat_n(*steps, rows)
            });
            let sample = Sample { nearest: nearest.collect(), steps: steps.clone() };
            let found = decay(&[sample], &sizes).unwrap();
            assert!((found - decay_was).abs() < 0.1, "{found}, not {decay_was}");
        }
    }

    #[test]
    fn where_nothing_tells_there_is_no_decay() {
        assert_eq!(decay(&[], &[]), None);
        let sample = |nearest: Vec<f32>| Sample { steps: vec![0.0, 1.0], nearest };
        assert_eq!(decay(&[sample(vec![])], &[1.0, 1.0]), None);
        assert_eq!(decay(&[sample(vec![f32::INFINITY])], &[1.0, 1.0]), None);
        let all_near = decay(&[sample(vec![0.0; 10])], &[1.0, 1.0]).unwrap();
        assert!((19.9..=20.0).contains(&all_near), "{all_near}");
    }
}
