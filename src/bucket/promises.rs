//! Tests of what the local disk and the names promise, without any consumer.

use std::{path::Path, sync::Arc};

use super::{
    Bucket, Error, FileKind, NewInode, Options, Parts, RenameMode, SetAttr, Timestamp, XattrMode,
    cell::{Cell, put_dirty},
    records::Dirty,
    tree::new_inode,
};
use crate::{
    base::{BucketId, Ino, Scheme, UnixMillis, limits},
    coding::BucketKey,
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    net::{Network, ShardClient, SimulatedOptions, SimulatedWorld},
    runtime::{CpuPool, ManualClock, SeededChance, Shutdown, Tasks},
    store::Batch,
};

/// A bucket in a directory whose consumers are all away.
fn open(directory: &Path) -> Bucket {
    let chance = Arc::new(SeededChance::new(1));
    let world = SimulatedWorld::new(chance.clone(), SimulatedOptions::default());
    let peer_key = PeerKey::from_seed([1; 32]);
    let certificate = OwnerKey::from_seed(&[2; 32]).certify(peer_key.peer_id(), Role::Producer, UnixMillis(1));
    let network: Arc<dyn Network> = world.join(peer_key.peer_id());
    let (tasks, clock) = (Tasks::new(Shutdown::new()), Arc::new(ManualClock::default()));
    let parts = dispatch::Parts {
        client: Arc::new(ShardClient::new(network, certificate)),
        tracker: None,
        clock: clock.clone(),
        chance: chance.clone(),
        tasks: tasks.clone(),
        pool: CpuPool::new(1),
    };
    let dispatcher = Arc::new(Dispatcher::new(parts, dispatch::Options::default()));
    let options = Options {
        name: "test".to_owned(),
        id: BucketId([3; 32]),
        directory: directory.to_path_buf(),
        scheme: Scheme::FREE,
        staging_bytes: 64 << 20,
        cache_memory_bytes: 1 << 20,
        cache_disk_bytes: 1 << 20,
        read_timeout: limits::READ_TIMEOUT,
        is_durability_network: false,
        uid: 0,
        gid: 0,
    };
    Bucket::start(options, Parts { key: BucketKey::new([4; 32]), dispatcher, clock, chance, tasks }).expect("opens")
}

fn new(kind: FileKind) -> NewInode {
    NewInode { kind, mode: 0o644, uid: 0, gid: 0, rdev: 0, target: Vec::new() }
}

fn file(bucket: &Bucket, name: &[u8]) -> Ino {
    bucket.make(Ino::ROOT, name, new(FileKind::File)).expect("made").ino
}

fn write(bucket: &Bucket, ino: Ino, offset: u64, bytes: &[u8]) {
    assert_eq!(bucket.write_now(ino, offset, bytes).expect("written"), Some(bytes.len() as u32));
}

fn truncate(bucket: &Bucket, ino: Ino, size: u64) {
    bucket.setattr(ino, SetAttr { size: Some(size), ..SetAttr::default() }).expect("truncated");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn staging_files(directory: &Path) -> usize {
    let inner = |path| std::fs::read_dir(path).expect("listed").count();
    std::fs::read_dir(directory.join("staging")).expect("listed").map(|entry| inner(entry.expect("one").path())).sum()
}

#[tokio::test]
async fn a_write_after_an_fsync_does_not_take_back_what_it_promised() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let ino = file(&bucket, b"a");
    write(&bucket, ino, 0, &[b'a'; 8192]);
    bucket.fsync_blocking(ino, false).expect("durable");
    write(&bucket, ino, 0, &[b'b'; 4096]);
    truncate(&bucket, ino, 6000);
    copy(directory.path(), after_crash.path());
    let reopened = open(after_crash.path());
    let bytes = reopened.read_now(ino, 0, 8192).expect("reads").expect("all is here");
    assert_eq!(bytes.len(), 6000);
    assert!(bytes.iter().all(|byte| matches!(byte, b'a' | b'b')), "bytes that were synced are gone");
}

