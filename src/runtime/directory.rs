//! Directories that a power cut does not take away.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Makes a directory for its owner alone (mode 0700), and what is missing above it, durably: to flush a file, or the
/// directory it is in, does not keep the name of that directory. One that is there is left as it is. Blocks on the disk.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let make = || DirBuilder::new().mode(0o700).create(path);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(parent).and_then(|()| make()),
        made => made,
    };
    let is_new = match made {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => false,
        Err(error) => return Err(error),
    };
    // Also when it was there: whoever made it may have been killed before this.
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        Err(error) if is_new || error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        // Of a directory above that is not ours we found it.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn what_is_missing_is_made_for_its_owner_and_what_is_there_stays() {
        let base = tempfile::tempdir().expect("a directory");
        let path = base.path().join("a/b/c");
        for _ in 0..2 {
            make_directory(&path).expect("made");
        }
        for made in path.ancestors().take(3) {
            assert_eq!(fs::metadata(made).expect("there").mode() & 0o777, 0o700);
        }
        fs::write(base.path().join("file"), "").expect("written");
        assert_eq!(make_directory(&base.path().join("file")).expect_err("no").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(make_directory(&base.path().join("file/x")).expect_err("no").kind(), io::ErrorKind::NotADirectory);
    }
}
