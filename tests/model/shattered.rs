//! Files in a great many small pieces: what they cost to read, and that they can be overwritten.

use openbucket::{
    base::Ino,
    bucket::FileState,
    net::SimulatedOptions,
    runtime::{Chance, OneThread, SeededChance},
};
use tokio::time::{Duration, Instant};

use crate::{fixture::Fixture, new_file, put};

const LATENCY: Duration = Duration::from_millis(20);
const PIECE: usize = 4096;

/// Time is virtual: nothing but the network takes any.
pub fn in_virtual_time(work: impl Future<Output = ()>) {
    let _alone = OneThread::enter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work);
}

async fn timed_read(fixture: &Fixture, (ino, handle): (Ino, u64), offset: usize, expected: &[u8]) -> Duration {
    let begun = Instant::now();
    let read = fixture.bucket.read(ino, handle, offset as u64, expected.len() as u32).await.expect("read");
    assert!(read == expected, "what is read at {offset} differs");
    begun.elapsed()
}

#[test]
fn a_read_from_many_chunks_takes_as_long_as_one_from_few() {
    in_virtual_time(async {
        let world = SimulatedOptions { latency: LATENCY, ..SimulatedOptions::default() };
        let fixture = Fixture::with(41, 6, world).await;
        let mut data = vec![0; 96 * PIECE];
        SeededChance::new(41).fill(&mut data);
        let ino = fixture.bucket.make(Ino::ROOT, b"file", new_file()).expect("made").ino;
        // Each piece in a chunk of its own.
        for (index, piece) in data.chunks(PIECE).enumerate() {
            fixture.bucket.write(ino, (index * PIECE) as u64, piece.to_vec().into()).await.expect("written");
            fixture.upload(FileState::Uploaded).await;
        }
        assert_eq!(fixture.bucket.report(b"file").expect("readable").chunks.len(), 96);
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        let handle = fixture.bucket.open(ino, false).expect("opens");
        let one = timed_read(&fixture, (ino, handle), 50 * PIECE, &data[50 * PIECE..51 * PIECE]).await;
        assert!(one >= LATENCY, "it came from consumers");
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        let many = timed_read(&fixture, (ino, handle), 0, &data[..32 * PIECE]).await;
        assert!(many < 3 * one, "32 chunks took {many:?}, one {one:?}");
        // One after another, the next are fetched meanwhile.
        let handle = fixture.bucket.open(ino, false).expect("opens");
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        let mut times = Vec::new();
        for start in (0..96).step_by(8) {
            let (from, to) = (start * PIECE, (start + 8) * PIECE);
            times.push(timed_read(&fixture, (ino, handle), from, &data[from..to]).await);
        }
        let late = times[6..].iter().filter(|time| **time >= LATENCY).count();
        assert!(late <= 4, "the reads took {times:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_more_pieces_than_a_record_holds_can_be_overwritten() {
    let mut fixture = Fixture::new(42, 6).await;
    let pieces = 130_000;
    let ino = put(&fixture, "file", vec![0; 2 * pieces]).await;
    fixture.upload(FileState::Uploaded).await;
    for index in 0..pieces {
        fixture.bucket.write(ino, 2 * index as u64, vec![index as u8].into()).await.expect("written");
    }
    fixture.upload(FileState::Uploaded).await;
    let mut data: Vec<u8> = (0..pieces).flat_map(|index| [index as u8, 0]).collect();
    assert!(fixture.bucket.read(ino, 1, 0, data.len() as u32).await.expect("read") == data);
    data.fill(9);
    fixture.bucket.write(ino, 0, data.clone().into()).await.expect("written");
    fixture.upload(FileState::Uploaded).await;
    assert_eq!(fixture.bucket.staged_bytes(), 0);
    fixture.crash_and_open().await;
    assert!(fixture.bucket.read(ino, 1, 0, data.len() as u32).await.expect("read") == data);
    fixture.assert_sound("overwritten").await;
}
