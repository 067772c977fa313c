//! The sled trees of a bucket: opened, and checked to be of a format that this release reads.

use std::path::Path;

use super::{
    Error,
    schema::{Table, key},
};

/// Memory that sled may use for its cache, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
const FORMAT_KEY: &[u8] = b"format";
const FORMAT: &[u8] = b"openbucket-bucket-1";

pub(super) fn trees_error(error: sled::Error) -> Error {
    Error::Trees(error.to_string())
}

/// Opens the trees in this directory, or makes them. They are flushed only when that is asked for.
pub(super) fn open(path: &Path) -> Result<sled::Db, Error> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let trees = config.open().map_err(|error| match error {
        // The disk's trouble (full, read-only) says nothing of the data.
        sled::Error::Io(source) => Error::io("cannot open", path)(source),
        other => Error::Corrupt {
            path: path.to_path_buf(),
            why: format!("the trees do not open: {other}. Restore the state directory from a backup"),
        },
    })?;
    check_format(&trees, path)?;
    Ok(trees)
}

fn check_format(trees: &sled::Db, path: &Path) -> Result<(), Error> {
    let name = key(Table::Meta, &[FORMAT_KEY]);
    match trees.get(&name).map_err(trees_error)? {
        Some(found) if *found == *FORMAT => Ok(()),
        Some(found) => Err(Error::Corrupt {
            path: path.to_path_buf(),
            why: format!(
                "state of format '{}', this release reads '{}': upgrade openbucket",
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(FORMAT)
            ),
        }),
        None if trees.is_empty() => {
            trees.insert(&name, FORMAT).map_err(trees_error)?;
            trees.flush().map_err(trees_error)?;
            Ok(())
        }
        None => {
            Err(Error::Corrupt { path: path.to_path_buf(), why: "these trees are not those of a bucket".to_owned() })
        }
    }
}
