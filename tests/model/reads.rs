//! How much is moved for a read, and that nothing is fetched twice at a time.

use openbucket::{
    base::Ino,
    bucket::FileState,
    net::SimulatedOptions,
    runtime::{Chance, SeededChance},
};
use tokio::time::Duration;

use crate::{fixture::Fixture, put, shattered::in_virtual_time};

const BLOCK: usize = 64 << 10;
const CHUNK: usize = 4 << 20;
const FILE: usize = 5 * CHUNK;

async fn stored(seed: u64) -> (Fixture, Ino, Vec<u8>) {
    let world = SimulatedOptions { latency: Duration::from_millis(20), ..SimulatedOptions::default() };
    let fixture = Fixture::with(seed, 6, world).await;
    let mut data = vec![0; FILE];
    SeededChance::new(seed).fill(&mut data);
    let ino = put(&fixture, "file", data.clone()).await;
    fixture.upload(FileState::Uploaded).await;
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    (fixture, ino, data)
}

/// Reads at a place through a handle; returns the bytes that consumers sent meanwhile.
async fn moved(fixture: &Fixture, (ino, handle): (Ino, u64), place: std::ops::Range<usize>, data: &[u8]) -> u64 {
    let before = fixture.client.bytes_received();
    let read = fixture.bucket.read(ino, handle, place.start as u64, place.len() as u32).await.expect("read");
    assert!(read == data[place.clone()], "what is read at {place:?} differs");
    fixture.client.bytes_received() - before
}

#[test]
fn readers_of_the_same_blocks_make_one_fetch() {
    in_virtual_time(async {
        let (fixture, ino, data) = stored(61).await;
        let handles: Vec<u64> = (0..4).map(|_| fixture.bucket.open(ino, false).expect("opens")).collect();
        // Of another chunk, so that nothing of it is cached afterwards.
        let one = moved(&fixture, (ino, handles[0]), CHUNK..CHUNK + 8 * BLOCK, &data).await;
        assert!(one as usize >= 8 * BLOCK);
        let before = fixture.client.bytes_received();
        // The same, a part, one that reaches beyond it, and one in its middle that does not begin with a block.
        let (same, part, beyond, middle) = tokio::join!(
            moved(&fixture, (ino, handles[0]), 0..8 * BLOCK, &data),
            moved(&fixture, (ino, handles[1]), 2 * BLOCK..3 * BLOCK, &data),
            moved(&fixture, (ino, handles[2]), 6 * BLOCK..10 * BLOCK, &data),
            moved(&fixture, (ino, handles[3]), 5 * BLOCK + 7..6 * BLOCK + 9, &data),
        );
        let all = fixture.client.bytes_received() - before;
        assert!([same, part, beyond, middle].into_iter().all(|moved| moved > 0), "each had to wait");
        let most = one + one * 2 / 8 + 4096;
        assert!(all > one && all <= most, "{all} bytes for ten blocks, {one} for eight");
    });
}

#[test]
fn random_reads_move_little_also_after_sequential_ones() {
    in_virtual_time(async {
        let (fixture, ino, data) = stored(62).await;
        let handle = fixture.bucket.open(ino, false).expect("opens");
        let few = 4096..=(2 * BLOCK + 8192) as u64;
        let single = moved(&fixture, (ino, handle), FILE - 5000..FILE - 904, &data).await;
        assert!(few.contains(&single), "{single} bytes for a random read");
        let handle = fixture.bucket.open(ino, false).expect("opens");
        let mut sequential = 0;
        for index in 0..4 {
            sequential += moved(&fixture, (ino, handle), index * BLOCK..(index + 1) * BLOCK, &data).await;
        }
        assert!(sequential as usize >= CHUNK, "{sequential} bytes: the chunk comes whole for who reads in order");
        // In a chunk that nothing was read ahead of.
        for at in [3_500_000, 1_000_000, 2_200_000, 700_000].map(|at| 4 * CHUNK + at) {
            let random = moved(&fixture, (ino, handle), at..at + 4096, &data).await;
            assert!(few.contains(&random), "{random} bytes at {at}: the read-ahead has stopped");
        }
    });
}

