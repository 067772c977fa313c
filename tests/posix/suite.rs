//! Where the suites are.

use std::{path::Path, process::Command};

/// A program that `scripts/setup --tests` has installed.
pub fn tool(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    assert!(path.exists(), "{} is missing: run scripts/setup --tests", path.display());
    let mut command = Command::new(path);
    command.env("NO_COLOR", "1").env_remove("RUST_BACKTRACE");
    command
}
