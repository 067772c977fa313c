//! What programs do to files, checked on the mount, after all copies here are dropped, and at the next mount.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::{
    fixture::Cluster,
    tree::{self, noise},
};

#[test]
fn file_operations_survive_eviction_and_the_next_mount() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let (dir, twin) = (cluster.file("dir"), cluster.path("twin"));
    // Beside the mount, the same on the disk of this machine is the model.
    for place in [&dir, &twin] {
        fs::create_dir(place).unwrap();
        first_half(place);
    }
    tree::assert_same(&tree::read(&twin), &dir, "at once");
    cluster.sync();
    cluster.evict("");
    tree::assert_same(&tree::read(&twin), &dir, "from consumers");
    // Now on files whose bytes are with consumers.
    let is_mapped = second_half(&twin, &cluster.path("mmap"));
    assert_eq!(second_half(&dir, &cluster.path("mmap")), is_mapped);
    tree::assert_same(&tree::read(&twin), &dir, "changed");
    cluster.sync();
    cluster.evict("");
    tree::assert_same(&tree::read(&twin), &dir, "changed, from consumers");

    let space = rustix::fs::statvfs(&dir).unwrap();
    let (total, free) = (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize);
    // Six times 10 GB at 4+2 are 40 GB, as far as this machine's disk has them.
    assert!(total > 0 && free > 0 && free <= total && total <= 40_000_000_000, "{free} of {total}");

    unlinked_while_open(&cluster);
    cluster.down();
    cluster.up();
    tree::assert_same(&tree::read(&twin), &dir, "at the next mount");
    cluster.down();
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn first_half(dir: &Path) {
    fs::write(dir.join("overwritten"), noise(1, 6_000_000)).unwrap();
    open(&dir.join("overwritten")).write_all_at(&noise(2, 100_000), 4_150_000).unwrap();
    fs::write(dir.join("cut"), noise(3, 5_000_000)).unwrap();
    open(&dir.join("cut")).set_len(4_200_001).unwrap();
    fs::write(dir.join("grown"), "begin").unwrap();
    open(&dir.join("grown")).set_len(100_000).unwrap();
    fs::write(dir.join("log"), "one\n").unwrap();
    OpenOptions::new().append(true).open(dir.join("log")).unwrap().write_all(b"two\n").unwrap();
    fs::write(dir.join("old"), "old").unwrap();
    fs::write(dir.join("new"), noise(4, 70_000)).unwrap();
    fs::rename(dir.join("new"), dir.join("old")).unwrap();
    fs::write(dir.join("name"), "linked").unwrap();
    fs::hard_link(dir.join("name"), dir.join("other name")).unwrap();
    symlink("name", dir.join("link")).unwrap();
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::write(dir.join("a/b/c/deep"), "deep").unwrap();
    fs::rename(dir.join("a/b"), dir.join("moved")).unwrap();
    fs::write(dir.join("removed"), noise(5, 200_000)).unwrap();
    fs::write(dir.join("mapped"), noise(6, 300_000)).unwrap();
    settle_times(dir);
}

/// What was done first is changed again; whether a mapping could be tried.
fn second_half(dir: &Path, program: &Path) -> bool {
    let file = open(&dir.join("overwritten"));
    for (seed, offset, length) in [(10, 0, 1), (11, 65_535, 2), (12, 4_194_300, 10), (13, 4_160_000, 70_000)] {
        file.write_all_at(&noise(seed, length), offset).unwrap();
    }
    file.sync_all().unwrap();
    let file = open(&dir.join("cut"));
    file.set_len(1_000).unwrap();
    file.set_len(2_000_000).unwrap();
    file.write_all_at(b"end", 4_500_000).unwrap();
    OpenOptions::new().append(true).open(dir.join("log")).unwrap().write_all(b"three\n").unwrap();
    File::create(dir.join("grown")).unwrap();
    fs::write(dir.join("fresh"), "fresh").unwrap();
    fs::rename(dir.join("fresh"), dir.join("old")).unwrap();
    open(&dir.join("other name")).write_all_at(b"L", 0).unwrap();
    fs::remove_file(dir.join("name")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    symlink("other name", dir.join("link")).unwrap();
    fs::remove_file(dir.join("removed")).unwrap();
    fs::rename(dir.join("moved"), dir.join("a/back")).unwrap();
    fs::set_permissions(dir.join("log"), fs::Permissions::from_mode(0o4750)).unwrap();
    let is_mapped = map(program, &dir.join("mapped"));
    settle_times(dir);
    is_mapped
}

/// Writes through a shared mapping, with a program of its own: that is not to be had in safe Rust.
fn map(program: &Path, file: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/mmap.c");
    if !program.exists() {
        let built = Command::new("cc").arg("-o").arg(program).arg(source).status();
        if !built.is_ok_and(|status| status.success()) {
            println!("skipped: mappings, for want of a C compiler");
            return false;
        }
    }
    let status = Command::new(program).arg(file).args(["131070", "through a mapping"]).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(&fs::read(file).unwrap()[131_070..131_087], b"through a mapping");
    true
}

/// Gives everything the times that the model has too.
fn settle_times(dir: &Path) {
    let mut stack = vec![dir.to_path_buf()];
    let mut seconds = 1_500_000_000;
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            stack.extend(below);
        }
        if !meta.is_symlink() {
            seconds += 1;
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 987_654_321);
            File::open(&path).unwrap().set_modified(time).unwrap();
        }
    }
}

fn unlinked_while_open(cluster: &Cluster) {
    let path = cluster.file("unlinked");
    fs::write(&path, noise(20, 150_000)).unwrap();
    let mut file = open(&path);
    cluster.sync();
    cluster.evict("unlinked");
    fs::remove_file(&path).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"after the end").unwrap();
    file.rewind().unwrap();
    let mut data = Vec::new();
    file.read_to_end(&mut data).unwrap();
    assert!(data[..150_000] == noise(20, 150_000) && &data[150_000..] == b"after the end");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert!(!path.exists());
}
