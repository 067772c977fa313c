//! One process per state directory, held by an advisory lock that ends with the process.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::Error;
use crate::runtime::make_directory;

/// Owns a state directory until dropped or until the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Makes the directory (mode 0700) if needed and locks it. `role` is told to whoever comes second.
    pub fn acquire(directory: &Path, role: &str) -> Result<Self, Error> {
        make_directory(directory).map_err(Error::io("cannot create state directory", directory))?;
        let path = directory.join("lock");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("cannot open", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let read = Read::by_ref(&mut file).take(200).read_to_string(&mut holder);
            let holder = match read {
                Ok(count) if count > 0 => holder.trim().to_owned(),
                _ => "another process".to_owned(),
            };
            return Err(Error::Locked { path: directory.to_path_buf(), holder });
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "openbucket {role}, process {}", std::process::id())
        };
        write(&mut file).map_err(Error::io("cannot write", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_was_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = StateLock::acquire(directory.path(), "mount").expect("free");
        let second = StateLock::acquire(directory.path(), "mount").expect_err("taken");
        assert!(second.to_string().contains("openbucket mount, process"), "{second}");
        drop(first);
        StateLock::acquire(directory.path(), "mount").expect("free again");
    }
}
