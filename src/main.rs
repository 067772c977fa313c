//! The program `openbucket`: the command line of the library.

/// Heaps of the C library's allocator. It would have eight for each processor, and keep in each of them what chunks and
/// shards on their way have left free.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;
/// What is larger than this, as a chunk with much parity, has memory of its own from the system and returns it.
#[cfg(target_env = "gnu")]
const HEAP_PIECE_BYTES: libc::c_int = 8 << 20;
/// What may be free at the end of a heap before the system gets it back. A consumer would return, and fill with zeros again,
/// the memory of every shard that passes.
#[cfg(target_env = "gnu")]
const HEAP_FREE_BYTES: libc::c_int = 16 << 20;

#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "settings of the C library's allocator, made before there is another thread")]
fn bound_heaps() {
    let settings = [
        (libc::M_ARENA_MAX, HEAPS),
        (libc::M_MMAP_THRESHOLD, HEAP_PIECE_BYTES),
        (libc::M_TRIM_THRESHOLD, HEAP_FREE_BYTES),
    ];
    for (setting, value) in settings {
        // SAFETY: mallopt(3) takes two numbers, and no other thread is there.
        let is_set = unsafe { libc::mallopt(setting, value) };
        debug_assert_eq!(is_set, 1, "the number is one that it takes");
    }
}

fn main() -> std::process::ExitCode {
    #[cfg(target_env = "gnu")]
    bound_heaps();
    openbucket::cli::run(std::env::args_os())
}
