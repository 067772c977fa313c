//! `openbucket fsck` as a person uses it.

use std::{fs, time::Duration};

use crate::{
    fixture::{Cluster, eventually, text},
    tree::noise,
};

#[test]
fn what_a_consumer_has_lost_is_found_and_rebuilt() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let mount = text(&cluster.mount());
    for number in 0..5 {
        fs::write(cluster.file(&format!("file-{number}")), noise(number, 700_000)).unwrap();
    }
    cluster.sync();
    let words = cluster.ok(&["fsck", &mount]);
    assert!(words.starts_with("clean: 6 inodes, 5 names, ") && words.lines().count() == 1, "{words}");

    let state = text(&cluster.state());
    let lost = cluster.consumer("consumer-2")["shards"].as_u64().unwrap();
    cluster.ok(&["devnet", "stop", "consumer-2", "--state", &state]);
    let words = cluster.ok(&["fsck", &mount]);
    assert!(words.contains("not asked what it holds: consumer"), "{words}");
    fs::remove_dir_all(cluster.state().join("consumer-2/shards")).unwrap();
    cluster.revive("consumer-2");
    let found = || cluster.run(&["fsck", &mount], b"");
    eventually("the consumer is asked again", Duration::from_secs(30), || found().status.code() == Some(1));
    let outcome = found();
    let words = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(words.lines().filter(|line| line.starts_with("absent-shard: ")).count() as u64, lost, "{words}");
    assert!(outcome.stderr.contains("--repair") && outcome.stderr.lines().count() == 1, "{}", outcome.stderr);
    let words = cluster.ok(&["fsck", &mount, "--repair"]);
    assert_eq!(words.lines().filter(|line| line.contains("(is being rebuilt")).count() as u64, lost, "{words}");
    eventually("they are rebuilt", Duration::from_secs(60), || {
        cluster.consumer("consumer-2")["shards"].as_u64() == Some(lost)
            && cluster.status()["incomplete_chunks"].as_u64() == Some(0)
    });
    assert!(cluster.ok(&["fsck", &mount]).starts_with("clean: "));

    // Another bucket's shards belong to the same owner: they must not be taken for nobody's.
    fs::create_dir(cluster.state().join("mount/buckets/another")).unwrap();
    let words = cluster.ok(&["fsck", &mount]);
    assert!(words.contains("there are other buckets in this state directory"), "{words}");
    let refused = cluster.run(&["fsck", &mount, "--delete-unknown-shards"], b"");
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    cluster.down();
}
