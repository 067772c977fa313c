//! Who keeps a mount busy, as /proc tells it: links and maps are read, nothing below the mount is touched.

use std::{
    ffi::OsString,
    fs,
    io::Read,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Instant,
};

use super::table;
use crate::base::limits::{HOLDER_PATHS, HOLDERS, HOLDERS_TIMEOUT, PROCESS_MAP_BYTES};

/// A process, and some of what it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    pid: u32,
    paths: Vec<PathBuf>,
}

/// One sentence that says which processes use which paths at or below a mount point without symlinks, and what else is
/// mounted below it. Of other users' processes only root sees more than that they run. Blocks for a few seconds at most.
pub fn who_holds(mountpoint: &Path) -> String {
    let words = |holder: &Holder| {
        let paths: Vec<String> = holder.paths.iter().map(|path| path.display().to_string()).collect();
        format!("{} ({}): {}", holder.name, holder.pid, paths.join(", "))
    };
    let holders = find(mountpoint);
    let mut parts: Vec<String> = holders.iter().take(HOLDERS).map(words).collect();
    if holders.len() > HOLDERS {
        parts.push("others".to_owned());
    }
    let below = table::below(mountpoint).unwrap_or_default();
    parts.extend(below.iter().take(HOLDERS).map(|path| format!("what is mounted on {}", path.display())));
    let shown = mountpoint.display();
    if parts.is_empty() {
        return format!("{shown} is in use by a process that only root can see: fuser -vm {shown} as root names it");
    }
    format!("{shown} is in use by {}: close the files and leave the directories, then try again", parts.join("; "))
}

/// As many as are found in time, one more than are named.
fn find(mountpoint: &Path) -> Vec<Holder> {
    let end = Instant::now() + HOLDERS_TIMEOUT;
    let (sender, found) = mpsc::sync_channel(HOLDERS + 1);
    let owned = mountpoint.to_path_buf();
    // Of its own, because the map of a process that hangs can be kept from being read.
    let started = std::thread::Builder::new().name("holders".into()).spawn(move || scan(&owned, end, &sender));
    if started.is_err() {
        return Vec::new();
    }
    let mut holders = Vec::new();
    while holders.len() <= HOLDERS {
        match found.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(holder) => holders.push(holder),
            Err(_) => break,
        }
    }
    holders
}

fn scan(mountpoint: &Path, end: Instant, sender: &mpsc::SyncSender<Holder>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| *pid != std::process::id()) {
        if Instant::now() > end {
            return;
        }
        let paths = used_by(Path::new("/proc").join(pid.to_string()).as_path(), mountpoint);
        if paths.is_empty() {
            continue;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if sender.send(Holder { name: name.trim().to_owned(), pid, paths }).is_err() {
            return;
        }
    }
}

/// Paths at or below the mount point that a process works in, has open or has mapped; each once, and not all of many.
fn used_by(process: &Path, mountpoint: &Path) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = [process.join("cwd"), process.join("root")].into_iter().chain(descriptors);
    let linked = links.filter_map(|link| fs::read_link(link).ok());
    let mut used: Vec<PathBuf> = Vec::new();
    let mut keep = |path: PathBuf| {
        if path.starts_with(mountpoint) && !used.contains(&path) && used.len() < HOLDER_PATHS {
            used.push(path);
        }
    };
    linked.for_each(&mut keep);
    let mut maps = Vec::new();
    let opened = fs::File::open(process.join("maps"));
    // What cannot be read is another user's.
    if opened.and_then(|file| file.take(PROCESS_MAP_BYTES).read_to_end(&mut maps)).is_ok() {
        maps.split(|byte| *byte == b'\n').filter_map(mapped).for_each(&mut keep);
    }
    used
}

/// `address permissions offset device inode    path`: the path, if there is one.
fn mapped(line: &[u8]) -> Option<PathBuf> {
    let start = line.iter().position(|byte| *byte == b'/')?;
    Some(PathBuf::from(OsString::from_vec(line[start..].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_with_what_it_uses() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep");
        let file = directory.path().join("open file");
        let opened = fs::File::create(&file).unwrap();
        let mut child = child.arg("60").current_dir(directory.path()).stdin(opened).spawn().unwrap();
        let holders = find(directory.path());
        child.kill().unwrap();
        child.wait().unwrap();
        let expected = Holder { name: "sleep".into(), pid: child.id(), paths: vec![directory.path().into(), file] };
        assert_eq!(holders, [expected]);
        assert!(who_holds(directory.path()).contains("only root can see"));
    }

    #[test]
    fn a_map_has_the_path_last() {
        let line = b"7f0000000000-7f0000001000 r--s 00000000 00:2f 12                         /mnt/a b (deleted)";
        assert_eq!(mapped(line), Some("/mnt/a b (deleted)".into()));
        assert_eq!(mapped(b"7f00-7f01 rw-p 00000000 00:00 0 [stack]"), None);
        let mut own = Vec::new();
        fs::File::open("/proc/self/maps").unwrap().read_to_end(&mut own).unwrap();
        assert!(own.split(|byte| *byte == b'\n').filter_map(mapped).any(|path| path.is_absolute()));
    }
}
