use std::fs;
use std::io::Write;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn file(length: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (path, content) = (dir.path().join("file"), content(length));
    fs::write(&path, &content).unwrap();
    (dir, path, content)
}

/// Both ways, as far as this kernel has both.
fn backends() -> Vec<Backend> {
    match Backend::of_process() {
        Backend::IoUring => vec![Backend::IoUring, Backend::Pread],
        Backend::Pread => vec![Backend::Pread],
    }
}

fn check(file: &BatchFile, content: &[u8], ranges: &[Range<u64>], backend: Backend) {
    let mut out = b"before".to_vec();
    assert_eq!(file.read_many(ranges, &mut out).unwrap(), backend);
    let expected: Vec<u8> =
        ranges.iter().flat_map(|r| &content[r.start as usize..r.end as usize]).copied().collect();
    assert_eq!(&out[..6], b"before");
    assert!(out[6..] == expected, "{ranges:?}");
}

fn random_ranges(random: &mut StdRng, length: u64, count: usize, longest: u64) -> Vec<Range<u64>> {
    let range = |_| {
        let start = random.random_range(0..=length);
        start..random.random_range(start..=length.min(start + longest))
    };
    (0..count).map(range).collect()
}

#[test]
fn both_ways_read_what_is_there_however_long_the_file() {
    let mut random = StdRng::seed_from_u64(1);
    for length in [0, 1, 4095, 4096, 4097, 100_000, 3 << 20] {
        let (_dir, path, content) = file(length);
        for backend in backends() {
            let file = BatchFile::open_for(&path, backend).unwrap();
            assert_eq!(file.len(), length as u64);
            check(&file, &content, &[], backend);
            check(&file, &content, &[0..length as u64, length as u64..length as u64], backend);
            for (count, longest) in [(1, 5000), (30, 1536), (300, 9000), (5, 1 << 21)] {
                let ranges = random_ranges(&mut random, length as u64, count, longest);
                check(&file, &content, &ranges, backend);
            }
        }
    }
}

#[test]
fn past_the_end_is_an_error_and_leaves_nothing() {
    let (_dir, path, content) = file(10_000);
    for backend in backends() {
        let file = BatchFile::open_for(&path, backend).unwrap();
        let reversed = Range { start: 9, end: 3 };
        for wrong in [9_999..10_001, 10_001..10_001, reversed, 0..u64::MAX] {
            let mut out = vec![7];
            let error = file.read_many(&[0..5, wrong], &mut out).unwrap_err();
            assert_eq!((error.kind(), out), (io::ErrorKind::UnexpectedEof, vec![7]));
        }
        check(&file, &content, &[0..5, 3..9], backend);
    }
}

#[test]
fn a_file_that_was_cut_is_an_error_and_leaves_nothing() {
    for cut in [0, 1, 4096, 5000, 9_000] {
        for backend in backends() {
            let (_dir, path, content) = file(10_000);
            let file = BatchFile::open_for(&path, backend).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            let mut out = Vec::new();
            let error = file.read_many(&[0..1, cut..9_001], &mut out).unwrap_err();
            assert_eq!((error.kind(), out.len()), (io::ErrorKind::UnexpectedEof, 0));
            check(&file, &content, &[0..cut, 0..cut / 2], backend);
        }
    }
}

#[test]
fn a_file_that_was_deleted_or_replaced_stays_readable() {
    let (_dir, path, content) = file(200_000);
    for backend in backends() {
        fs::write(&path, &content).unwrap();
        let file = BatchFile::open_for(&path, backend).unwrap();
        let ranges: [Range<u64>; 3] = [199_000..200_000, 0..10, 50_000..51_536];
        fs::remove_file(&path).unwrap();
        check(&file, &content, &ranges, backend);
        File::create(&path).unwrap().write_all(&[0; 300_000]).unwrap();
        check(&file, &content, &ranges, backend);
        assert_eq!(file.len(), 200_000);
    }
}

#[test]
fn many_threads_read_at_once() {
    let (_dir, path, content) = file(5 << 20);
    for backend in backends() {
        let file = BatchFile::open_for(&path, backend).unwrap();
        std::thread::scope(|scope| {
            for seed in 0..16 {
                let (file, content) = (&file, &content);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed);
                    for _ in 0..40 {
                        let ranges = random_ranges(&mut random, content.len() as u64, 40, 1536);
                        check(file, content, &ranges, backend);
                    }
                });
            }
        });
    }
    assert!(DESKS.with_ring.lock().len() <= IDLE);
}

#[test]
fn what_a_ring_leaves_undone_is_finished() {
    let (_dir, path, content) = file(100_000);
    let file = File::open(&path).unwrap();
    let mut buffer = vec![0; BUFFER];
    let mut pieces =
        Plan::new(std::slice::from_ref(&(5_000..70_000)), PAGE as u64).next_batch(1, BUFFER).unwrap();
    // A short read that ends within a block begins again at that block.
    buffer[..10_000].copy_from_slice(&content[4_096..14_096]);
    pieces[0].advance(10_000);
    pieces[0].finish(&file, &mut buffer).unwrap();
    assert_eq!(buffer[pieces[0].wanted()], content[5_000..70_000]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_ring_that_fails_is_the_last_one() {
    let (_dir, path, content) = file(100_000);
    // With room for one read, and two to do.
    let Ok(ring) = uring::Ring::new(1) else { return };
    let desks = Desks::new();
    desks.put_back(Desk { ring: Some(ring), ..Desk::plain() });
    let file = BatchFile::open_for(&path, Backend::IoUring).unwrap();
    for _ in 0..3 {
        let mut out = Vec::new();
        let backend = file.read_at(&desks, &[10..20, 50_000..50_010], None, &mut out).unwrap();
        assert_eq!(backend, Backend::Pread);
        assert!(out == [&content[10..20], &content[50_000..50_010]].concat());
        assert_eq!((desks.with_ring.lock().len(), desks.plain.lock().len()), (0, 1));
    }
}

#[test]
fn memory_file_systems_will_do() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let (path, content) = (dir.path().join("file"), content(300_000));
    fs::write(&path, &content).unwrap();
    let mut random = StdRng::seed_from_u64(2);
    for backend in backends() {
        let file = BatchFile::open_for(&path, backend).unwrap();
        check(&file, &content, &random_ranges(&mut random, 300_000, 100, 5_000), backend);
    }
}
