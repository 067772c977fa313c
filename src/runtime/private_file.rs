//! Files for their owner alone: written whole or not at all, read only when nobody else may read them.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

/// Why a private file is not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The disk did not do as told.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Others may read or write it: its mode.
    #[error("others may read it (mode {0:03o})")]
    Mode(u32),
    /// It has more bytes than such a file can have.
    #[error("it is too long")]
    TooLong,
}

/// The bytes of a file, `limit_bytes` at most; None when there is none. One that others may read or write is refused.
/// What was read is wiped when it is dropped. Blocks on the disk.
pub fn read_private(path: &Path, limit_bytes: usize) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Mode(mode));
    }
    // With room for all of it from the start no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit_bytes + 1));
    file.take(limit_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit_bytes { Err(PrivateFileError::TooLong) } else { Ok(Some(bytes)) }
}

/// Writes beside, flushes, moves into place, flushes the directory: after a crash there is the file before or the file
/// after. Without `may_replace` one that is there is left as it is: `AlreadyExists`. The caller sees to it that nobody else
/// writes there at the time. Blocks on the disk.
pub fn write_private(path: &Path, bytes: &[u8], may_replace: bool) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let beside = directory.join(format!(".{}.new", name.to_string_lossy()));
    // A rest of an attempt that died.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if may_replace {
        fs::rename(&beside, path)?;
    } else {
        // Unlike a rename, a link never overwrites.
        let linked = fs::hard_link(&beside, path);
        fs::remove_file(&beside)?;
        linked?;
    }
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owner_s_alone_and_replaced_only_when_that_is_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        assert!(read_private(&path, 9).expect("looked").is_none());
        fs::write(directory.path().join(".secret.new"), "half a").expect("left by an attempt that died");
        write_private(&path, b"one", false).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(write_private(&path, b"two", false).expect_err("there").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_private(&path, 3).expect("read").expect("there").as_slice(), b"one");
        write_private(&path, b"two", true).expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing is left beside it");
        assert!(matches!(read_private(&path, 2), Err(PrivateFileError::TooLong)));
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert!(matches!(read_private(&path, 9), Err(PrivateFileError::Mode(found)) if found == mode));
        }
    }
}