/// Reads at a place what is here, as the mount does.
fn answer_at_once(fixture: &Fixture, (ino, handle): (Ino, u64), place: std::ops::Range<usize>, data: &[u8]) {
    let (offset, length) = (place.start as u64, place.len() as u32);
    let read = fixture.bucket.read_now(ino, offset, length).expect("readable").expect("it is here");
    assert!(read == data[place.clone()], "what is read at {place:?} differs");
    if let Some(further) = fixture.bucket.note_read(ino, handle, offset, length) {
        fixture.bucket.read_further(further);
    }
}

/// The same; returns the bytes that consumers send then.
async fn moved_behind(fixture: &Fixture, stream: (Ino, u64), place: std::ops::Range<usize>, data: &[u8]) -> u64 {
    let before = fixture.client.bytes_received();
    answer_at_once(fixture, stream, place, data);
    tokio::time::sleep(Duration::from_secs(2)).await; // virtual time
    fixture.client.bytes_received() - before
}

#[test]
fn a_stream_that_is_answered_from_memory_fetches_what_comes_next() {
    in_virtual_time(async {
        let (fixture, ino, data) = stored(63).await;
        let handle = fixture.bucket.open(ino, false).expect("opens");
        for index in 0..3 {
            moved(&fixture, (ino, handle), index * BLOCK..(index + 1) * BLOCK, &data).await;
        }
        let is_here = |place: usize| fixture.bucket.read_now(ino, place as u64, 4096).expect("readable").is_ok();
        assert!(is_here(CHUNK - 4096) && !is_here(CHUNK), "the first chunk and no more");
        let mut counts = Vec::new();
        for index in 3..16 {
            counts.push(moved_behind(&fixture, (ino, handle), index * BLOCK..(index + 1) * BLOCK, &data).await);
        }
        // It is looked for when a mebibyte has been read.
        let (before, last) = counts.split_at(12);
        assert!(last[0] as usize > CHUNK && before.iter().all(|count| *count == 0), "{counts:?}");
        // Who reads here and there has nothing fetched, also when it is in memory.
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        let others = [(); 2].map(|()| fixture.bucket.open(ino, false).expect("opens"));
        moved(&fixture, (ino, others[0]), 0..CHUNK, &data).await;
        for index in [40, 15, 55, 3, 63, 31] {
            let count = moved_behind(&fixture, (ino, others[1]), index * BLOCK..(index + 1) * BLOCK, &data).await;
            assert_eq!(count, 0, "at block {index}");
        }
        // Nor has who reads what is staged over it.
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        let newer = vec![7; FILE];
        fixture.bucket.write(ino, 0, newer.clone().into()).await.expect("written");
        let stream = fixture.bucket.open(ino, false).expect("opens");
        let before = fixture.client.bytes_received();
        for index in 0..40 {
            answer_at_once(&fixture, (ino, stream), index * BLOCK..(index + 1) * BLOCK, &newer);
        }
        tokio::time::sleep(Duration::from_secs(2)).await; // virtual time
        let count = fixture.client.bytes_received() - before;
        assert!(count < BLOCK as u64, "{count} bytes: receipts of its upload, and no more");
    });
}

#[test]
fn a_stream_of_small_pieces_does_not_fetch_their_whole_chunks() {
    in_virtual_time(async {
        let world = SimulatedOptions { latency: Duration::from_millis(20), ..SimulatedOptions::default() };
        let fixture = Fixture::with(64, 6, world).await;
        let mut data = vec![0; 40 * BLOCK];
        SeededChance::new(64).fill(&mut data);
        let ino = put(&fixture, "file", data[..BLOCK].to_vec()).await;
        for (index, piece) in data.chunks(BLOCK).enumerate() {
            fixture.bucket.write(ino, (index * BLOCK) as u64, piece.to_vec().into()).await.expect("written");
            fixture.upload(FileState::Uploaded).await;
        }
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        // By others, so that it is in memory.
        moved(&fixture, (ino, 1), 0..17 * BLOCK, &data).await;
        let handle = fixture.bucket.open(ino, false).expect("opens");
        for index in 0..17 {
            let count = moved_behind(&fixture, (ino, handle), index * BLOCK..(index + 1) * BLOCK, &data).await;
            assert_eq!(count, 0, "at piece {index}");
        }
    });
}
