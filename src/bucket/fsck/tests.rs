//! Damages, one of each kind: each is found, what can be mended is mended, and nothing else is said.

use std::{fs, time::Duration};

use tokio::sync::watch;

use super::{FsckKind, FsckOptions, FsckProgress, FsckReport};
use crate::{
    base::{Ino, PeerId, Record, Scheme},
    bucket::{
        Bucket, FileKind, RenameMode, SetAttr,
        promises::{copy, file, new, open, write},
        records::{Chunk, Counters, Entry, Extent, Inode},
    },
    coding::{self, BucketKey},
    dispatch::Placement,
    runtime::SeededChance,
    store::{Batch, Table},
};

const BYTES: u32 = 1000;

async fn check(bucket: &Bucket, is_repair: bool) -> FsckReport {
    let options = FsckOptions { is_repair, ..FsckOptions::default() };
    let (progress, _steps) = watch::channel(FsckProgress { step: "", done: 0 });
    bucket.fsck(options, progress).await.expect("checked")
}

pub(in crate::bucket) fn chunk(seed: u64) -> Chunk {
    let encoded =
        coding::encode(&BucketKey::new([4; 32]), &vec![7; BYTES as usize], Scheme::FREE, &SeededChance::new(seed));
    let encoded = encoded.expect("encodes");
    let placements = (0..encoded.roots.len()).map(|index| Placement::held(PeerId([index as u8 + 1; 32]))).collect();
    Chunk { layout: encoded.layout, roots: encoded.roots, placements }
}

/// Gives a file a chunk as an upload would.
fn upload(bucket: &Bucket, ino: Ino, chunk: &Chunk) {
    let inner = &bucket.inner;
    let cell = inner.cell(ino).expect("there");
    let mut state = cell.lock();
    let mut change = inner.change_extents();
    let mut batch = Batch::new();
    let extent = Extent { bytes: BYTES, chunk: chunk.layout.chunk, chunk_offset: 0 };
    change.insert(ino, 0, extent, &mut batch);
    state.count_extents(change.gained(ino));
    (state.inode.size, state.logged_size) = (u64::from(BYTES), u64::from(BYTES));
    state.put(ino, &mut batch);
    inner.put_chunk(chunk, &mut batch).expect("readable");
    assert!(change.settle(&mut batch).expect("settled").is_empty());
    inner.database.commit(batch).expect("committed");
}

/// A bucket with one of everything, and its numbers.
struct Scene {
    bucket: Bucket,
    directory: tempfile::TempDir,
    stored: Ino,
    staged: Ino,
    inner: Ino,
    chunk: Chunk,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let (stored, staged) = (file(&bucket, b"stored"), file(&bucket, b"staged"));
        bucket.link(stored, Ino::ROOT, b"second").expect("linked");
        let inner = bucket.make(Ino::ROOT, b"inner", new(FileKind::Directory)).expect("made").ino;
        bucket.make(inner, b"link", new(FileKind::Symlink)).expect("made");
        let chunk = chunk(1);
        upload(&bucket, stored, &chunk);
        write(&bucket, staged, 0, &[1; 5000]);
        bucket.fsync_blocking(staged, false).expect("durable");
        Self { bucket, directory, stored, staged, inner, chunk }
    }

    fn get(&self, table: Table, parts: &[&[u8]]) -> Vec<u8> {
        self.bucket.inner.database.get(table, parts).expect("read").expect("there")
    }

    fn commit(&self, change: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        change(&mut batch);
        self.bucket.inner.database.commit(batch).expect("committed");
    }

    fn put(&self, table: Table, parts: &[&[u8]], value: Vec<u8>) {
        self.commit(|batch| batch.put(table, parts, value));
    }

    fn delete(&self, table: Table, parts: &[&[u8]]) {
        self.commit(|batch| batch.delete(table, parts));
    }

    /// Changes an inode where it is stored, not where it is in use.
    fn change_inode(&self, ino: Ino, change: impl FnOnce(&mut Inode)) {
        let key = ino.0.to_be_bytes();
        let mut inode = Inode::decode(&self.get(Table::Inode, &[&key])).expect("decodes");
        change(&mut inode);
        self.put(Table::Inode, &[&key], inode.encode());
    }

    /// What is wrong is found, told by nobody to be repaired, repaired when asked for, and gone then.
    async fn expect_repaired(&self, kind: FsckKind) {
        self.expect_found(kind).await;
        let report = check(&self.bucket, true).await;
        assert!(!report.is_wrong_still() && !report.is_clean(), "{kind}: {:?}", report.problems);
        self.expect_clean(kind).await;
    }

    async fn expect_found(&self, kind: FsckKind) {
        let report = check(&self.bucket, false).await;
        assert!(report.problems.iter().any(|problem| problem.kind == kind), "{kind}: {:?}", report.problems);
        assert!(report.problems.iter().all(|problem| !problem.repaired), "{kind}: {:?}", report.problems);
    }

    /// What is wrong is found, and no repair claims to mend it.
    async fn expect_lost(&self, kind: FsckKind) {
        let report = check(&self.bucket, true).await;
        let found = report.problems.iter().find(|problem| problem.kind == kind);
        assert!(found.is_some_and(|problem| !problem.repaired), "{kind}: {:?}", report.problems);
    }

    async fn expect_clean(&self, after: FsckKind) {
        let report = check(&self.bucket, false).await;
        assert!(report.is_clean(), "after {after}: {:?}", report.problems);
    }
}

