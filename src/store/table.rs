//! Small typed tables over sled for state that may lose its last second: flushed in groups, in the background.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Error, trees::Trees};
use crate::base::{Record, limits};

/// Memory that the tables of one directory may use for their cache, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

fn trees(error: sled::Error) -> Error {
    Error::Trees(error.to_string())
}

/// The tables of one directory. Changes are durable within `limits::TABLE_FLUSH`, or after [`flush`](Self::flush).
#[derive(Clone)]
pub struct Tables {
    trees: Arc<Trees>,
    path: PathBuf,
}

impl Tables {
    /// Opens or makes the tables in this directory. The caller holds the lock of the state. Reads the disk.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let interval = u64::try_from(limits::TABLE_FLUSH.as_millis()).expect("a short time");
        let config = sled::Config::new().cache_capacity(CACHE_BYTES).flush_every_ms(Some(interval));
        let opened = Trees::open(path, config).map_err(|error| match error {
            sled::Error::Io(source) => Error::io("cannot open", path)(source),
            other => Error::Corrupt { path: path.to_path_buf(), why: other.to_string() },
        })?;
        Ok(Self { trees: Arc::new(opened), path: path.to_path_buf() })
    }

    /// The table of this name.
    pub fn table<V: Record>(&self, name: &str) -> Result<RecordTable<V>, Error> {
        Ok(RecordTable {
            tree: self.trees.open_tree(name).map_err(trees)?,
            path: self.path.clone(),
            values: PhantomData,
        })
    }

    /// Makes everything durable. Slow: call it off the async threads.
    pub fn flush(&self) -> Result<(), Error> {
        self.trees.flush().map_err(trees)
    }
}

/// Keys with their records, or why one does not decode.
pub type Scanned<V> = Vec<(Vec<u8>, Result<V, Error>)>;

/// Records by key, in the order of the keys' bytes.
#[derive(Clone)]
pub struct RecordTable<V> {
    tree: sled::Tree,
    path: PathBuf,
    values: PhantomData<fn() -> V>,
}

impl<V: Record> RecordTable<V> {
    /// The record of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<V>, Error> {
        match self.tree.get(key).map_err(trees)? {
            Some(bytes) => self.decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Sets the record of a key.
    pub fn put(&self, key: &[u8], value: &V) -> Result<(), Error> {
        self.tree.insert(key, value.encode()).map(drop).map_err(trees)
    }

    /// Removes a key, if it is there.
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.tree.remove(key).map(drop).map_err(trees)
    }

    /// At most `max` records whose keys are after `after`, in order. A record that does not decode is an error in
    /// its place.
    pub fn scan(&self, after: Option<&[u8]>, max: usize) -> Result<Scanned<V>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let entries = self.tree.range::<&[u8], _>((from, Unbounded)).take(max).map(|entry| {
            let (key, bytes) = entry.map_err(trees)?;
            Ok((key.to_vec(), self.decode(&bytes)))
        });
        entries.collect()
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, Error> {
        V::decode(bytes).map_err(|error| Error::Corrupt { path: self.path.clone(), why: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample(u32);

    impl Record for Sample {
        const NAME: &'static str = "sample";
    }

    #[test]
    fn records_survive_and_damage_is_told_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let tables = Tables::open(directory.path()).expect("opens");
        let table = tables.table::<Sample>("samples").expect("opens");
        for number in [3u32, 1, 2] {
            table.put(&number.to_be_bytes(), &Sample(number)).expect("put");
        }
        table.delete(&2u32.to_be_bytes()).expect("deleted");
        table.tree.insert(b"bad", b"").expect("planted");
        tables.flush().expect("flushed");
        drop((table, tables));
        let tables = Tables::open(directory.path()).expect("opens again");
        let table = tables.table::<Sample>("samples").expect("opens");
        assert_eq!(table.get(&3u32.to_be_bytes()).expect("reads"), Some(Sample(3)));
        assert_eq!(table.get(&2u32.to_be_bytes()).expect("reads"), None);
        let all = table.scan(Some(&1u32.to_be_bytes()), 10).expect("scans");
        assert_eq!(all.len(), 2);
        assert!(all[0].1.as_ref().is_ok_and(|sample| *sample == Sample(3)) && all[1].1.is_err());
    }
}
