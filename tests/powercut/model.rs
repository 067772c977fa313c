//! What one writer may find again after a power cut: the names and bytes that it made, and which of them were promised.

use std::collections::BTreeMap;

/// What is found: by path, the bytes of a file; None is a directory.
pub type Found = BTreeMap<String, Option<Vec<u8>>>;

/// A file by its number; None is a directory. It shows no version before that one: its data was ordered before its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub file: Option<usize>,
    from: usize,
}

impl Entry {
    pub const DIRECTORY: Self = Self { file: None, from: 0 };
}

pub type Names = BTreeMap<String, Entry>;

struct File {
    /// The contents after each change; those before `synced` are let go.
    versions: Vec<Vec<u8>>,
    synced: usize,
}

/// Names change in one order, and each fsync makes all earlier changes of names durable; of bytes only those of its file.
pub struct Model {
    /// The names after each change since the last fsync.
    names: Vec<Names>,
    files: Vec<File>,
}

impl Model {
    /// What is there, all of it promised.
    pub fn new(found: &Found) -> Self {
        let mut model = Self { names: vec![Names::new()], files: Vec::new() };
        let mut names = Names::new();
        for (name, bytes) in found {
            let file = bytes.as_ref().map(|bytes| model.add(bytes.clone()));
            names.insert(name.clone(), Entry { file, from: 0 });
        }
        model.names = vec![names];
        model
    }

    /// A file that has no name yet.
    pub fn add(&mut self, bytes: Vec<u8>) -> usize {
        self.files.push(File { versions: vec![bytes], synced: 0 });
        self.files.len() - 1
    }

    pub fn names(&self) -> &Names {
        self.names.last().expect("never empty")
    }

    pub fn bytes(&self, file: usize) -> &[u8] {
        self.files[file].versions.last().expect("never empty")
    }

    /// Names are about to change.
    pub fn change(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names().clone();
        change(&mut names);
        self.names.push(names);
    }

    /// An entry for a file as it is from now on.
    pub fn entry(&self, file: usize, is_ordered: bool) -> Entry {
        Entry { file: Some(file), from: if is_ordered { self.files[file].versions.len() - 1 } else { 0 } }
    }

    /// The bytes of a file are about to change.
    pub fn write(&mut self, file: usize, bytes: Vec<u8>) {
        self.files[file].versions.push(bytes);
    }

    /// A file was synced.
    pub fn synced(&mut self, file: usize) {
        let File { versions, synced } = &mut self.files[file];
        *synced = versions.len() - 1;
        versions[..*synced].iter_mut().for_each(|version| *version = Vec::new());
        self.synced_names();
    }

    /// A directory was synced.
    pub fn synced_names(&mut self) {
        self.names.drain(..self.names.len() - 1);
    }

    /// Everything was synced.
    pub fn synced_all(&mut self) {
        (0..self.files.len()).for_each(|file| self.synced(file));
        self.synced_names();
    }

    /// Whether this is what a power cut may leave.
    pub fn check(&self, found: &Found) -> Result<(), String> {
        self.fitting(found).map(drop)
    }

    /// What was found after a kill is what there is now. Its names are durable, because the log was replayed; bytes that were not
    /// synced are not.
    pub fn go_on(&mut self, found: &Found) -> Result<(), String> {
        let names = self.fitting(found)?.clone();
        for (name, entry) in &names {
            if let (Some(file), Some(bytes)) = (entry.file, &found[name])
                && self.bytes(file) != bytes
            {
                self.write(file, bytes.clone());
            }
        }
        self.names = vec![names];
        Ok(())
    }

    fn fitting(&self, found: &Found) -> Result<&Names, String> {
        let mut why = String::new();
        for names in self.names.iter().rev() {
            match self.fits(names, found) {
                Ok(()) => return Ok(names),
                Err(error) => why = format!("{why}\n  {error}"),
            }
        }
        Err(format!("none of the {} states of the names since the last fsync fits:{why}", self.names.len()))
    }

    fn fits(&self, names: &Names, found: &Found) -> Result<(), String> {
        if let Some(missing) = names.keys().find(|name| !found.contains_key(*name)) {
            return Err(format!("{missing} is missing"));
        }
        if let Some(extra) = found.keys().find(|name| !names.contains_key(*name)) {
            return Err(format!("{extra} should not be there"));
        }
        for (name, entry) in names {
            match (entry.file, &found[name]) {
                (None, None) => {}
                (Some(file), Some(bytes)) => {
                    let File { versions, synced } = &self.files[file];
                    mixes(&versions[entry.from.max(*synced)..], bytes).map_err(|why| format!("{name}: {why}"))?;
                }
                _ => return Err(format!("{name} is of another kind")),
            }
        }
        Ok(())
    }
}

/// Whether these bytes are a mixture of versions of a file; zeros stand where a version has no byte.
fn mixes(versions: &[Vec<u8>], bytes: &[u8]) -> Result<(), String> {
    if versions.iter().any(|version| version == bytes) {
        return Ok(());
    }
    let lengths = || versions.iter().map(Vec::len);
    let (short, long) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if bytes.len() < short || bytes.len() > long {
        return Err(format!("it has {} bytes, not {short} to {long}, in {} versions", bytes.len(), versions.len()));
    }
    let is_known = |at: usize, byte: u8| versions.iter().any(|version| version.get(at).copied().unwrap_or(0) == byte);
    match bytes.iter().enumerate().find(|(at, byte)| !is_known(*at, **byte)) {
        None => Ok(()),
        Some((at, byte)) => {
            let wrong = bytes.iter().enumerate().filter(|(at, byte)| !is_known(*at, **byte));
            let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
            Err(format!(
                "byte {at} of {} is {byte:#x}, and {} bytes are of none of {} versions ({zeros} zeros there)",
                bytes.len(),
                wrong.count(),
                versions.len()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, bytes: &[u8]) -> Found {
        Found::from([(name.to_owned(), Some(bytes.to_vec()))])
    }

    #[test]
    fn a_file_is_as_it_was_synced_or_newer() {
        let mut model = Model::new(&found("a", b"1111"));
        let file = model.names()["a"].file.unwrap();
        model.write(file, b"2222".to_vec());
        model.synced(file);
        model.write(file, b"333333".to_vec());
        for fine in [&b"2222"[..], b"2323", b"22330", b"333333", b"22\x32\x32\0\0"] {
            assert!(model.check(&found("a", fine)).is_ok() != fine.contains(&b'0'), "{fine:?}");
        }
        for wrong in [&b"1111"[..], b"222", b"22\0\0", b"2222222"] {
            assert!(model.check(&found("a", wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_are_those_of_one_moment_since_the_last_fsync() {
        let mut model = Model::new(&found("a", b"1"));
        model.change(|names| {
            let entry = names.remove("a").unwrap();
            names.insert("b".to_owned(), entry);
        });
        model.change(|names| {
            names.remove("b");
        });
        for fine in [found("a", b"1"), found("b", b"1"), Found::new()] {
            model.check(&fine).unwrap();
        }
        let both = Found::from([("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), Some(b"1".to_vec()))]);
        assert!(model.check(&both).is_err());
        model.synced_names();
        assert!(model.check(&found("b", b"1")).is_err() && model.check(&Found::new()).is_ok());
    }
}
