//! The program `openbucket`: the command line of the library.

/// Heaps of the C library's allocator. It would have eight for each processor, and keep in each of them what chunks and
/// shards on their way have left free.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "a setting of the C library's allocator, made before there is another thread")]
fn bound_heaps() {
    // SAFETY: mallopt(3) takes two numbers, and no other thread is there.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
    debug_assert_eq!(is_set, 1, "the number is one that it takes");
}

fn main() -> std::process::ExitCode {
    #[cfg(target_env = "gnu")]
    bound_heaps();
    openbucket::cli::run(std::env::args_os())
}
