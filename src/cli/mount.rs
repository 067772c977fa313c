//! `mount`: checks what can be checked first, then becomes the daemon, in the background unless told.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};

use super::{
    UsageError,
    args::{Global, MountArgs},
    child::{self, FAILED, READY},
    init::keys_directory,
    locate,
    mountinfo::mounted_at,
    umount,
};
use crate::{config::parse_mount_options, daemon, runtime::Shutdown};

/// A mount in the background is ready within this.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A log that has grown beyond this is put aside at start; one earlier log is kept.
const LOG_BYTES: u64 = 16 << 20;

pub fn run(global: &Global, args: MountArgs, arguments: &[OsString]) -> anyhow::Result<()> {
    child::adopt(&args.child)?;
    let is_child = args.child.background_child;
    let result = prepare(global, &args).and_then(|options| {
        if args.foreground || is_child { serve(options) } else { background(arguments, &options.state_directory) }
    });
    if let (true, Err(error)) = (is_child, &result) {
        // The starter shows it; the log has it too.
        super::output::line(&format!("{FAILED}{}", super::output::one_line(&format!("{error:#}"))))?;
    }
    result
}

/// Options from all layers, with everything checked that needs no daemon.
fn prepare(global: &Global, args: &MountArgs) -> anyhow::Result<daemon::Options> {
    let lists = args.options.iter().map(String::as_str);
    let parsed = parse_mount_options(lists).map_err(UsageError::of)?;
    let config = global.config.clone().or(parsed.config);
    let flags = args.bucket.layer().over(parsed.layer);
    let mut settings = locate::settings(&Global { config, ..global.clone() }, flags)?;
    settings.state = std::path::absolute(&settings.state).context("the state directory")?;
    if !keys_directory(&settings.state).exists() {
        let state = settings.state.display();
        bail!("{state} has no keys yet: make them first with openbucket init --state {state}");
    }
    let mut mount = parsed.mount;
    check_fuse(&mount)?;
    mount.mountpoint = check_mountpoint(&args.directory)?;
    if settings.state.starts_with(&mount.mountpoint) {
        bail!("the state directory {} is below the mount point: choose another", settings.state.display());
    }
    Ok(settings.daemon_options(Some(mount)))
}

fn serve(options: daemon::Options) -> anyhow::Result<()> {
    let mountpoint = options.mount.as_ref().map(|mount| mount.mountpoint.clone()).unwrap_or_default();
    // A daemon must not keep the directory busy that it was started in.
    std::env::set_current_dir("/").context("cannot leave the current directory")?;
    child::run_service(async move {
        let shutdown = Shutdown::new();
        child::stop_on_signals(shutdown.clone())?;
        let ready = move || child::say_ready(&mountpoint.display().to_string());
        Ok(daemon::run(options, shutdown, Box::new(ready)).await?)
    })
}

/// Whether this machine can mount for this user at all.
fn check_fuse(mount: &daemon::MountOptions) -> anyhow::Result<()> {
    if !Path::new("/dev/fuse").exists() {
        bail!("no /dev/fuse: load the kernel module (modprobe fuse), or give the container --device /dev/fuse");
    }
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join("fusermount3").is_file()) {
        bail!("fusermount3 is not installed, and only root mounts without it: install the package fuse3");
    }
    if mount.allow_other || mount.allow_root {
        let text = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
        if !text.lines().any(|line| line.trim() == "user_allow_other") {
            bail!("allow_other and allow_root need a line user_allow_other in /etc/fuse.conf");
        }
    }
    Ok(())
}

/// The mount point, absolute: there, a directory, empty, not mounted. A dead mount of ours is cleared.
pub fn check_mountpoint(directory: &Path) -> anyhow::Result<PathBuf> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => bail!("mount point {shown} is not a directory"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("mount point {shown} does not exist: make it with mkdir -p {shown}")
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            let absolute = std::path::absolute(directory)?;
            if !mounted_at(&absolute)?.is_some_and(|mount| mount.is_openbucket()) {
                bail!("mount point {shown} holds a dead mount of something else: unmount it first");
            }
            tracing::warn!(op = "mount", "clearing the mount that a dead process left");
            umount::clear(&absolute)?;
            return check_mountpoint(directory);
        }
        Err(error) => return Err(anyhow!(error).context(format!("mount point {shown}"))),
    }
    let path = fs::canonicalize(directory).with_context(|| format!("mount point {shown}"))?;
    if let Some(mount) = mounted_at(&path).context("cannot read /proc/self/mountinfo")? {
        if mount.is_openbucket() {
            bail!("a bucket is already mounted at {shown}: openbucket umount {shown}");
        }
        bail!("{shown} is already the mount point of a {} file system: choose another directory", mount.kind);
    }
    let mut entries = fs::read_dir(&path).with_context(|| format!("mount point {shown}"))?;
    if entries.next().is_some() {
        bail!("mount point {shown} is not empty: choose an empty directory");
    }
    Ok(path)
}

/// Starts this program again in a session of its own and waits for its word.
fn background(arguments: &[OsString], state: &Path) -> anyhow::Result<()> {
    let log_path = state.join("log");
    let log = open_log(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments.iter().skip(1)).arg("--background-child");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().context("cannot start")?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let word = lines.find(|line| line.starts_with(READY) || line.starts_with(FAILED));
        // The starter may have given up waiting; then nobody wants the word.
        let _ = sender.send(word);
    });
    let log = log_path.display();
    match receiver.recv_timeout(READY_TIMEOUT) {
        Ok(Some(word)) => match word.strip_prefix(FAILED) {
            Some(why) => Err(anyhow!("{why}")),
            None => Ok(()),
        },
        Ok(None) => Err(anyhow!("the daemon ended before it was ready ({}); see {log}", ending(&mut child))),
        Err(_) => {
            child.kill().context("cannot end the daemon that does not become ready")?;
            bail!("the daemon was not ready within {} s and was ended; see {log}", READY_TIMEOUT.as_secs())
        }
    }
}

fn ending(child: &mut Child) -> String {
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The log, private, for appending.
fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES) {
        fs::rename(path, path.with_extension("old"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_there_a_directory_and_empty() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("empty")).expect("made");
        fs::create_dir_all(at("full/inner")).expect("made");
        fs::write(at("file"), "x").expect("written");
        let words = |name: &str| check_mountpoint(&at(name)).expect_err("refused").to_string();
        assert_eq!(check_mountpoint(&at("empty")).expect("fine"), at("empty").canonicalize().expect("there"));
        assert!(words("absent").contains("does not exist: make it with mkdir -p"));
        assert!(words("full").contains("is not empty"));
        assert!(words("file").contains("is not a directory"));
        let proc = check_mountpoint(Path::new("/proc")).expect_err("refused").to_string();
        assert!(proc.contains("already the mount point of a proc file system"), "{proc}");
    }
}
