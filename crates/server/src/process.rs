//! What this process asks of the machine, before it has threads.

/// Larger blocks are taken from the machine one by one, and given back when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 128 << 10;
/// Free bytes at the end of a pool above which they are given back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SPARE: libc::c_int = 256 << 10;

/// Has memory given back, and as many files as the machine allows.
pub fn prepare() {
    give_memory_back();
    allow_files();
}

/// By itself the C library keeps freed buffers, downloads above all, for the next ones of their size, in a pool for each thread: with a small
/// `cache.memory`, a third of what the process took was that (`benches/budgets.py`).
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets two numbers of the allocator; no memory of ours is involved.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// One pool for each processor rather than eight: points pass from thread to thread in blocks of a few KiB, and each pool keeps as much as it
/// ever had at once. An import of a million vectors of 768 components took 1.4 GiB with eight on two processors (`benches/bulk.py`).
pub fn keep_few_pools() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let pools = std::thread::available_parallelism().map_or(1, |count| count.get());
        let pools = libc::c_int::try_from(pools).unwrap_or(libc::c_int::MAX);
        // SAFETY: sets a number of the allocator; no memory of ours is involved.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, pools) };
    }
}

/// Raises the number of files that may be open to what may be asked for: there is one per part that is read where it lies, and often only
/// 1,024 are allowed unless asked.
fn allow_files() {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls read or write the struct that they are given, which outlives them.
        unsafe {
            if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
            }
        }
    }
}
