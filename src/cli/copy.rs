//! `file upload` and `file download`: whole or not at all, through the mount.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{
    UsageError,
    args::{DownloadArgs, UploadArgs},
    locate,
    progress::Bar,
};
use crate::base::format_bytes;

const BUFFER_BYTES: usize = 1 << 20;
const STANDARD: &str = "-";

/// Copies SRC (or standard input) to DEST in a mount.
pub fn upload(args: &UploadArgs) -> anyhow::Result<()> {
    let is_standard = args.source == Path::new(STANDARD);
    let target = final_path(&args.target, (!is_standard).then_some(args.source.as_path()))?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::metadata(directory).with_context(|| format!("cannot write to {}", directory.display()))?;
    if locate::find_mount(&target)?.is_none() {
        bail!("{} is not inside a mounted bucket: mount one first (openbucket mount DIR)", target.display());
    }
    if is_standard {
        return write_whole(io::stdin().lock(), &target, 0o666 & !umask(), None);
    }
    let (file, meta) = open_source(&args.source)?;
    write_whole(file, &target, meta.permissions().mode() & 0o7777, Some(meta.len()))
}

/// Copies SRC in a mount to DEST (or standard output).
pub fn download(args: &DownloadArgs) -> anyhow::Result<()> {
    if args.source == Path::new(STANDARD) {
        return Err(UsageError::of("download reads from a mount, not from standard input"));
    }
    if locate::find_mount(&args.source)?.is_none() {
        bail!("{} is not inside a mounted bucket: mount it first (openbucket mount DIR)", args.source.display());
    }
    let (mut file, meta) = open_source(&args.source)?;
    if args.target != Path::new(STANDARD) {
        let target = final_path(&args.target, Some(&args.source))?;
        return write_whole(file, &target, meta.permissions().mode() & 0o7777, Some(meta.len()));
    }
    let mut stdout = io::stdout().lock();
    let copied = copy(&mut file, &mut stdout, meta.len())?;
    stdout.flush().context("cannot write to standard output")?;
    check_size(copied, meta.len())
}

fn open_source(path: &Path) -> anyhow::Result<(File, fs::Metadata)> {
    let words = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(words)?;
    let meta = file.metadata().with_context(words)?;
    if meta.is_dir() {
        bail!("{} is a directory: copy trees with cp -r or rsync", path.display());
    }
    if !meta.is_file() {
        bail!("{} is not a regular file: give its bytes on standard input (-)", path.display());
    }
    Ok((file, meta))
}

/// DEST, or the file of SRC's name in it when it is a directory.
fn final_path(target: &Path, source: Option<&Path>) -> anyhow::Result<PathBuf> {
    if !target.is_dir() {
        return Ok(target.to_path_buf());
    }
    match source.and_then(Path::file_name) {
        Some(name) => Ok(target.join(name)),
        None => Err(UsageError::of(format!("{} is a directory: name the file", target.display()))),
    }
}

/// Writes beside the target, flushes, and moves into place; what was there stays until then.
fn write_whole(source: impl Read, target: &Path, mode: u32, size: Option<u64>) -> anyhow::Result<()> {
    let Some(parent) = target.parent() else { bail!("{} is not a file name", target.display()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let partial = parent.join(format!(".openbucket-{}.part", std::process::id()));
    let result = write_partial(source, &partial, mode, size).and_then(|()| {
        fs::rename(&partial, target).with_context(|| format!("cannot make {}", target.display()))?;
        File::open(parent).and_then(|directory| directory.sync_all()).context("cannot flush the directory")
    });
    if result.is_err() {
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(op = "copy", %error, "the partial file {} stays", partial.display());
            }
            _ => {}
        }
    }
    result
}

fn write_partial(mut source: impl Read, partial: &Path, mode: u32, size: Option<u64>) -> anyhow::Result<()> {
    let words = || format!("cannot write {}", partial.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).with_context(words)?;
    let copied = copy(&mut source, &mut file, size.unwrap_or(0)).with_context(words)?;
    if let Some(size) = size {
        check_size(copied, size)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).with_context(words)?;
    file.sync_all().with_context(words)
}

fn copy(source: &mut impl Read, target: &mut impl Write, total: u64) -> anyhow::Result<u64> {
    let bar = Bar::new("copying");
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context(format!("reading failed after {}", format_bytes(copied))),
        };
        target.write_all(&buffer[..count]).context(format!("writing failed after {}", format_bytes(copied)))?;
        copied += count as u64;
        bar.copied(copied, total);
    }
}

fn check_size(copied: u64, size: u64) -> anyhow::Result<()> {
    if copied != size {
        bail!("{copied} bytes were copied, but the file has {size}: it changed meanwhile; copy it again");
    }
    Ok(())
}

/// The umask of this process, read without changing it.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o022)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = directory.path().join("file");
        fs::write(&target, "before").expect("written");
        write_whole(&b"after!"[..], &target, 0o640, Some(6)).expect("copied");
        assert_eq!(fs::read(&target).expect("read"), b"after!");
        assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o7777, 0o640);
        let error = write_whole(&b"short"[..], &target, 0o640, Some(6)).unwrap_err();
        assert!(error.to_string().contains("5 bytes were copied"), "{error}");
        assert_eq!(fs::read(&target).expect("read"), b"after!");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "no partial file is left");
    }

    #[test]
    fn a_directory_takes_the_name_of_the_source() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = final_path(directory.path(), Some(Path::new("/x/name"))).expect("a path");
        assert_eq!(path, directory.path().join("name"));
        assert!(final_path(directory.path(), None).expect_err("no name").is::<UsageError>());
    }
}
