//! Tests of what the local disk and the names promise, without any consumer.

use std::{path::Path, sync::Arc};

use super::{
    Allocation, Bucket, Error, FileKind, NewInode, Options, Parts, RenameMode, Seek, SetAttr, Timestamp, XattrMode,
    cell::Cell, records::Dirty, room::tests::open_on, tree::new_inode,
};
use crate::{
    base::{BucketId, Ino, RangeSet, Record, Scheme, UnixMillis, limits},
    coding::BucketKey,
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    net::{Network, ShardClient, SimulatedOptions, SimulatedWorld},
    runtime::{CpuPool, ManualClock, SeededChance, Shutdown, Tasks},
    store::{Batch, DiskOp, FaultyDisk, SimulatedDisk, Table},
};

/// A bucket in a directory whose consumers are all away.
pub(crate) fn open(directory: &Path) -> Bucket {
    let (options, parts) = setting(directory);
    Bucket::start(options, parts).expect("opens")
}

impl Bucket {
    /// Somebody is at this file for as long as the work takes.
    pub(crate) fn hold(&self, ino: Ino, work: impl FnOnce()) {
        let cell = self.inner.cell(ino).expect("there");
        let _held = cell.lock();
        work();
    }
}

/// What it is made of.
pub(super) fn setting(directory: &Path) -> (Options, Parts) {
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
    (options, Parts { key: BucketKey::new([4; 32]), dispatcher, clock, chance, tasks })
}

pub(super) fn new(kind: FileKind) -> NewInode {
    NewInode { kind, mode: 0o644, umask: 0, uid: 0, gid: 0, rdev: 0, target: Vec::new() }
}

pub(super) fn file(bucket: &Bucket, name: &[u8]) -> Ino {
    bucket.make(Ino::ROOT, name, new(FileKind::File)).expect("made").ino
}

pub(super) fn write(bucket: &Bucket, ino: Ino, offset: u64, bytes: &[u8]) {
    assert_eq!(bucket.write_now(ino, offset, bytes).expect("written"), Some(bytes.len() as u32));
}

fn truncate(bucket: &Bucket, ino: Ino, size: u64) {
    bucket.setattr(ino, SetAttr { size: Some(size), ..SetAttr::default() }).expect("truncated");
}

pub(super) fn copy(from: &Path, to: &Path) {
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
    let entries = std::fs::read_dir(directory.join("staging")).expect("listed").map(|entry| entry.expect("one").path());
    entries.filter(|path| path.is_dir()).map(inner).sum()
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
    let cell = Cell::new(Ino(20), new_inode(&new(FileKind::File), Ino::ROOT, Timestamp::default()), RangeSet::new());
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
    assert!(state.logged.put(cell.ino, &mut batch));
    assert!(!batch.is_empty());
}

/// A file with so many staged ranges, synced.
fn riddled(bucket: &Bucket, count: u64) -> Ino {
    let ino = file(bucket, b"riddled");
    for at in 0..count {
        write(bucket, ino, at * 2, &[at as u8]);
    }
    bucket.fsync_blocking(ino, false).expect("durable");
    ino
}

fn assert_riddled(bucket: &Bucket, ino: Ino, count: u64) {
    let mut at = 0;
    while at < count * 2 - 1 {
        let bytes = bucket.read_now(ino, at, 64 << 10).expect("reads").expect("all is here");
        for (offset, byte) in (at..).zip(&bytes) {
            assert_eq!(*byte, if offset % 2 == 0 { (offset / 2) as u8 } else { 0 }, "at {offset}");
        }
        at += bytes.len() as u64;
    }
}

#[tokio::test]
async fn a_file_may_have_more_staged_ranges_than_a_record_holds() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let count = limits::RANGES_PER_BATCH as u64 + 1000;
    let ino = riddled(&bucket, count);
    copy(directory.path(), after_crash.path());
    let reopened = open(after_crash.path());
    assert_riddled(&reopened, ino, count);
    truncate(&reopened, ino, 0);
    assert!(reopened.inner.stored_ranges().expect("reads").is_empty());
}

