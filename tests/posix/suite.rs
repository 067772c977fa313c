//! Where the suites are, and how much of them is run.

use std::{path::Path, process::Command};

/// Set by `scripts/test --full`.
const FULL: &str = "OPENBUCKET_TEST_FULL";

/// Whether the long variants are asked for.
pub fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// A program that `scripts/setup --tests` has installed.
pub fn tool(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/setup --tests", path.display());
    let mut command = Command::new(path);
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    command
}
