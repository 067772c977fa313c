//! The chain of a devnet: Anvil, found on this machine, and what becomes Anvil.

use std::{
    fs,
    io::stderr,
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::cli::{args::DevnetAnvilArgs, child};

/// Where npm puts programs, from a checkout.
const OF_NPM: &str = "contracts/node_modules/.bin";
/// The script that npm's program is; the program for this machine lies in a package beside it, or below.
const SCRIPT: &str = "bin.mjs";

/// The program: the one that is named, else that of a checkout's npm packages, else that of PATH. None when there is none.
pub fn find(named: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = named {
        if !path.is_file() {
            bail!("there is no Anvil at {}: give its program with --anvil", path.display());
        }
        return Ok(Some(behind_script(std::path::absolute(path).context("the path of Anvil")?)));
    }
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().context("cannot find this program")?;
    let checkouts = here.into_iter().chain(program.ancestors().map(Path::to_path_buf));
    let of_npm = checkouts.map(|checkout| checkout.join(OF_NPM));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = of_npm.chain(std::env::split_paths(&path)).collect();
    let programs = directories.into_iter().map(|directory| directory.join("anvil"));
    Ok(programs.filter(|program| is_program(program)).map(behind_script).next())
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// npm puts a script before the program, which would end before it does: the program itself, when it is where npm puts it.
fn behind_script(program: PathBuf) -> PathBuf {
    let script = fs::canonicalize(&program).ok().filter(|path| path.file_name() == Some(SCRIPT.as_ref()));
    let Some(package) = script.as_deref().and_then(Path::parent) else { return program };
    let beside = package.parent().map(Path::to_path_buf);
    let places = beside.into_iter().chain([package.join("node_modules/@foundry-rs")]);
    let packages = places.flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let mut programs = packages.map(|package| package.path().join("bin/anvil"));
    programs.find(|program| is_program(program)).unwrap_or(program)
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

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, "").expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
    }

    #[test]
    fn a_named_program_must_be_there_and_is_taken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("anvil");
        let error = find(Some(&path)).expect_err("nothing there").to_string();
        assert!(error.contains("--anvil"), "{error}");
        program(&path);
        assert_eq!(find(Some(&path)).expect("there"), Some(path));
    }

    #[test]
    fn the_program_behind_the_script_of_npm_is_taken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let packages = directory.path().canonicalize().expect("there").join("node_modules/@foundry-rs");
        let link = packages.with_file_name(".bin").join("anvil");
        program(&packages.join("anvil/bin.mjs"));
        fs::create_dir_all(link.parent().expect("a parent")).expect("made");
        std::os::unix::fs::symlink("../@foundry-rs/anvil/bin.mjs", &link).expect("linked");
        assert_eq!(behind_script(link.clone()), link, "there is nothing behind it");
        let below = packages.join("anvil/node_modules/@foundry-rs/anvil-of-here/bin/anvil");
        program(&below);
        assert_eq!(behind_script(link.clone()), below);
        let beside = packages.join("anvil-of-here/bin/anvil");
        program(&beside);
        assert_eq!(behind_script(link), beside);
    }
}