#[tokio::test]
async fn staged_ranges_of_an_earlier_release_are_taken_over() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let count = 5000;
    let ino = riddled(&bucket, count);
    let database = &bucket.inner.database;
    let mut stored = bucket.inner.stored_ranges().expect("reads");
    let ranges: Vec<_> =
        stored.remove(&ino).expect("staged").iter().map(|(range, ())| (range.start, range.end)).collect();
    let mut batch = Batch::new();
    for (start, _) in &ranges {
        batch.delete(Table::Staged, &[&ino.0.to_be_bytes(), &start.to_be_bytes()]);
    }
    batch.put(Table::Dirty, &[&ino.0.to_be_bytes()], Dirty(ranges).encode());
    database.sync(database.commit(batch).expect("committed")).expect("durable");
    copy(directory.path(), after_crash.path());
    assert_riddled(&open(after_crash.path()), ino, count);
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
    assert_eq!(bucket.read_now(ino, 48, 10).expect("reads").expect("at hand"), b"\0\0new"[..]);
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
    assert!(matches!(set(b"system.nfs4_acl"), Err(Error::Unsupported)));
    for number in 0..limits::XATTRS {
        set(format!("user.{number}").as_bytes()).expect("set");
    }
    assert!(matches!(set(b"user.more"), Err(Error::Full(_))));
    set(b"user.0").expect("one that is there may change");
    assert_eq!(bucket.listxattr(ino).expect("listed").len(), limits::XATTRS);
    // As many names as a list of them has room for.
    let ino = file(&bucket, b"b");
    let set = |number| bucket.setxattr(ino, format!("user.{number:0>250}").as_bytes(), b"x", XattrMode::Set);
    for number in 0..limits::XATTR_LIST_BYTES / 256 {
        set(number).expect("set");
    }
    assert!(matches!(set(limits::XATTRS), Err(Error::Full(_))));
}

#[tokio::test]
async fn lists_of_access_survive_a_crash_with_the_mode() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let acl = |permissions: [u16; 4]| {
        let tags = [(1u16, u32::MAX), (2, 1000), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
        let permissions = [permissions[0], 7, permissions[1], permissions[2], permissions[3]];
        let entries = tags.iter().zip(permissions).flat_map(|((tag, id), permissions)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        2u32.to_le_bytes().into_iter().chain(entries).collect::<Vec<u8>>()
    };
    let (access, default): (&[u8], &[u8]) = (b"system.posix_acl_access", b"system.posix_acl_default");
    let above = bucket.make(Ino::ROOT, b"above", new(FileKind::Directory)).expect("made").ino;
    bucket.setxattr(above, default, &acl([7, 5, 7, 0]), XattrMode::Set).expect("set");
    let below = NewInode { mode: 0o2775, umask: 0o077, ..new(FileKind::Directory) };
    let below = bucket.make(above, b"below", below).expect("made").ino;
    let made = NewInode { mode: 0o660, umask: 0o077, ..new(FileKind::File) };
    let made = bucket.make(below, b"file", made).expect("made").ino;
    assert!(matches!(bucket.setxattr(made, default, &acl([7, 5, 7, 0]), XattrMode::Set), Err(Error::Denied)));
    copy(directory.path(), after_crash.path());
    let bucket = open(after_crash.path());
    let mode = |ino| bucket.getattr(ino).expect("there").mode;
    let get = |ino, name| bucket.getxattr(ino, name);
    assert_eq!((mode(below), mode(made)), (0o2770, 0o660));
    assert_eq!(get(below, default).expect("inherited"), acl([7, 5, 7, 0]));
    assert_eq!(get(below, access).expect("inherited"), acl([7, 5, 7, 0]));
    assert_eq!(get(made, access).expect("inherited"), acl([6, 5, 6, 0]));
    assert!(matches!(get(made, default), Err(Error::NoAttribute)));
    bucket.setattr(made, SetAttr { mode: Some(0o4604), ..SetAttr::default() }).expect("changed");
    assert_eq!(get(made, access).expect("still there"), acl([6, 5, 0, 4]));
    assert_eq!(bucket.listxattr(made).expect("listed"), [access.to_vec()]);
    // Three entries are the mode, and kept nowhere else.
    let minimal =
        [acl([6, 4, 0, 0])[..12].to_vec(), acl([6, 4, 0, 0])[20..28].to_vec(), acl([6, 4, 0, 0])[36..].to_vec()];
    bucket.setxattr(made, access, &minimal.concat(), XattrMode::Set).expect("set");
    assert_eq!(mode(made), 0o4640);
    assert!(bucket.listxattr(made).expect("listed").is_empty());
    bucket.removexattr(made, access).expect("removed twice");
}

#[tokio::test]
async fn data_is_ordered_before_the_name_that_it_takes_over() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    file(&bucket, b"old");
    for (name, bytes) in [(&b"small"[..], 5000), (&b"large"[..], 300_000)] {
        let ino = file(&bucket, name);
        write(&bucket, ino, 0, &vec![7; bytes]);
        let now = bucket.rename_now(Ino::ROOT, name, Ino::ROOT, b"old", RenameMode::Replace).expect("may be renamed");
        assert_eq!(now.is_some(), bytes == 5000, "what is large is flushed first");
        if now.is_none() {
            assert!(bucket.lookup(Ino::ROOT, name).is_ok(), "nothing has happened yet");
            bucket.rename(Ino::ROOT, name, Ino::ROOT, b"old", RenameMode::Replace).expect("renamed");
        }
        let cell = bucket.inner.cell(ino).expect("there");
        let state = cell.lock();
        assert!(state.unlogged.is_empty() && state.logged_size == bytes as u64, "{bytes} bytes");
    }
}

