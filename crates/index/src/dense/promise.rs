//! What the lists of a model promise a query: how densely they hold its nearest rows, as far as centroids tell.
//!
//! A list is some *steps* from a query: the nearest is none, the one in the middle of all lists one. Where a row is twice as many steps
//! away, the chance that it is among the nearest has been squared: it falls exponentially, over seven powers of e on vectors that language
//! models made. How fast it falls, the *decay*, is a matter of the vectors, 10 to 15 on those; so it is measured when a model is
//! made, on rows that were [held out](super::HeldOut).

use lodestone_kernels::Estimate;

/// The decay that is taken where none was measured: less than was ever seen, so that rather too much is read.
const USUAL_DECAY: f32 = 9.0;
/// Queries are farther from rows than rows are from each other, and what they look for less concentrated.
const CAUTION: f32 = 0.9;
/// What can be measured: where all lists are as far as each other, nothing can.
const DECAYS: std::ops::RangeInclusive<f32> = 2.0..=20.0;
/// By how much less than the first list the last one promises where steps tell no difference, so that some of them can be read.
const BY_NUMBER: f32 = 0.001;
/// What any list promises: far ones are read too where much is to be read.
const LEAST: f32 = 1e-6;

/// How far lists are from a query in steps, by how far their centroids seem to be; infinite where that cannot be told.
pub(super) fn steps(mut found: Vec<Estimate>, lists: usize) -> Vec<f32> {
    let mut steps = vec![f32::INFINITY; lists];
    let middle = found.len() / 2;
    if found.is_empty() {
        return steps;
    }
    let (before, middle, _) = found.select_nth_unstable_by(middle, |a, b| a.value.total_cmp(&b.value));
    let middle = middle.value;
    let nearest = before.iter().map(|found| found.value).fold(middle, f32::min);
    for Estimate { value, place } in found {
        let step = (value - nearest) / (middle - nearest);
        // Half of all lists may be as far as each other.
        steps[place as usize] = if step.is_nan() { 0.0 } else { step };
    }
    steps
}

/// What lists so many steps away promise: 1 at most.
pub(super) fn promises(steps: &[f32], measured: Option<f32>) -> Vec<f32> {
    let decay = CAUTION * measured.unwrap_or(USUAL_DECAY / CAUTION);
    let in_turn = BY_NUMBER / steps.len().max(1) as f32;
    let promise =
        |(list, steps): (usize, &f32)| (1.0 - in_turn * list as f32) * (-decay * steps).exp().max(LEAST);
    steps.iter().enumerate().map(promise).collect()
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

    /// Lists whose distances are these; infinite where that cannot be told.
    fn steps_of(values: &[f32]) -> Vec<f32> {
        let known = (0..).zip(values).filter(|(_, value)| value.is_finite());
        steps(known.map(|(place, value)| Estimate { value: *value, place }).collect(), values.len())
    }

    #[test]
    fn the_list_in_the_middle_is_one_step_away() {
        assert_eq!(steps_of(&[3.0, -1.0, 1.0, 0.0, 9.0]), [2.0, 0.0, 1.0, 0.5, 5.0]);
        assert_eq!(steps_of(&[7.0; 40]), [0.0; 40]);
        assert_eq!(steps_of(&[1.0]), [0.0]);
        assert!(steps_of(&[]).is_empty());
        let far = f32::INFINITY;
        assert_eq!(steps_of(&[1.0, 1.0, 1.0, 4.0, 1.0]), [0.0, 0.0, 0.0, far, 0.0]);
        assert_eq!(steps_of(&[far, 1.0, far, 2.0, far]), [far, 0.0, far, 1.0, far]);
        assert_eq!(steps_of(&[far; 3]), [far; 3]);
    }

    #[test]
    fn lists_that_are_as_far_as_each_other_promise_a_little_less_in_turn() {
        let promised = promises(&[0.0, 0.0, 0.1, 0.1, f32::INFINITY, f32::INFINITY], Some(10.0));
        assert_eq!(promised[0], 1.0);
        assert!(promised.is_sorted_by(|a, b| a > b) && promised[5] > 0.9 * LEAST, "{promised:?}");
        assert!((promised[2].ln() + 0.9).abs() < 0.01, "{promised:?}");
        assert!(promises(&[0.0, 1.0], None)[1] > promises(&[0.0, 1.0], Some(12.0))[1]);
        assert!(promises(&[], None).is_empty());
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
