//! An order of centroids in which neighbours are near, so that the lists that a query reads lie together.

use rayon::prelude::*;

/// Centroids that are not worth another thread.
const SMALL: usize = 256;

/// Numbers of the centroids (`dim` floats each) by recursive bisection across the direction in which they spread most.
pub(super) fn bisected(centroids: &[f32], dim: usize) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..(centroids.len() / dim) as u32).collect();
    bisect(centroids, dim, &mut numbers);
    numbers
}

fn bisect(centroids: &[f32], dim: usize, numbers: &mut [u32]) {
    if numbers.len() < 3 {
        return;
    }
    let at = |i: u32| &centroids[i as usize * dim..(i as usize + 1) * dim];
    let apart = |from: u32, numbers: &[u32]| -> Vec<f32> {
        numbers.par_iter().with_min_len(SMALL).map(|i| squared_distance(at(from), at(*i))).collect()
    };
    let farthest = |from: u32, numbers: &[u32]| {
        let apart = apart(from, numbers);
        let most = (0..apart.len()).max_by(|a, b| apart[*a].total_cmp(&apart[*b]));
        most.map_or(from, |i| numbers[i])
    };
    let one = farthest(numbers[0], numbers);
    let other = farthest(one, numbers);
    let sides = apart(one, numbers).into_iter().zip(apart(other, numbers)).map(|(a, b)| a - b);
    let mut sides: Vec<(f32, u32)> = sides.zip(numbers.iter().copied()).collect();
    sides.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    numbers.iter_mut().zip(sides).for_each(|(number, (_, i))| *number = i);
    let (low, high) = numbers.split_at_mut(numbers.len() / 2);
    if low.len() < SMALL {
        bisect(centroids, dim, low);
        bisect(centroids, dim, high);
    } else {
        rayon::join(|| bisect(centroids, dim, low), || bisect(centroids, dim, high));
    }
}

/// Sixteen sums at once, or each addition would wait for the one before it.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_line_come_in_order_of_the_line() {
        let places = [5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0, 0.0];
        let order: Vec<f32> = bisected(&places, 1).into_iter().map(|i| places[i as usize]).collect();
        let jumps: f32 = order.windows(2).map(|pair| (pair[0] - pair[1]).abs()).sum();
        assert!(jumps <= 20.0, "{order:?}");
        let mut sorted = order.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (0..10).map(|i| i as f32).collect::<Vec<_>>());
    }

    #[test]
    fn neighbours_of_a_grid_are_near_in_the_order() {
        let grid: Vec<f32> = (0..1024).flat_map(|i| [(i % 32) as f32, (i / 32) as f32]).collect();
        let order = bisected(&grid, 2);
        let mut places = vec![0i32; 1024];
        order.iter().enumerate().for_each(|(place, i)| places[*i as usize] = place as i32);
        let apart = |a: usize, b: usize| f64::from((places[a] - places[b]).abs());
        let pairs = (0..1024).filter(|i| i % 32 < 31);
        let mean = pairs.map(|i| apart(i, i + 1)).sum::<f64>() / 992.0;
        // In the order of drawing it is 1 across and 32 along; of a random order it would be 341.
        assert!(mean < 60.0, "{mean}");
    }

    #[test]
    fn any_number_of_any_points() {
        for count in [0, 1, 2, 3, 100] {
            for x in [0.0, -1.5, f32::NAN, f32::MAX] {
                let mut order = bisected(&vec![x; count * 3], 3);
                order.sort_unstable();
                assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }
}
