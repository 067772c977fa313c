//! fsync with `--durability network`: it ends with the upload of what was written before it, whatever is written after.

use openbucket::{bucket::FileState, net::SimulatedOptions};
use tokio::time::{Duration, Instant};

use crate::{fixture::Fixture, put, shattered::in_virtual_time};

const LATENCY: Duration = Duration::from_millis(20);

fn slow_world() -> SimulatedOptions {
    SimulatedOptions { latency: LATENCY, ..SimulatedOptions::default() }
}

#[test]
fn an_upload_is_waited_for_beside_writers_that_do_not_stop() {
    in_virtual_time(async {
        let fixture = Fixture::with(51, 6, slow_world()).await;
        let ino = put(&fixture, "file", vec![1; 100_000]).await;
        let writer = async {
            // More often than a chunk takes to its consumers.
            for round in 0_u64.. {
                let (at, end) = (50_000, 100_000 + round * 100);
                fixture.bucket.write(ino, at, vec![round as u8; 5000].into()).await.expect("written");
                fixture.bucket.write(ino, end, vec![round as u8; 100].into()).await.expect("written");
                tokio::time::sleep(LATENCY / 4).await; // the pace of the writer, in virtual time
            }
        };
        let begun = Instant::now();
        tokio::select! {
            uploaded = fixture.bucket.upload(ino) => uploaded.expect("uploaded"),
            () = writer => unreachable!("it does not end"),
        }
        assert!(begun.elapsed() > LATENCY && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(fixture.bucket.staged_bytes() > 0, "what came later is not waited for");
        assert!(fixture.shards() >= 5);
        fixture.upload(FileState::Uploaded).await;
        fixture.assert_sound("after the writer").await;
    });
}

#[test]
fn an_upload_that_finds_no_consumers_fails_in_time_and_the_data_stays() {
    in_virtual_time(async {
        let mut fixture = Fixture::with(52, 6, slow_world()).await;
        (0..6).for_each(|node| fixture.set_up(node, false));
        let ino = put(&fixture, "file", vec![1; 100_000]).await;
        let begun = Instant::now();
        let error = fixture.bucket.upload(ino).await.expect_err("nobody is there").to_string();
        assert!(error.contains("the file is safe here but not on consumers: "), "{error}");
        assert!(error.contains("consumers"), "{error}");
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(65), "{waited:?}");
        assert_eq!(fixture.bucket.staged_bytes(), 100_000);
        (0..6).for_each(|node| fixture.set_up(node, true));
        fixture.bucket.upload(ino).await.expect("they are back");
        assert_eq!(fixture.bucket.staged_bytes(), 0);
    });
}