#[test]
fn what_is_written_during_a_flush_is_not_covered_by_it() {
    let cell = Cell::new(Ino(20), new_inode(&new(FileKind::File), Ino::ROOT, Timestamp::default()), &Dirty::default());
    let mut state = cell.lock();
    state.dirty.insert(0..100, None);
    state.unlogged.insert(0..100, 0);
    state.epoch = 1;
    state.unlogged.insert(10..20, 1);
    assert_eq!(state.settle_flushed(1), vec![0..10, 20..100]);
    assert_eq!(state.unlogged.covered_bytes(), 10);
    assert_eq!(state.logged.covered_bytes(), 90);
    state.forget_staged(0..50);
    assert_eq!(
        (state.dirty.covered_bytes(), state.unlogged.covered_bytes(), state.logged.covered_bytes()),
        (50, 0, 50)
    );
    let mut batch = Batch::new();
    put_dirty(cell.ino, &state.logged, &mut batch);
    assert!(!batch.is_empty());
}

#[tokio::test]
async fn bytes_cut_off_give_their_space_back_when_the_cut_is_durable() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    let ino = file(&bucket, b"a");
    write(&bucket, ino, 0, &[1; 100_000]);
    assert_eq!((bucket.staged_bytes(), staging_files(directory.path())), (100_000, 1));
    truncate(&bucket, ino, 0);
    assert_eq!((bucket.staged_bytes(), staging_files(directory.path())), (0, 1));
    bucket.sync_all_blocking().expect("durable");
    assert_eq!(staging_files(directory.path()), 0);
    write(&bucket, ino, 50, b"new");
    assert_eq!(bucket.read_now(ino, 48, 10).expect("reads").as_deref(), Some(&b"\0\0new"[..]));
}

#[tokio::test]
async fn renames_of_one_inode_do_nothing_and_of_a_directory_keep_the_tree() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    let ino = file(&bucket, b"a");
    bucket.link(ino, Ino::ROOT, b"b").expect("linked");
    for mode in [RenameMode::Replace, RenameMode::Exchange] {
        bucket.rename(Ino::ROOT, b"a", Ino::ROOT, b"b", mode).expect("nothing to do");
        bucket.rename(Ino::ROOT, b"a", Ino::ROOT, b"a", mode).expect("nothing to do");
    }
    assert_eq!(bucket.readdir(Ino::ROOT, 0, 100).expect("listed").len(), 2);
    assert_eq!(bucket.getattr(ino).expect("there").links, 2);
    let outer = bucket.make(Ino::ROOT, b"outer", new(FileKind::Directory)).expect("made").ino;
    let inner = bucket.make(outer, b"inner", new(FileKind::Directory)).expect("made").ino;
    let onto_parent = bucket.rename(outer, b"inner", Ino::ROOT, b"outer", RenameMode::Replace);
    assert!(matches!(onto_parent, Err(Error::NotEmpty)), "{onto_parent:?}");
    let into_itself = bucket.rename(Ino::ROOT, b"outer", inner, b"x", RenameMode::Replace);
    assert!(matches!(into_itself, Err(Error::Invalid(_))), "{into_itself:?}");
    bucket.rename(outer, b"inner", Ino::ROOT, b"moved", RenameMode::Replace).expect("moved");
    let links = |ino| bucket.getattr(ino).expect("there").links;
    assert_eq!((links(Ino::ROOT), links(outer), links(inner)), (4, 2, 2));
}

#[tokio::test]
async fn attributes_have_an_end_and_are_not_what_nobody_enforces() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    let ino = file(&bucket, b"a");
    let set = |name: &[u8]| bucket.setxattr(ino, name, b"x", XattrMode::Set);
    assert!(matches!(set(b"system.posix_acl_access"), Err(Error::Unsupported)));
    for number in 0..limits::XATTRS {
        set(format!("user.{number}").as_bytes()).expect("set");
    }
    assert!(matches!(set(b"user.more"), Err(Error::Full(_))));
    set(b"user.0").expect("one that is there may change");
    assert_eq!(bucket.listxattr(ino).expect("listed").len(), limits::XATTRS);
}
