//! Whether this processor runs the code that was compiled: one clear line instead of SIGILL.

use super::Error;

/// Checks the processor for the instructions of x86-64-v3, for which the erasure
/// code is compiled. Call it before anything else; always fine elsewhere than on x86-64.
pub fn cpu_supported() -> Result<(), Error> {
    let missing: Vec<&str> = features().iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Processor(missing.join(", "))) }
}

#[cfg(target_arch = "x86_64")]
fn features() -> [(&'static str, bool); 8] {
    [
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("bmi1", std::arch::is_x86_feature_detected!("bmi1")),
        ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("lzcnt", std::arch::is_x86_feature_detected!("lzcnt")),
        ("movbe", std::arch::is_x86_feature_detected!("movbe")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> [(&'static str, bool); 0] {
    []
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_these_tests_is_supported() {
        assert_eq!(cpu_supported(), Ok(()));
    }
}
