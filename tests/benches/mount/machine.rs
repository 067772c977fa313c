//! What the kernel of this machine knows: processor time, memory, bytes over the loopback device; and what it can forget.

use std::{fs, io::Read as _, process::Command, process::Stdio, sync::mpsc, thread, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Of the times in /proc, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process so far, all its threads', in seconds.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name before it is in parentheses and may have anything in it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS_PER_SECOND),
        _ => bail!("{path} does not tell the processor time"),
    }
}

/// From now on the peak of a process's memory is a new one.
pub fn reset_peak(pid: i32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak of a process's memory cannot be reset")
}

/// The most memory that a process had, in MiB.
pub fn peak_mib(pid: i32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let kib: f64 = kib.context("the kernel does not tell the peak of a process's memory")?;
    Ok(kib / 1024.0)
}

/// Bytes over the loopback device so far: headers, acknowledgements and whoever else uses it included.
pub fn loopback_bytes() -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/net/dev")?;
    let bytes = table.lines().find_map(|line| line.trim().strip_prefix("lo:")?.split_whitespace().next()?.parse().ok());
    bytes.context("/proc/net/dev does not tell the bytes of lo")
}

/// Makes the kernel drop pages of files, and names and inodes that nobody uses; without the right to it they stay.
pub fn drop_caches() {
    rustix::fs::sync();
    if let Err(error) = fs::write("/proc/sys/vm/drop_caches", "3") {
        eprintln!("the kernel keeps its caches ({error}): what is called cold is not");
    }
}

/// Makes the kernel drop names and inodes that nobody uses; without the right to it they stay known.
pub fn forget_names() {
    rustix::fs::sync();
    if let Err(error) = fs::write("/proc/sys/vm/drop_caches", "2") {
        eprintln!("the kernel keeps what it knows ({error}): what should be forgotten is not");
    }
}

/// Runs a program to its end and gives what it printed; it is killed after the limit.
pub fn run(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    let (mut output, mut errors) = (String::new(), String::new());
    let mut stderr = child.stderr.take().context("it is piped")?;
    let mut stdout = child.stdout.take().context("it is piped")?;
    let (sender, done) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        let is_late = done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        // Nobody has waited for it yet, so it is still this process.
        is_late && kill_process(pid, Signal::KILL).is_ok()
    });
    let reader = thread::spawn(move || stderr.read_to_string(&mut errors).map(|_| errors));
    stdout.read_to_string(&mut output)?;
    let errors = reader.join().expect("reading does not panic")?;
    drop(sender);
    let is_late = killer.join().expect("waiting does not panic");
    let status = child.wait()?;
    if is_late || !status.success() {
        let why = if is_late { format!("not within {} s", limit.as_secs()) } else { status.to_string() };
        bail!("{command:?}: {why}: {errors}");
    }
    Ok(output)
}