#[tokio::test]
async fn holes_take_no_space_and_what_is_cut_out_does_not_come_back() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let ino = file(&bucket, b"a");
    write(&bucket, ino, 0, &[1; 40_960]);
    write(&bucket, ino, 1 << 20, &[2; 4096]);
    assert_eq!(bucket.getattr(ino).expect("there").blocks, (40_960 + 4096) / 512);
    bucket.fsync_blocking(ino, false).expect("durable");
    bucket.fallocate(ino, 4096..36_864, Allocation::Punch, true).expect("punched");
    assert_eq!(bucket.getattr(ino).expect("there").blocks, (8192 + 4096) / 512);
    let seek = |from, seek| bucket.seek(ino, from, seek).expect("there");
    assert_eq!((seek(0, Seek::Hole), seek(4096, Seek::Data), seek(36_864, Seek::Hole)), (4096, 36_864, 40_960));
    bucket.fsync_blocking(ino, false).expect("durable");
    copy(directory.path(), after_crash.path());
    let reopened = open(after_crash.path());
    let bytes = reopened.read_now(ino, 0, 40_960).expect("reads").expect("all is here");
    assert!(bytes[4096..36_864].iter().all(|byte| *byte == 0) && bytes[..4096] == [1; 4096]);
    let handle = bucket.open(file(&bucket, b"b"), true).expect("opens");
    let written = bucket.lookup(Ino::ROOT, b"b").expect("there");
    assert_eq!(written.blocks, 8, "the kernel may hold data of a file that is open for writing");
    bucket.release(written.ino, handle, true);
    assert_eq!(bucket.getattr(written.ino).expect("there").blocks, 0);
    let reserve = bucket.fallocate(ino, 0..1 << 52, Allocation::Reserve, false);
    assert!(matches!(reserve, Err(Error::Full(_))), "{reserve:?}");
    bucket.fallocate(ino, 0..2 << 20, Allocation::Reserve, false).expect("there is space");
    assert_eq!(bucket.getattr(ino).expect("there").size, 2 << 20);
}

#[tokio::test]
async fn policies_are_handed_on_and_malformed_ones_refused() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    let dir = bucket.make(Ino::ROOT, b"dir", new(FileKind::Directory)).expect("made").ino;
    let set = |ino, name: &str, value: &str| {
        bucket.setxattr(ino, format!("user.openbucket.{name}").as_bytes(), value.as_bytes(), XattrMode::Set)
    };
    let get = |ino, name: &str| {
        let value = bucket.getxattr(ino, format!("user.openbucket.{name}").as_bytes());
        value.map(|value| String::from_utf8(value).expect("text"))
    };
    for (name, value) in [("tier", "plus"), ("expires", "2w"), ("pinned", "1")] {
        set(dir, name, value).expect("set");
    }
    let below = bucket.make(dir, b"below", new(FileKind::Directory)).expect("made").ino;
    let ino = bucket.make(below, b"file", new(FileKind::File)).expect("made").ino;
    assert_eq!((get(below, "expires").unwrap(), get(ino, "tier").unwrap()), ("14d".into(), "plus".into()));
    assert_eq!((get(ino, "pinned").unwrap(), get(ino, "availability").unwrap()), ("1".into(), "5/5".into()));
    assert_eq!((get(ino, "expires").unwrap(), get(ino, "cost").unwrap()), ("2001-09-23T01:46:40Z".into(), "0".into()));
    set(ino, "availability", "3").expect("set");
    assert_eq!(get(ino, "tier").unwrap(), "8+2");
    set(ino, "expires", "1969-12-31").expect("set");
    assert_eq!(get(ino, "state").unwrap(), "expired");
    bucket.removexattr(ino, b"user.openbucket.tier").expect("taken back");
    assert_eq!(get(ino, "tier").unwrap(), "free", "as the bucket says");
    assert!(bucket.listxattr(ino).expect("listed").is_empty(), "so that copies of all attributes work");
    let malformed = [("tier", "gold"), ("tier", ""), ("tier", "0+1"), ("availability", "0"), ("availability", "65")];
    let more = [("availability", "many"), ("expires", "soon"), ("pinned", "yes"), ("tiers", "plus"), ("", "x")];
    for (name, value) in malformed.into_iter().chain(more) {
        assert!(matches!(set(ino, name, value), Err(Error::Invalid(_))), "{name}={value}");
    }
    for name in ["id", "state", "cost"] {
        assert!(matches!(set(ino, name, "1"), Err(Error::NotPermitted)), "{name}");
    }
    assert!(matches!(get(ino, "more"), Err(Error::NoAttribute)));
    assert!(matches!(get(dir, "state"), Err(Error::NoAttribute)));
}

