//! `mount`: checks what can be checked first, then becomes the daemon, in the background unless told.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::Path,
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
    locate, notify, remount, umount,
};
use crate::{
    config::{ParsedOptions, parse_mount_options},
    daemon,
    mount::check_mountpoint,
    runtime::Shutdown,
};

/// A mount in the background is ready within this.
const READY_TIMEOUT: Duration = Duration::from_secs(100);
/// A log that has grown beyond this is put aside at start; one earlier log is kept.
const LOG_BYTES: u64 = 16 << 20;

pub fn run(global: &Global, args: MountArgs, arguments: &[OsString]) -> anyhow::Result<()> {
    child::adopt(&args.child)?;
    let is_child = args.child.background_child;
    let result = prepare(global, &args).and_then(|options| match options {
        None => Ok(()),
        Some(options) if args.foreground || is_child => serve(options),
        Some(options) => background(arguments, &options.state_directory),
    });
    if let (true, Err(error)) = (is_child, &result) {
        // The starter shows it; the log has it too.
        super::output::line(&format!("{FAILED}{}", super::output::explain(error)))?;
    }
    result
}

/// Options from all layers, with everything checked that needs no daemon; None when nothing is left to do.
fn prepare(global: &Global, args: &MountArgs) -> anyhow::Result<Option<daemon::Options>> {
    let lists = args.options.iter().map(String::as_str);
    let parsed = parse_mount_options(lists, args.sloppy).map_err(UsageError::of)?;
    for word in &parsed.unknown {
        tracing::warn!(op = "mount", "unknown mount option '{word}' is passed over");
    }
    let config = global.config.clone().or_else(|| parsed.config.clone());
    let flags = args.bucket.layer().over(parsed.layer.clone());
    let mut settings = locate::settings(&Global { config, ..global.clone() }, flags)?;
    settings.state = std::path::absolute(&settings.state).context("the state directory")?;
    if parsed.is_remount {
        return remount::run(args, &parsed, &settings).map(|()| None);
    }
    if !keys_directory(&settings.state).exists() {
        let state = settings.state.display();
        bail!("{state} has no keys yet: make them first with openbucket init --state {state}");
    }
    check_privilege(&parsed)?;
    let mut mount = parsed.mount;
    check_mountpoint(&args.directory)?;
    mount.mountpoint = umount::absolute(&args.directory)?;
    if settings.state.starts_with(&mount.mountpoint) {
        bail!("the state directory {} is below the mount point: choose another", settings.state.display());
    }
    Ok((!args.fake).then(|| settings.daemon_options(Some(mount))))
}

fn serve(options: daemon::Options) -> anyhow::Result<()> {
    let mountpoint = options.mount.as_ref().map(|mount| mount.mountpoint.clone()).unwrap_or_default();
    // A daemon must not keep the directory busy that it was started in.
    std::env::set_current_dir("/").context("cannot leave the current directory")?;
    child::run_service(async move {
        let shutdown = Shutdown::new();
        child::stop_on_signals(shutdown.clone())?;
        let observer = move |phase| match phase {
            daemon::Phase::Ready => child::say_ready(&mountpoint.display().to_string()),
            daemon::Phase::Stopping => notify::stopping("unmounted, closing the bucket"),
        };
        Ok(daemon::run(options, shutdown, Box::new(observer)).await?)
    })
}

/// What an ordinary user may not: fusermount3 would refuse it with words of its own, or pass over it.
fn check_privilege(parsed: &ParsedOptions) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if let Some(option) = parsed.given.iter().find(|option| matches!(option.name, "suid" | "dev")) {
        bail!("mount option '{}': only root may ask for it, leave it out", option.name);
    }
    let mount = &parsed.mount;
    if mount.allow_other || mount.allow_root {
        let text = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
        if !text.lines().any(|line| line.trim() == "user_allow_other") {
            bail!("allow_other and allow_root need a line user_allow_other in /etc/fuse.conf");
        }
    }
    Ok(())
}

/// Starts this program again in a session of its own and waits for its word.
fn background(arguments: &[OsString], state: &Path) -> anyhow::Result<()> {
    let log_path = state.join("log");
    let log = open_log(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments.iter().skip(1)).arg("--background-child");
    // Its word goes to this process; a service manager waits for nobody who runs in the background.
    command.env_remove(notify::VARIABLE);
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
