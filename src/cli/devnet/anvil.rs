//! The chain of a devnet: Anvil, found on this machine, and what becomes Anvil.

use std::{
    fs,
    io::stderr,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::cli::{args::DevnetAnvilArgs, child};

/// Where npm puts the packages of Foundry, from a checkout.
const PACKAGES: &str = "contracts/node_modules/@foundry-rs";

/// The program: the one that is named, else that of a checkout's npm packages, else that of PATH. None when there is none.
pub fn find(named: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = named {
        if !path.is_file() {
            bail!("there is no Anvil at {}: give its program with --anvil", path.display());
        }
        return Ok(Some(std::path::absolute(path).context("the path of Anvil")?));
    }
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().context("cannot find this program")?;
    let checkouts = here.into_iter().chain(program.ancestors().map(Path::to_path_buf));
    let of_npm = checkouts.flat_map(|checkout| of_packages(&checkout.join(PACKAGES)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let of_path: Vec<PathBuf> = std::env::split_paths(&path).map(|directory| directory.join("anvil")).collect();
    Ok(of_npm.chain(of_path).find(|program| program.is_file()))
}

/// The program itself, not the script that npm puts before it: that would not pass signals on.
fn of_packages(packages: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(packages).into_iter().flatten().flatten();
    found.map(|package| package.path().join("bin/anvil")).collect()
}

/// Becomes Anvil, which ends with the parent. What it prints goes to the log.
pub fn become_anvil(args: &DevnetAnvilArgs) -> anyhow::Result<()> {
    child::adopt(&args.child)?;
    let log = stderr().as_fd().try_clone_to_owned().context("cannot use the log")?;
    let mut command = Command::new(&args.program);
    command.args(["--host", "127.0.0.1", "--quiet", "--chain-id", "31337", "--accounts", "1", "--port"]);
    command.arg(args.port.to_string()).arg("--state").arg(&args.state).args(["--state-interval", "10"]);
    command.stdout(log);
    // Comes back only when it fails.
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", args.program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_program_must_be_there_and_is_taken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("anvil");
        let error = find(Some(&path)).expect_err("nothing there").to_string();
        assert!(error.contains("--anvil"), "{error}");
        fs::write(&path, "").expect("written");
        assert_eq!(find(Some(&path)).expect("there"), Some(path));
        let package = directory.path().join("anvil-of-here/bin");
        fs::create_dir_all(&package).expect("made");
        fs::write(package.join("anvil"), "").expect("written");
        assert!(of_packages(directory.path()).contains(&package.join("anvil")));
    }
}