#[tokio::test]
async fn damaged_names_are_found_and_mended() {
    let scene = Scene::new();
    let root = Ino::ROOT.0.to_be_bytes();
    let report = check(&scene.bucket, false).await;
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.inodes, report.names, report.chunks, report.shards), (5, 5, 1, 2));
    assert_eq!(report.silent_consumers.len(), 2);

    let ghost = Entry { ino: Ino(99_999), kind: FileKind::File, cookie: 4000 };
    scene.commit(|batch| scene.bucket.inner.put_entry(batch, Ino::ROOT, b"ghost", &ghost));
    scene.expect_repaired(FsckKind::BadName).await;
    let stored = Entry::decode(&scene.get(Table::Entry, &[&root, b"stored"])).expect("decodes");
    let wrong = Entry { kind: FileKind::Directory, ..stored.clone() };
    scene.put(Table::Entry, &[&root, b"stored"], wrong.encode());
    scene.expect_repaired(FsckKind::BadName).await;

    scene.delete(Table::Cookie, &[&root, &stored.cookie.to_be_bytes()]);
    scene.expect_repaired(FsckKind::DirectoryOrder).await;
    scene.put(Table::Cookie, &[&root, &5000u64.to_be_bytes()], b"nothing".to_vec());
    scene.expect_repaired(FsckKind::DirectoryOrder).await;
    scene.change_inode(scene.inner, |inode| inode.parent = Ino(77));
    scene.expect_repaired(FsckKind::DirectoryParent).await;

    for links in [1, 3, 0] {
        scene.change_inode(scene.stored, |inode| inode.links = links);
        scene.expect_repaired(FsckKind::LinkCount).await;
    }
    scene.change_inode(Ino::ROOT, |inode| inode.links = 2);
    scene.expect_repaired(FsckKind::LinkCount).await;

    scene.put(Table::Orphan, &[&scene.stored.0.to_be_bytes()], Vec::new());
    scene.expect_repaired(FsckKind::OrphanMark).await;
    scene.put(Table::Orphan, &[&98_765u64.to_be_bytes()], Vec::new());
    scene.expect_repaired(FsckKind::OrphanMark).await;
    let unlinked = file(&scene.bucket, b"unlinked");
    scene.bucket.open(unlinked, true).expect("opened");
    scene.bucket.unlink(Ino::ROOT, b"unlinked").expect("removed");
    scene.expect_clean(FsckKind::OrphanMark).await;
    scene.delete(Table::Orphan, &[&unlinked.0.to_be_bytes()]);
    scene.expect_repaired(FsckKind::OrphanMark).await;

    scene.put(Table::Xattr, &[&55_555u64.to_be_bytes(), b"user.x"], b"value".to_vec());
    scene.expect_repaired(FsckKind::StrayRecord).await;
    scene.put(Table::Inode, &[&77_777u64.to_be_bytes()], b"no inode".to_vec());
    scene.expect_lost(FsckKind::DamagedRecord).await;
    scene.delete(Table::Inode, &[&77_777u64.to_be_bytes()]);
    scene.expect_clean(FsckKind::DamagedRecord).await;
}

