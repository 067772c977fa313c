//! Completions of the shells, made from the definition of the command line.

use std::io::Write;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::args::Cli;

/// Prints what a shell reads to complete our command lines.
pub fn print(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "openbucket", &mut script);
    std::io::stdout().write_all(&script).context("cannot write to standard output")
}
