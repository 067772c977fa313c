//! Real trees: this repository and what else file systems hold, copied and compared byte for byte.

#![allow(dead_code, reason = "each of the tests with a devnet uses what it needs")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

/// Files and bytes of the repository that are taken, at most.
const FILES: usize = 4000;
const BYTES: u64 = 48 << 20;

/// One entry, as far as it must be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    /// Of files and directories; in nanoseconds.
    modified: Option<i128>,
    links: Option<u64>,
    content: Vec<u8>,
}

pub type Tree = BTreeMap<PathBuf, Entry>;

/// Bytes that do not compress and differ with the seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// This repository with its history, and beside it one of everything.
pub fn make(target: &Path) {
    fs::create_dir(target).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left = (FILES, BYTES);
    copy_some(root, &target.join("source"), &mut left);
    if let Some(history) = history_of(root) {
        copy_some(&history, &target.join("source/.git"), &mut left);
    }
    let odd = target.join("odd");
    fs::create_dir_all(odd.join("empty directory")).unwrap();
    File::create(odd.join("empty file")).unwrap();
    fs::write(odd.join("large"), noise(1, (9 << 20) + 123)).unwrap();
    fs::write(odd.join("zeros"), vec![0; 300_000]).unwrap();
    fs::write(odd.join("Grüße 世界 \u{1F600}"), "a name").unwrap();
    let mut sparse = File::create(odd.join("sparse")).unwrap();
    sparse.write_all(b"begin").unwrap();
    sparse.set_len(3_000_000).unwrap();
    symlink("large", odd.join("link")).unwrap();
    symlink("/nowhere/at all", odd.join("dangling")).unwrap();
    symlink("../odd", odd.join("loop")).unwrap();
    fs::write(odd.join("first name"), "two names").unwrap();
    fs::hard_link(odd.join("first name"), odd.join("second name")).unwrap();
    for (name, mode) in [("secret", 0o600), ("script", 0o755), ("readonly", 0o444), ("open", 0o666)] {
        fs::write(odd.join(name), name).unwrap();
        fs::set_permissions(odd.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::options().write(true).open(odd.join("script")).unwrap().set_modified(old).unwrap();
    fs::set_permissions(odd.join("empty directory"), fs::Permissions::from_mode(0o1711)).unwrap();
}

/// The history's directory; a work tree elsewhere only names it.
fn history_of(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    let Ok(words) = fs::read_to_string(&git) else { return git.is_dir().then_some(git) };
    let named = PathBuf::from(words.strip_prefix("gitdir: ")?.trim());
    named.ancestors().find(|path| path.ends_with(".git")).map(Path::to_path_buf)
}

/// Copies a directory that may change meanwhile, without what builds made, up to the limits.
fn copy_some(source: &Path, target: &Path, left: &mut (usize, u64)) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap().flatten() {
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let Ok(meta) = fs::symlink_metadata(&from) else { continue };
        if ["target", ".git"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if meta.is_dir() {
            copy_some(&from, &to, left);
        } else if meta.is_symlink() {
            symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else if meta.is_file() && left.0 > 0 && meta.len() <= left.1 {
            match fs::copy(&from, &to) {
                Ok(bytes) => *left = (left.0 - 1, left.1.saturating_sub(bytes)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", from.display()),
            }
        }
    }
}

/// `cp -a`.
pub fn copy(source: &Path, target: &Path) {
    let status = Command::new("cp").arg("-a").arg(source).arg(target).status().unwrap();
    assert!(status.success(), "cp -a {} {}: {status}", source.display(), target.display());
}

/// Everything under a directory.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut stack = vec![PathBuf::new()];
    while let Some(relative) = stack.pop() {
        let path = root.join(&relative);
        let fail = |error: io::Error| -> ! { panic!("{}: {error}", path.display()) };
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|error| fail(error));
        let content = if meta.is_dir() {
            for entry in fs::read_dir(&path).unwrap_or_else(|error| fail(error)) {
                stack.push(relative.join(entry.unwrap_or_else(|error| fail(error)).file_name()));
            }
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap_or_else(|error| fail(error)).into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap_or_else(|error| fail(error))
        };
        let nanos = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let entry = Entry {
            mode: meta.mode(),
            modified: (!meta.is_symlink()).then_some(nanos),
            links: meta.is_file().then_some(meta.nlink()),
            content,
        };
        tree.insert(relative, entry);
    }
    tree
}

/// Asserts that a directory is this tree; its files and bytes.
pub fn assert_same(wanted: &Tree, root: &Path, when: &str) {
    let found = read(root);
    let mut said = Vec::new();
    for (path, entry) in wanted {
        let shown = path.display();
        match found.get(path) {
            None => said.push(format!("{shown} is missing")),
            Some(it) if it.content != entry.content => said.push(format!(
                "{shown} differs: {} bytes, {} wanted, from {:?}",
                it.content.len(),
                entry.content.len(),
                it.content.iter().zip(&entry.content).position(|(a, b)| a != b)
            )),
            Some(it) if it != entry => said.push(format!(
                "{shown}: mode {:o} {:o}, links {:?} {:?}, time {:?} {:?}",
                it.mode, entry.mode, it.links, entry.links, it.modified, entry.modified
            )),
            Some(_) => {}
        }
    }
    said.extend(
        found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| format!("{} is new", path.display())),
    );
    let shown = said.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(said.is_empty(), "{when}: {} of {} differ:\n{shown}", said.len(), wanted.len());
}
