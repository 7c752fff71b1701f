//! Clusters are as near to their rows as they should be, and the same ones on any number of threads.

use super::*;

/// `blobs` normal-ish clouds of `each` rows, far from each other.
fn clouds(blobs: usize, each: usize, dim: usize, spread: f32, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || (split_mix(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let centres: Vec<f32> = (0..blobs * dim).map(|_| 10.0 * uniform()).collect();
    let mut rows = Vec::new();
    for _ in 0..each {
        for centre in centres.chunks_exact(dim) {
            rows.extend(centre.iter().map(|x| x + spread * (uniform() + uniform() + uniform())));
        }
    }
    rows
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

/// The mean squared distance of the rows to their nearest centroid.
fn inertia(rows: &[f32], dim: usize, centroids: &[f32]) -> f64 {
    let least =
        |row: &[f32]| centroids.chunks_exact(dim).map(|c| squared(row, c)).fold(f64::INFINITY, f64::min);
    rows.chunks_exact(dim).map(least).sum::<f64>() / (rows.len() / dim) as f64
}

/// Lloyd's iteration as it stands in a textbook, over all rows.
fn textbook(rows: &[f32], dim: usize, count: usize) -> Vec<f32> {
    let mut centroids = sample(rows, dim, count, 17);
    for _ in 0..25 {
        let (mut sums, mut counts) = (vec![0.0f64; count * dim], vec![0usize; count]);
        for row in rows.chunks_exact(dim) {
            let distances = centroids.chunks_exact(dim).map(|c| squared(row, c));
            let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
            counts[nearest] += 1;
            (0..dim).for_each(|j| sums[nearest * dim + j] += f64::from(row[j]));
        }
        for i in (0..count).filter(|i| counts[*i] > 0) {
            (0..dim).for_each(|j| centroids[i * dim + j] = (sums[i * dim + j] / counts[i] as f64) as f32);
        }
    }
    centroids
}

fn check_members(clusters: &Clusters, dim: usize) {
    let mut members: Vec<u32> = clusters.members.concat();
    members.sort_unstable();
    assert_eq!(members, (0..(clusters.fine.len() / dim) as u32).collect::<Vec<_>>());
    assert_eq!(clusters.members.len(), clusters.coarse.len() / dim);
    assert!(clusters.fine.iter().chain(&clusters.coarse).all(|x| x.is_finite()));
}

#[test]
fn as_near_as_the_textbook() {
    // More clusters than clouds: as many would be a test of luck with where they start.
    for (blobs, each, dim, count) in [(40, 100, 16, 90), (150, 60, 16, 200), (12, 400, 64, 150)] {
        // Two levels cost most where clouds are far apart.
        for (spread, more) in [(1.5, 1.2), (4.0, 1.05)] {
            let rows = clouds(blobs, each, dim, spread, 3);
            let clusters = cluster(&rows, dim, count, 1, &|| true);
            check_members(&clusters, dim);
            let found = clusters.fine.len() / dim;
            assert!((count..=count + count / 4).contains(&found), "{found} clusters for {count}");
            let (ours, theirs) =
                (inertia(&rows, dim, &clusters.fine), inertia(&rows, dim, &textbook(&rows, dim, count)));
            println!("{blobs} clouds of {each} x {dim}, {spread}: {ours:.3}, textbook {theirs:.3}");
            assert!(ours <= more * theirs, "{blobs} clouds of {each} x {dim}: {ours}, textbook {theirs}");
        }
    }
}

#[test]
fn no_cluster_is_empty() {
    let rows = clouds(100, 50, 8, 1.0, 5);
    let clusters = cluster(&rows, 8, 120, 2, &|| true);
    let mut counts = vec![0; clusters.fine.len() / 8];
    for (nearest, _) in nearest(&Centroids::new(8, &clusters.fine), &rows, &|| true) {
        counts[nearest as usize] += 1;
    }
    let empty = counts.iter().filter(|count| **count == 0).count();
    assert!(empty * 50 <= counts.len(), "{empty} of {}", counts.len());
}

#[test]
fn a_seed_is_a_clustering_on_any_number_of_threads() {
    let rows = clouds(60, 80, 24, 2.0, 7);
    let on = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| cluster(&rows, 24, 100, seed, &|| true))
    };
    let one = on(1, 4);
    for threads in [2, 3, 8] {
        let other = on(threads, 4);
        assert!(one.fine == other.fine && one.coarse == other.coarse && one.members == other.members);
    }
    assert_ne!(one.fine, on(1, 5).fine);
}

#[test]
fn rows_that_suit_no_clustering() {
    for dim in [1, 8, 64] {
        // None, one, fewer than clusters, all equal, all zero, two kinds.
        let cases = [
            vec![],
            vec![1.5; dim],
            clouds(7, 1, dim, 1.0, 1),
            vec![2.5; dim * 3000],
            vec![0.0; dim * 3000],
            [vec![1.0; dim * 1500], vec![-1.0; dim * 1500]].concat(),
        ];
        for rows in &cases {
            for count in [1, 5, 64, 65, 200] {
                let clusters = cluster(rows, dim, count, 3, &|| true);
                check_members(&clusters, dim);
                assert_eq!(clusters.fine.is_empty(), rows.is_empty());
                // So many kinds of rows at most, and so many clusters at least.
                if count > 1 && rows.len() != 7 * dim {
                    assert!(rows.is_empty() || inertia(rows, dim, &clusters.fine) < 1e-3, "{dim}, {count}");
                }
            }
        }
    }
}

#[test]
fn wherever_clusters_are_given_up_they_are_sound() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let rows = clouds(60, 80, 24, 2.0, 7);
    let asked_until = |last: usize| {
        let asked = AtomicUsize::new(0);
        check_members(&cluster(&rows, 24, 100, 4, &|| asked.fetch_add(1, Ordering::Relaxed) < last), 24);
        asked.into_inner()
    };
    let whole = asked_until(usize::MAX);
    assert!(whole > 100, "{whole}");
    for last in (0..whole).step_by(7) {
        asked_until(last);
    }
}