#[tokio::test]
async fn a_flush_that_has_failed_is_not_believed_when_it_is_tried_again() {
    let directory = tempfile::tempdir().expect("made");
    let faults = FaultyDisk::new(Arc::new(SimulatedDisk::new(8 << 30)));
    let bucket = open_on(directory.path(), 1 << 30, Arc::new(faults.clone()));
    let ino = file(&bucket, b"a");
    write(&bucket, ino, 0, &[1; 1000]);
    bucket.fsync_blocking(ino, false).expect("durable");
    write(&bucket, ino, 0, &vec![2; 1 << 20]);
    faults.fail(DiskOp::WriteOut, 0, 1, std::io::ErrorKind::Other);
    faults.fail(DiskOp::Sync, 0, 1, std::io::ErrorKind::Other);
    // As in the background: nobody sees it.
    bucket.sync_all_blocking().expect_err("the disk has not taken it");
    faults.heal();
    bucket.fsync_blocking(ino, false).expect_err("nor has it now, whatever it says");
    assert!(bucket.make(Ino::ROOT, b"b", new(FileKind::File)).is_err(), "nothing is promised any more");
    assert_eq!(bucket.read_now(ino, 0, 1).expect("reads").expect("at hand"), [2][..]);
}

#[tokio::test]
async fn a_file_that_was_cut_during_its_flush_takes_anothers_name_with_its_data() {
    let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
    let bucket = open(directory.path());
    let (old, ino) = (file(&bucket, b"target"), file(&bucket, b"tmp"));
    write(&bucket, old, 0, b"old");
    bucket.fsync_blocking(old, false).expect("durable");
    write(&bucket, ino, 0, &vec![7; 1 << 20]);
    // What a flush leaves during which the file was cut: its bytes are on the disk, its size is not in the log.
    bucket.sync_all_blocking().expect("durable");
    let cell = bucket.inner.cell(ino).expect("there");
    {
        let mut state = cell.lock();
        (state.logged_size, state.is_changed) = (0, true);
    }
    bucket.rename(Ino::ROOT, b"tmp", Ino::ROOT, b"target", RenameMode::Replace).expect("renamed");
    bucket.inner.database.sync_all().expect("durable");
    copy(directory.path(), after_crash.path());
    let reopened = open(after_crash.path());
    let found = reopened.lookup(Ino::ROOT, b"target").expect("there");
    assert_eq!((found.ino, found.size), (ino, 1 << 20));
    let bytes = reopened.read_now(found.ino, 0, 1 << 20).expect("reads").expect("all is here");
    assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_longer_size_does_not_promise_what_was_written_before_it() {
    let directory = tempfile::tempdir().expect("made");
    let bucket = open(directory.path());
    let crashed = || {
        let after_crash = tempfile::tempdir().expect("made");
        copy(directory.path(), after_crash.path());
        (open(after_crash.path()), after_crash)
    };
    let ino = file(&bucket, b"a");
    bucket.fsync_blocking(ino, false).expect("durable");
    write(&bucket, ino, 0, &vec![7; 1 << 20]);
    truncate(&bucket, ino, 2 << 20);
    bucket.inner.database.sync_all().expect("durable");
    assert_eq!(crashed().0.getattr(ino).expect("there").size, 0, "zeros, where seven was written");
    bucket.fsync_blocking(ino, false).expect("durable");
    let (reopened, _after_crash) = crashed();
    assert_eq!(reopened.getattr(ino).expect("there").size, 2 << 20);
    assert_eq!(reopened.read_now(ino, (1 << 20) - 1, 2).expect("reads").expect("at hand"), [7, 0][..]);
}
