//! What this process asks of the machine: its allocator, and before it has threads its limits.

/// With the allocator of the C library, told to give each large block back to the machine, the slowest searches beside merges took up to twice
/// as long (`benches/stream.py`): likely they wait for builders that give memory back and have less of a processor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Has freed memory given back after a quarter of a second by threads of the allocator's own, whether or not anything else is allocated:
/// what is allowed for caches is for caches (`benches/budgets.py`). Nor does each thread keep blocks of more than 4 KiB for itself, as points
/// pass from thread to thread in such blocks. What `MALLOC_CONF` in the environment says goes before.
// SAFETY: the allocator reads a string that ends with a zero where this name points to, when the process starts; its own definition is a weak
// one, which gives way to this, and nothing else has that name.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 75] =
    b"background_thread:true,dirty_decay_ms:250,muzzy_decay_ms:0,tcache_max:4096\0";

/// Has as many files as the machine allows.
pub fn prepare() {
    allow_files();
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