#[tokio::test]
async fn what_no_name_leads_to_gets_one_again() {
    let scene = Scene::new();
    let (bucket, root) = (&scene.bucket, Ino::ROOT.0.to_be_bytes());
    let lose = |name: &[u8]| {
        let entry = Entry::decode(&scene.get(Table::Entry, &[&root, name])).expect("decodes");
        scene.commit(|batch| bucket.inner.delete_entry(batch, Ino::ROOT, name, &entry));
    };
    let found = |ino: Ino| {
        let lost = bucket.lookup(Ino::ROOT, b"lost+found").expect("made");
        assert_eq!((lost.kind, lost.mode), (FileKind::Directory, 0o700));
        assert_eq!(bucket.lookup(lost.ino, format!("#{}", ino.0).as_bytes()).expect("there").ino, ino);
        lost.ino
    };
    lose(b"staged");
    scene.expect_repaired(FsckKind::Unreachable).await;
    found(scene.staged);
    assert_eq!(bucket.read_now(scene.staged, 0, 5000).expect("reads").expect("at hand"), [1; 5000][..]);
    lose(b"inner");
    scene.expect_repaired(FsckKind::Unreachable).await;
    assert_eq!(bucket.parent(scene.inner).expect("there"), found(scene.inner));
    // With the directory all names in it are lost.
    let inside = bucket.lookup(scene.inner, b"link").expect("there").ino;
    scene.delete(Table::Inode, &[&scene.inner.0.to_be_bytes()]);
    scene.expect_repaired(FsckKind::BadName).await;
    found(inside);
    // What was on its way out goes on.
    let going = file(bucket, b"going");
    lose(b"going");
    scene.put(Table::Orphan, &[&going.0.to_be_bytes()], Vec::new());
    scene.expect_found(FsckKind::Unreachable).await;
    let mut changes = bucket.changes();
    assert!(!check(bucket, true).await.is_wrong_still());
    while bucket.inner.stored_inode(going).expect("readable").is_some() {
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("reaped").expect("open");
    }
    scene.expect_clean(FsckKind::Unreachable).await;
    // Nothing else may be overwritten for it.
    bucket.rename(Ino::ROOT, b"lost+found", Ino::ROOT, b"kept", RenameMode::Replace).expect("renamed");
    bucket.rename(Ino::ROOT, b"second", Ino::ROOT, b"lost+found", RenameMode::Replace).expect("renamed");
    file(bucket, b"nowhere");
    lose(b"nowhere");
    scene.expect_lost(FsckKind::Unreachable).await;
}

#[tokio::test]
async fn wrong_counters_of_the_bucket_are_found_and_mended() {
    let scene = Scene::new();
    let right = Counters::decode(&scene.get(Table::Meta, &[b"counters"])).expect("decodes");
    let few = Counters { next_id: 0, ..right };
    for wrong in [Counters { files: 70, ..right }, Counters { directories: 0, ..right }, few] {
        scene.put(Table::Meta, &[b"counters"], wrong.encode());
        let after_crash = tempfile::tempdir().expect("made");
        copy(scene.directory.path(), after_crash.path());
        let bucket = open(after_crash.path());
        let report = check(&bucket, false).await;
        assert!(report.problems.iter().all(|it| it.kind == FsckKind::Counters && !it.repaired), "{report:?}");
        assert!(!report.is_clean() && !check(&bucket, true).await.is_wrong_still());
        assert!(check(&bucket, false).await.is_clean());
        let status = bucket.status().expect("readable");
        assert_eq!((status.files, status.directories), (right.files, right.directories - 1));
        assert!(file(&bucket, b"new") > scene.inner, "a number is given away twice");
    }
}

