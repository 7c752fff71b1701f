//! An order of centroids in which neighbours are near, so that the lists that a query reads lie together.

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
    let apart = |a: u32, b: u32| -> f32 { at(a).iter().zip(at(b)).map(|(x, y)| (x - y) * (x - y)).sum() };
    let farthest = |from: u32, among: &[u32]| {
        among.iter().copied().max_by(|a, b| apart(from, *a).total_cmp(&apart(from, *b))).unwrap_or(from)
    };
    let one = farthest(numbers[0], numbers);
    let other = farthest(one, numbers);
    let side = |i: u32| apart(one, i) - apart(other, i);
    numbers.sort_by_cached_key(|i| {
        let side = side(*i);
        // Finite floats as whole numbers in the same order.
        (side.to_bits() ^ ((side.to_bits() as i32 >> 31) as u32 | 1 << 31), *i)
    });
    let (low, high) = numbers.split_at_mut(numbers.len() / 2);
    bisect(centroids, dim, low);
    bisect(centroids, dim, high);
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
