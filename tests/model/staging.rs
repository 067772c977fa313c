//! A full staging area: who waits for room in it, for how long, and what ends the wait.

use openbucket::{
    base::{ErrorKind, Ino, Kinded},
    net::SimulatedOptions,
};
use tokio::time::{Duration, Instant, sleep};

use crate::{fixture::Fixture, new_file, shattered::in_virtual_time};

const STAGING_BYTES: usize = 1 << 20;
/// A write that waits ends so soon after there is something to drain to.
const SOON: Duration = Duration::from_secs(5);

/// A bucket whose consumers have all gone, with a file that fills its staging area.
async fn full(seed: u64) -> (Fixture, Ino) {
    let mut fixture = Fixture::with_staging(seed, 6, SimulatedOptions::default(), STAGING_BYTES as u64).await;
    set_all_up(&mut fixture, false);
    let ino = fixture.bucket.make(Ino::ROOT, b"file", new_file()).expect("made").ino;
    fixture.bucket.write(ino, 0, vec![1; STAGING_BYTES].into()).await.expect("written");
    (fixture, ino)
}

fn set_all_up(fixture: &mut Fixture, is_up: bool) {
    for node in 0..fixture.nodes.len() {
        fixture.set_up(node, is_up);
    }
}

#[test]
fn a_write_soon_after_an_outage_succeeds() {
    for seconds in [130, 150, 180] {
        in_virtual_time(async move {
            let (mut fixture, ino) = full(51).await;
            sleep(Duration::from_secs(seconds)).await; // virtual time
            set_all_up(&mut fixture, true);
            sleep(Duration::from_secs(1)).await; // virtual time
            let begun = Instant::now();
            let written = fixture.bucket.write(ino, STAGING_BYTES as u64, vec![2; 4096].into()).await;
            assert!(written.is_ok(), "after {seconds} s: {written:?}");
            assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        });
    }
}

#[test]
fn a_waiting_write_ends_soon_after_the_drain_begins_again() {
    in_virtual_time(async {
        let (mut fixture, ino) = full(52).await;
        // Long enough that uploads are tried once a minute only.
        sleep(Duration::from_secs(130)).await;
        let bucket = fixture.bucket.clone();
        let write = tokio::spawn(async move { bucket.write(ino, 0, vec![2; 4096].into()).await });
        sleep(Duration::from_secs(11)).await; // virtual time
        assert!(!write.is_finished());
        set_all_up(&mut fixture, true);
        let begun = Instant::now();
        assert_eq!(write.await.expect("no panic").expect("written"), 4096);
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    });
}

#[test]
fn a_write_fails_after_thirty_seconds_in_which_nothing_drains() {
    in_virtual_time(async {
        let (fixture, ino) = full(53).await;
        let begun = Instant::now();
        let error = fixture.bucket.write(ino, 0, vec![2; 4096].into()).await.expect_err("no room");
        let (took, text) = (begun.elapsed(), error.to_string());
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(text.contains("the staging area (1.00 MiB) is full") && text.contains("consumers"), "{text}");
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(31), "it took {took:?}");
    });
}