#[tokio::test]
async fn damaged_accounts_of_chunks_are_found_and_mended() {
    let scene = Scene::new();
    let id = scene.chunk.layout.chunk;
    let (ino, zero) = (scene.stored.0.to_be_bytes(), 0u64.to_be_bytes());
    scene.delete(Table::User, &[id.as_bytes(), &ino, &zero]);
    scene.expect_repaired(FsckKind::ChunkUser).await;
    scene.put(Table::User, &[id.as_bytes(), &ino, &500u64.to_be_bytes()], Vec::new());
    scene.expect_repaired(FsckKind::ChunkUser).await;
    scene.put(Table::Live, &[id.as_bytes()], 1u64.to_be_bytes().to_vec());
    scene.expect_repaired(FsckKind::LiveBytes).await;
    {
        let cell = scene.bucket.inner.cell(scene.stored).expect("there");
        let mut state = cell.lock();
        state.count_extents(5);
        scene.commit(|batch| state.put(scene.stored, batch));
    }
    scene.expect_repaired(FsckKind::ExtentBytes).await;
    let mut lacking = scene.chunk.clone();
    lacking.placements[1] = Placement::missing();
    scene.put(Table::Chunk, &[id.as_bytes()], lacking.encode());
    scene.expect_repaired(FsckKind::IncompleteMark).await;
    scene.commit(|batch| scene.bucket.inner.put_chunk(&scene.chunk, batch).expect("readable"));
    let delete: [&[u8]; 2] = [&[1; 32], scene.chunk.roots[0].as_bytes()];
    scene.put(Table::Delete, &delete, Vec::new());
    scene.expect_repaired(FsckKind::NeededDelete).await;
    for table in [Table::Live, Table::Incomplete, Table::Shared] {
        scene.put(table, &[&[9; 32]], 7u64.to_be_bytes().to_vec());
        scene.expect_repaired(FsckKind::StrayRecord).await;
    }
    let unused = chunk(2);
    let unused_id = unused.layout.chunk;
    scene.put(Table::Chunk, &[unused_id.as_bytes()], unused.encode());
    scene.expect_repaired(FsckKind::UnusedChunk).await;
    scene.get(Table::Delete, &[&[2; 32], unused.roots[1].as_bytes()]);

    let extent = scene.get(Table::Extent, &[&ino, &zero]);
    for (bytes, chunk_offset) in [(BYTES, 1), (BYTES + 1, 0)] {
        let wrong = Extent { bytes, chunk: id, chunk_offset };
        scene.put(Table::Extent, &[&ino, &zero], wrong.encode());
        scene.expect_lost(FsckKind::BadExtent).await;
    }
    // What a damaged extent needs is kept: its record may come back from a copy.
    scene.put(Table::Extent, &[&ino, &zero], b"no extent".to_vec());
    scene.expect_lost(FsckKind::DamagedRecord).await;
    scene.get(Table::User, &[id.as_bytes(), &ino, &zero]);
    scene.get(Table::Chunk, &[id.as_bytes()]);
    scene.put(Table::Extent, &[&ino, &zero], extent);
    assert!(!check(&scene.bucket, true).await.is_wrong_still());
    let record = scene.get(Table::Chunk, &[id.as_bytes()]);
    scene.delete(Table::Chunk, &[id.as_bytes()]);
    scene.expect_lost(FsckKind::MissingChunk).await;
    scene.put(Table::Chunk, &[id.as_bytes()], record);
    assert!(!check(&scene.bucket, true).await.is_wrong_still());
    scene.put(Table::Chunk, &[&[8; 32]], b"no chunk".to_vec());
    scene.expect_lost(FsckKind::DamagedRecord).await;
    scene.delete(Table::Chunk, &[&[8; 32]]);

    let mut shared = scene.chunk.clone();
    shared.placements[1] = shared.placements[0];
    scene.put(Table::Chunk, &[id.as_bytes()], shared.encode());
    scene.expect_repaired(FsckKind::SharedConsumer).await;
    scene.get(Table::Incomplete, &[id.as_bytes()]);
}

#[tokio::test]
async fn damage_of_what_is_staged_is_found() {
    let scene = Scene::new();
    let key = scene.staged.0.to_be_bytes();
    for (start, end) in [(10u64, 20u64), (4999, 5001), (6000, 7000)] {
        scene.put(Table::Staged, &[&key, &start.to_be_bytes()], end.to_be_bytes().to_vec());
        scene.expect_lost(FsckKind::StagedRange).await;
        scene.delete(Table::Staged, &[&key, &start.to_be_bytes()]);
    }
    scene.expect_clean(FsckKind::StagedRange).await;
    let directory = scene.directory.path().join("staging/56");
    fs::create_dir_all(&directory).expect("made");
    for name in ["123456".to_owned(), format!("{:x}", scene.stored.0)] {
        let place =
            scene.directory.path().join("staging").join(format!("{:0>2}", &name[name.len().saturating_sub(2)..]));
        fs::create_dir_all(&place).expect("made");
        fs::write(place.join(name), "left over").expect("written");
    }
    scene.expect_repaired(FsckKind::StagingFile).await;
    assert!(!directory.join("123456").exists());
    assert_eq!(scene.bucket.staged_bytes(), 5000);
}

/// As a crash between two of many batches leaves them.
#[tokio::test]
async fn staged_ranges_that_overlap_are_told_apart_at_the_opening() {
    let scene = Scene::new();
    let key = scene.staged.0.to_be_bytes();
    for (start, end) in [(10u64, 20u64), (4000, 6000), (7000, 8000)] {
        scene.put(Table::Staged, &[&key, &start.to_be_bytes()], end.to_be_bytes().to_vec());
    }
    scene.put(Table::Staged, &[&99_999u64.to_be_bytes(), &key], 5u64.to_be_bytes().to_vec());
    let after_crash = tempfile::tempdir().expect("made");
    copy(scene.directory.path(), after_crash.path());
    let bucket = open(after_crash.path());
    assert_eq!(bucket.staged_bytes(), 5000);
    let report = check(&bucket, false).await;
    assert!(report.is_clean(), "{:?}", report.problems);
    // What is staged no more leaves no record that would come back as such.
    bucket.setattr(scene.staged, SetAttr { size: Some(0), ..SetAttr::default() }).expect("cut");
    assert!(bucket.inner.database.scan(Table::Staged, b"", b"", 10).expect("readable").is_empty());
}

#[tokio::test]
async fn a_check_ends_when_nobody_listens() {
    let scene = Scene::new();
    let (progress, steps) = watch::channel(FsckProgress { step: "", done: 0 });
    drop(steps);
    assert!(scene.bucket.fsck(FsckOptions::default(), progress).await.is_err());
}
