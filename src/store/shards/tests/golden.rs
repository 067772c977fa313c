//! Segments that releases wrote.

use super::*;

/// Bodies of the golden segments; the second is deleted there.
fn golden_bodies() -> [Bytes; 5] {
    [body(0, 0), body(1, 1), body(4000, 2), body(100, 3), body(20_000, 4)]
}

/// A segment as a release wrote it, in a directory of its own.
async fn open_golden(version: u8) -> (tempfile::TempDir, Vec<u8>, Arc<ShardStore>) {
    let name = format!("tests/golden/shards-v{version}.segment");
    let kept = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name)).expect(&name);
    let directory = tempfile::tempdir().expect("a directory");
    let real = Arc::new(RealDisk::new(directory.path()).expect("a disk"));
    std::fs::create_dir(directory.path().join("shards")).expect("made");
    std::fs::write(directory.path().join(segment_path(1)), &kept).expect("copied");
    (directory, kept, open_on(real, 1 << 20))
}

/// The segment that this release writes, and every later release must read.
#[tokio::test]
async fn the_golden_segment_reads_and_is_what_is_written_today() {
    let disk = SimulatedDisk::new(1 << 20);
    let store = open(&disk);
    let bodies = golden_bodies();
    for body in &bodies {
        put(&store, OWNER, body).await.expect("fits");
    }
    store.delete(OWNER, root_of(&bodies[1])).await.expect("there");
    let written = disk.contents(&segment_path(1)).expect("a segment");
    let (_directory, kept, again) = open_golden(2).await;
    assert!(written == kept, "the format has changed: it needs a new version and a new golden file");
    assert_eq!(again.stat(OWNER, root_of(&bodies[1])), None);
    for body in [&bodies[0], &bodies[2], &bodies[3], &bodies[4]] {
        assert_eq!(again.get(OWNER, root_of(body)).await.as_ref().expect("whole"), body);
        assert_eq!(again.get_roots(OWNER, root_of(body)).await.expect("there"), roots_of(body));
    }
    put(&again, OWNER, &bodies[1]).await.expect("goes on");
}

/// Entries of version 1 have no subtree roots. They are read, deleted, and live beside others, also after a restart.
#[tokio::test]
async fn a_segment_of_the_first_version_is_read_and_goes_on() {
    let (directory, _, store) = open_golden(1).await;
    let bodies = golden_bodies();
    assert_eq!(store.stat(OWNER, root_of(&bodies[1])), None);
    store.delete(OWNER, root_of(&bodies[2])).await.expect("there");
    put(&store, OWNER, &bodies[4]).await.expect("goes on");
    drop(store);
    let store = open_on(Arc::new(RealDisk::new(directory.path()).expect("a disk")), 1 << 20);
    assert_eq!(store.stat(OWNER, root_of(&bodies[2])), None);
    for body in [&bodies[0], &bodies[3]] {
        assert_eq!(store.get(OWNER, root_of(body)).await.as_ref().expect("whole"), body);
        assert!(store.get_roots(OWNER, root_of(body)).await.expect("there").is_empty());
    }
    assert_eq!(store.get_roots(OWNER, root_of(&bodies[4])).await.expect("there"), roots_of(&bodies[4]));
}
