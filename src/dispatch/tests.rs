//! Scatter and gather over a simulated network, with everything going wrong that may.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{
    Announce, Error, Health, Placement, Scattered,
    testing::{Manner, Node, Scene},
};
use crate::{
    base::{ErrorKind, Kinded, Scheme, limits},
    coding::Encoded,
    net::FaultPlan,
};

fn sealed(encoded: &Encoded, blocks: std::ops::Range<usize>) -> Vec<u8> {
    let range = encoded.layout.sealed_range(blocks);
    encoded.shards[..encoded.layout.scheme.k()].concat()[range.start as usize..range.end as usize].to_vec()
}

/// The final placements.
async fn settle(scattered: Scattered) -> Vec<Placement> {
    match scattered.rest {
        Some(rest) => rest.settle().await,
        None => scattered.now,
    }
}

fn held(placements: &[Placement]) -> usize {
    placements.iter().filter(|placement| placement.health == Health::Held).count()
}

fn slow_put(node: &Node, delay: Duration) {
    *node.shelf.manner.lock() = Manner { put_delay: delay, ..Manner::default() };
}

/// A chunk that lies on a fresh network, and where.
async fn stored(scene: &Scene, bytes: usize) -> (Encoded, Vec<Placement>) {
    let encoded = scene.chunk(bytes, Scheme::BASIC);
    let scattered = scene.scatter(encoded.clone()).await.expect("all is well");
    let placements = settle(scattered).await;
    assert_eq!(held(&placements), 6);
    (encoded, placements)
}

fn consumer(placements: &[Placement], index: usize) -> crate::base::PeerId {
    placements[index].consumer.expect("held")
}

/// What has failed so far, by how.
fn failures(scene: &Scene) -> [(&'static str, u64); 4] {
    let counters = scene.dispatcher.counters();
    [
        ("unreachable", counters.unreachable),
        ("late", counters.late),
        ("wrong", counters.wrong),
        ("refused", counters.refused),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_shard_gets_a_consumer_of_its_own_and_comes_back() {
    let scene = Scene::new(8, 1);
    let (encoded, placements) = stored(&scene, 1 << 20).await;
    let peers: HashSet<_> = placements.iter().filter_map(|placement| placement.consumer).collect();
    assert_eq!(peers.len(), 6);
    for (index, root) in encoded.roots.iter().enumerate() {
        let on_shelf = scene.node(consumer(&placements, index)).shelf.shards.lock().get(root).cloned();
        assert_eq!(on_shelf.as_ref(), Some(&encoded.shards[index]));
        assert_eq!(scene.copies(*root), 1);
    }
    for blocks in [0..16, 0..1, 3..5, 15..16] {
        let (got, suspects) = scene.gather((&encoded, &placements), blocks.clone()).await;
        assert_eq!(got.expect("all is well"), sealed(&encoded, blocks));
        assert!(suspects.is_empty());
    }
    let counters = scene.dispatcher.counters();
    assert_eq!((counters.shards_sent, counters.reconstructions), (6, 0));
    assert_eq!(failures(&scene), [("unreachable", 0), ("late", 0), ("wrong", 0), ("refused", 0)]);
    assert_eq!(counters.bytes_sent, 6 * u64::from(encoded.layout.shard_len));
    assert!(scene.dispatcher.known().len() == 8 && scene.dispatcher.tracker_problem().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_small_read_moves_little() {
    let scene = Scene::new(6, 2);
    let (encoded, placements) = stored(&scene, 4 << 20).await;
    let read = async |blocks| scene.gather((&encoded, &placements), blocks).await.0;
    read(5..6).await.expect("all is well");
    let one = scene.dispatcher.counters().bytes_received;
    assert!(one <= 66 << 10, "{one} bytes for a block");
    scene.world.set_up(consumer(&placements, 0), false);
    read(5..6).await.expect("five are left");
    let other = scene.dispatcher.counters().bytes_received - one;
    assert!(other <= 4 * (66 << 10), "{other} bytes for a block of a lost shard");
    assert_eq!(scene.dispatcher.counters().reconstructions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_is_replaced_and_its_late_shard_is_known() {
    let scene = Scene::new(7, 3);
    // Everybody takes the first put slowly but one node takes for ages: with 7 nodes it is among the 6 for most seeds.
    for node in &scene.nodes {
        slow_put(node, Duration::from_millis(100));
    }
    let mut was_replaced = false;
    for round in 0..4 {
        let slow = &scene.nodes[round];
        slow_put(slow, Duration::from_secs(18));
        let encoded = scene.chunk(100_000, Scheme::BASIC);
        let start = Instant::now();
        let scattered = scene.scatter(encoded.clone()).await.expect("enough others");
        assert!(held(&scattered.now) >= 5);
        assert!(start.elapsed() < Duration::from_secs(1), "the threshold does not wait for the slow one");
        let placements = settle(scattered).await;
        assert_eq!(held(&placements), 6, "replaced");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(placements.iter().all(|placement| placement.consumer != Some(slow.peer)));
        was_replaced |= *slow.shelf.asked.lock() > round;
        tokio::time::sleep(Duration::from_secs(40)).await; // virtual time
        assert!(scene.is_all_announced());
        scene.delete_surplus(&placements).await;
        assert!(encoded.roots.iter().all(|root| scene.copies(*root) == 1), "no shard is left over");
        scene.announced.lock().clear();
        scene.nodes.iter().for_each(|node| node.shelf.shards.lock().clear());
        slow_put(slow, Duration::from_millis(100));
    }
    assert!(was_replaced, "the slow one was never tried: choose other seeds");
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_are_replaced_by_those_that_failed_a_moment_ago() {
    let scene = Scene::new(8, 9);
    scene.nodes.iter().for_each(|node| slow_put(node, Duration::from_millis(100)));
    scene.nodes[..2].iter().for_each(|node| slow_put(node, Duration::from_secs(18)));
    // With these two set aside the other six are chosen, the hanging ones among them.
    scene.nodes[6..].iter().for_each(|node| scene.dispatcher.inner.directory.back_off(node.peer));
    let start = Instant::now();
    let scattered = scene.scatter(scene.chunk(100_000, Scheme::BASIC)).await.expect("enough others");
    assert!(held(&scattered.now) >= 5 && start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(held(&settle(scattered).await), 6);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

/// On a slow link all are slow: what is on its way is not sent to others beside.
#[tokio::test(start_paused = true)]
async fn where_all_are_slow_nobody_is_replaced() {
    let scene = Scene::new(12, 10);
    scene.nodes.iter().for_each(|node| slow_put(node, Duration::from_secs(6)));
    let scattered = scene.scatter(scene.chunk(4 << 20, Scheme::BASIC)).await.expect("all is well");
    assert_eq!(held(&settle(scattered).await), 6);
    assert_eq!(scene.announced.lock().len(), 6, "each shard went to one consumer");
}

#[tokio::test(start_paused = true)]
async fn the_threshold_commits_and_the_rest_is_named_missing() {
    let scene = Scene::new(6, 4);
    scene.fault(scene.nodes[2].peer, FaultPlan { is_hanging: true, ..FaultPlan::default() });
    let encoded = scene.chunk(100_000, Scheme::BASIC);
    let start = Instant::now();
    let scattered = scene.scatter(encoded.clone()).await.expect("five are enough");
    assert_eq!(held(&scattered.now), 5);
    assert!(start.elapsed() < Duration::from_secs(1));
    let placements = settle(scattered).await;
    assert!(start.elapsed() <= limits::SCATTER_TAIL + Duration::from_secs(2));
    let missing: Vec<_> = (0..6).filter(|index| placements[*index].health == Health::Missing).collect();
    assert_eq!(missing.len(), 1);
    // The next chunk does not try it first, nor at all: five are enough.
    let start = Instant::now();
    let scattered = scene.scatter(scene.chunk(100_000, Scheme::BASIC)).await.expect("five are enough");
    assert_eq!(held(&settle(scattered).await), 5);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());

    scene.fault(scene.nodes[2].peer, FaultPlan::default());
    tokio::time::sleep(limits::PUT_BACK_OFF).await; // virtual time
    let holders: Vec<_> = placements.iter().filter_map(|placement| placement.consumer).collect();
    let rebuilt = scene.rebuild((&encoded, &placements), &missing).await.expect("five are left").shards;
    assert_eq!(rebuilt, [encoded.shards[missing[0]].clone()]);
    let (root, announce) = (encoded.roots[missing[0]], scene.announce());
    let placed = scene.dispatcher.place(root, rebuilt[0].clone(), &holders, &announce).await;
    assert_eq!(placed.expect("it is back"), scene.nodes[2].peer);
    assert!(scene.is_all_announced());
}

#[tokio::test(start_paused = true)]
async fn too_few_consumers_are_an_error_and_what_was_placed_is_known() {
    let scene = Scene::new(4, 5);
    let error = scene.scatter(scene.chunk(1000, Scheme::BASIC)).await.expect_err("four");
    assert!(matches!(error, Error::NotEnough { needed: 5, online: 4, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(scene.nodes.iter().all(|node| *node.shelf.asked.lock() == 0), "nothing is put in vain");

    let scene = Scene::new(6, 5);
    for node in &scene.nodes[..2] {
        node.shelf.manner.lock().refuses = Some(ErrorKind::Full);
    }
    let encoded = scene.chunk(1000, Scheme::BASIC);
    let error = scene.scatter(encoded.clone()).await.expect_err("four take it");
    assert!(matches!(error, Error::NotEnough { needed: 5, .. }), "{error}");
    tokio::time::sleep(Duration::from_secs(30)).await; // virtual time
    assert!(encoded.roots.iter().any(|root| scene.copies(*root) > 0), "four took theirs");
    scene.delete_surplus(&[]).await;
    assert!(encoded.roots.iter().all(|root| scene.copies(*root) == 0), "all that was stored was announced");

    let scene = Scene::new(0, 5);
    assert!(scene.scatter(scene.chunk(0, Scheme::FREE)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_that_could_not_be_announced() {
    let scene = Scene::new(8, 6);
    let unrecorded = || Err(Error::Unrecorded { kind: ErrorKind::Full, why: "no space".into() });
    let refuse: Announce = Arc::new(move |_| Box::pin(std::future::ready(unrecorded())));
    let encoded = scene.chunk(1000, Scheme::BASIC);
    let error = scene.dispatcher.scatter(encoded.clone(), Arc::clone(&refuse)).await.expect_err("not announced");
    assert_eq!((error.kind(), error.to_string().contains("no space")), (ErrorKind::Full, true));
    let placed = scene.dispatcher.place(encoded.roots[0], encoded.shards[0].clone(), &[], &refuse).await;
    assert_eq!(placed.map_err(|error| error.kind()), Err(ErrorKind::Full));
    assert!(scene.nodes.iter().all(|node| *node.shelf.asked.lock() == 0));
}

/// A deletion after it is final: else it could overtake what it is to delete.
#[tokio::test(start_paused = true)]
async fn a_dropped_scatter_sends_nothing_more() {
    let scene = Scene::new(6, 6);
    for node in &scene.nodes[..3] {
        let plan = FaultPlan { delay: Duration::from_secs(2), ..FaultPlan::default() };
        scene.fault(node.peer, plan);
    }
    let encoded = scene.chunk(1000, Scheme::BASIC);
    let dropped = timeout(Duration::from_secs(1), scene.scatter(encoded.clone())).await;
    assert!(dropped.is_err());
    tokio::time::sleep(Duration::from_secs(30)).await; // virtual time
    assert!(scene.nodes[..3].iter().all(|node| *node.shelf.asked.lock() > 0), "they were asked");
    assert!(scene.nodes[..3].iter().all(|node| node.shelf.shards.lock().is_empty()), "and sent nothing");
    assert!(scene.is_all_announced());
    scene.delete_surplus(&[]).await;
    assert!(encoded.roots.iter().all(|root| scene.copies(*root) == 0));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_late_ends_before_the_rest_is_told() {
    let scene = Scene::new(6, 13);
    let late = &scene.nodes[2];
    scene.fault(late.peer, FaultPlan { delay: limits::SCATTER_TAIL + Duration::from_secs(2), ..FaultPlan::default() });
    let scattered = scene.scatter(scene.chunk(1000, Scheme::BASIC)).await.expect("five are enough");
    let placements = settle(scattered).await;
    assert_eq!(held(&placements), 5);
    assert_eq!(*late.shelf.asked.lock(), 1);
    scene.fault(late.peer, FaultPlan::default());
    scene.delete_surplus(&placements).await;
    tokio::time::sleep(limits::REQUEST_TIMEOUT).await; // virtual time
    assert!(late.shelf.shards.lock().is_empty(), "it came after its deletion");
}

#[tokio::test(start_paused = true)]
async fn it_works_from_memory_while_the_tracker_is_down() {
    let scene = Scene::new(6, 7);
    scene.world.set_up(scene.tracker, false);
    scene.dispatcher.learn(scene.nodes.iter().map(|node| node.candidate.clone().into()).collect());
    let (encoded, placements) = stored(&scene, 50_000).await;
    assert!(scene.dispatcher.tracker_problem().is_some());
    let (got, _) = scene.gather((&encoded, &placements), 0..1).await;
    assert_eq!(got.expect("six are there"), sealed(&encoded, 0..1));

    // A new consumer becomes known once the tracker is back.
    let mut changed = scene.dispatcher.changed();
    changed.borrow_and_update();
    let mut new = scene.nodes[0].candidate.clone();
    new.contact.peer = scene.tracker;
    scene.listed.lock().push(new);
    scene.world.set_up(scene.tracker, true);
    timeout(Duration::from_secs(30), changed.changed()).await.expect("in time").expect("alive");
    assert_eq!(scene.dispatcher.known().len(), 7);
    assert!(scene.dispatcher.tracker_problem().is_none());
    assert_eq!(scene.dispatcher.network_space(), (7 * (10 << 30), scene.dispatcher.network_space().1));
}

/// Waits for the next answers of the tracker.
async fn hear(scene: &Scene) {
    for _ in 0..2 {
        scene.dispatcher.inner.directory.refresh().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_consumer_has_answered_is_not_given_up_for_what_a_tracker_says() {
    let scene = Scene::new(6, 8);
    stored(&scene, 50_000).await;
    let peer = scene.nodes[0].peer;
    let contact = || scene.dispatcher.inner.directory.contact(peer).addresses;
    let proven = contact().first().cloned().expect("it was reached");
    assert!(proven.starts_with("/memory/"), "{proven}");
    for lie in ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"] {
        let lies = || std::iter::once(lie.to_owned()).chain((3..30).map(|port| format!("/ip4/192.0.2.9/tcp/{port}")));
        scene.listed.lock()[0].contact.addresses = lies().take(limits::ADDRESSES).collect();
        hear(&scene).await;
        assert_eq!(
            contact(),
            std::iter::once(proven.clone()).chain(lies()).take(limits::ADDRESSES).collect::<Vec<_>>()
        );
    }
    // Nor at the next start.
    let remembered = scene.dispatcher.remembered();
    let next = Scene::new(6, 8);
    next.world.set_up(next.tracker, false);
    next.dispatcher.learn(remembered);
    let known = next.dispatcher.remembered();
    let known = known.iter().find(|it| it.candidate.contact.peer == peer).expect("it is remembered");
    assert_eq!((known.has_answered, &known.candidate.contact.addresses[0]), (true, &proven));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_not_named_is_asked_for_and_in_time_not_counted_on() {
    let scene = Scene::new(7, 9);
    let hidden = scene.nodes[3].peer;
    scene.unnamed.lock().insert(hidden);
    hear(&scene).await;
    assert_eq!(scene.dispatcher.known().len(), 6);
    assert!(scene.dispatcher.inner.directory.contact(hidden).addresses.is_empty(), "not known");
    hear(&scene).await;
    assert!(!scene.dispatcher.inner.directory.contact(hidden).addresses.is_empty(), "it was asked for");
    let is_online = || {
        let known = scene.dispatcher.known();
        known.iter().find(|it| it.contact.peer == hidden).expect("known").is_online
    };
    tokio::time::sleep(limits::CONSUMER_UNHEARD / 2).await; // virtual time
    assert!(is_online());
    tokio::time::sleep(limits::CONSUMER_UNHEARD / 2 + limits::TRACKER_REFRESH * 2).await; // virtual time
    assert!(!is_online(), "nothing was heard of it");
    assert_eq!(scene.dispatcher.inner.directory.online(), 6);
}

#[tokio::test(start_paused = true)]
async fn those_that_have_answered_are_not_forgotten_for_those_that_only_have_a_name() {
    let scene = Scene::new(6, 10);
    stored(&scene, 50_000).await;
    let model = scene.nodes[0].candidate.clone();
    let named = (0..2 * limits::KNOWN_CONSUMERS as u64).map(|number| {
        let mut candidate = model.clone();
        candidate.contact.peer.0[..8].copy_from_slice(&number.to_be_bytes());
        candidate.last_beat = crate::base::UnixMillis(u64::MAX);
        candidate.into()
    });
    scene.dispatcher.learn(named.collect());
    let remembered = scene.dispatcher.remembered();
    assert_eq!(remembered.len(), limits::KNOWN_CONSUMERS);
    let answered: HashSet<_> =
        remembered.iter().filter(|it| it.has_answered).map(|it| it.candidate.contact.peer).collect();
    assert_eq!(answered, scene.nodes.iter().map(|node| node.peer).collect());
}

type Fault = Box<dyn Fn(&Scene, crate::base::PeerId)>;

/// The ways in which a consumer fails a reader: name, whether the shard itself is bad, as what it is counted, how.
fn faults() -> Vec<(&'static str, bool, &'static [&'static str], Fault)> {
    let plan = |plan: FaultPlan| move |scene: &Scene, peer| scene.fault(peer, plan.clone());
    vec![
        ("down", false, &["unreachable"], Box::new(|scene, peer| scene.world.set_up(peer, false))),
        ("refused", false, &["unreachable"], Box::new(plan(FaultPlan { is_refused: true, ..FaultPlan::default() }))),
        ("hanging", false, &["late"], Box::new(plan(FaultPlan { is_hanging: true, ..FaultPlan::default() }))),
        (
            "cut",
            false,
            &["unreachable"],
            Box::new(plan(FaultPlan { cut_after_bytes: Some(3000), ..FaultPlan::default() })),
        ),
        (
            "stalled",
            false,
            &["late"],
            Box::new(plan(FaultPlan { stall_after_bytes: Some(3000), ..FaultPlan::default() })),
        ),
        ("late", false, &["late"], Box::new(plan(FaultPlan { delay: Duration::from_secs(9), ..FaultPlan::default() }))),
        (
            "wrong",
            true,
            // Of the whole the reader sees it, of a part the consumer itself.
            &["wrong", "refused"],
            Box::new(|scene, peer| {
                for data in scene.node(peer).shelf.shards.lock().values_mut() {
                    *data = data.iter().map(|byte| byte ^ 1).collect();
                }
            }),
        ),
        (
            "short",
            true,
            &["wrong", "refused"],
            Box::new(|scene, peer| {
                scene
                    .node(peer)
                    .shelf
                    .shards
                    .lock()
                    .values_mut()
                    .for_each(|data| *data = Bytes::from_static(&[0; 1024]));
            }),
        ),
        ("gone", true, &["refused"], Box::new(|scene, peer| scene.node(peer).shelf.shards.lock().clear())),
        (
            "slow",
            false,
            &["late"],
            Box::new(|scene, peer| {
                scene.node(peer).shelf.manner.lock().get_delay = Duration::from_secs(8);
            }),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn reads_survive_two_of_each_fault_and_name_the_bad() {
    for (name, is_damage, counted, fail) in faults() {
        let scene = Scene::new(6, 8);
        let (encoded, placements) = stored(&scene, 1 << 20).await;
        let read = |blocks| scene.gather((&encoded, &placements), blocks);
        read(0..16).await.0.expect("all is well");
        for index in [0, 2] {
            fail(&scene, consumer(&placements, index));
        }
        for blocks in [0..16, 1..2, 8..10] {
            let start = Instant::now();
            let (got, suspects) = read(blocks.clone()).await;
            let got = got.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(got, sealed(&encoded, blocks.clone()), "{name}");
            let took = start.elapsed();
            assert!(took < Duration::from_secs(1), "{name} {blocks:?} took {took:?}");
            if is_damage && blocks == (0..16) {
                assert_eq!(suspects, [0, 2], "{name}");
            }
            assert!(is_damage || suspects.is_empty(), "{name}: {suspects:?}");
        }
        for (how, count) in failures(&scene) {
            assert_eq!(count >= 2, counted.contains(&how), "{name}: {count} {how}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_stall_cost_seconds_also_when_other_leaves_of_each_are_needed() {
    let scene = Scene::new(6, 12);
    let (encoded, placements) = stored(&scene, 1 << 20).await;
    for index in [0, 1] {
        let plan = FaultPlan { stall_after_bytes: Some(3000), ..FaultPlan::default() };
        scene.fault(consumer(&placements, index), plan);
    }
    let start = Instant::now();
    // The end of the first shard and the beginning of the second.
    let (read, _) = scene.gather((&encoded, &placements), 3..5).await;
    assert_eq!(read.expect("four are left"), sealed(&encoded, 3..5));
    // One that stalls may also be asked in place of the other, before it is known for it.
    assert!(start.elapsed() < limits::HEDGE_CEILING * 4, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn fewer_than_k_are_an_error_in_time() {
    for (name, is_damage, _, fail) in faults() {
        if ["late", "slow"].contains(&name) {
            continue;
        }
        let scene = Scene::new(6, 9);
        let (encoded, placements) = stored(&scene, 1 << 20).await;
        for index in [0, 2, 5] {
            fail(&scene, consumer(&placements, index));
        }
        let start = Instant::now();
        let (read, suspects) = scene.gather((&encoded, &placements), 0..16).await;
        let error = read.expect_err(name);
        assert_eq!(suspects, if is_damage { vec![0, 2, 5] } else { Vec::new() }, "{name}: noted although it failed");
        assert!(matches!(error, Error::Unreadable { have: 0..4, need: 4, .. }), "{name}: {error}");
        assert!(start.elapsed() <= limits::READ_TIMEOUT, "{name}");
        let rebuilt = scene.rebuild((&encoded, &placements), &[0]).await;
        assert!(rebuilt.is_err(), "{name}");
        // What does not need the lost ones can be read all the same.
        let (got, _) = scene.gather((&encoded, &placements), 5..6).await;
        assert_eq!(got.expect(name), sealed(&encoded, 5..6));
    }
}

/// Who tells the truth only where it is proven, or nothing there, is named all the same.
#[tokio::test(start_paused = true)]
async fn what_differs_from_what_is_proven_is_a_lie() {
    for is_silent in [false, true] {
        let scene = Scene::new(6, 16);
        let (encoded, placements) = stored(&scene, 1 << 20).await;
        for index in [0, 1] {
            *scene.node(consumer(&placements, index)).shelf.manner.lock() =
                Manner { is_false: true, is_silent, ..Manner::default() };
        }
        // In the first shard alone, and in the first and the second.
        for (blocks, lied) in [(1..2, vec![0]), (3..5, vec![0, 1])] {
            let (got, suspects) = scene.gather((&encoded, &placements), blocks.clone()).await;
            assert_eq!(got.expect("four are honest"), sealed(&encoded, blocks));
            assert_eq!(suspects, lied, "silent: {is_silent}");
        }
        assert_eq!(scene.dispatcher.counters().wrong, 3, "silent: {is_silent}");
    }
}

/// One flipped bit on its way, and nobody else is there: what is proven then is right.
#[tokio::test(start_paused = true)]
async fn what_is_proven_is_used_whoever_proves_it() {
    let scene = Scene::new(6, 17);
    let (encoded, placements) = stored(&scene, 1 << 20).await;
    scene.node(consumer(&placements, 0)).shelf.manner.lock().is_false = true;
    for index in [1, 2, 3] {
        scene.world.set_up(consumer(&placements, index), false);
    }
    let (got, suspects) = scene.gather((&encoded, &placements), 1..2).await;
    assert_eq!(got.expect("it is proven"), sealed(&encoded, 1..2));
    assert_eq!(suspects, [0]);
}

/// Nobody hashes what others have proven, so it is the shard that was computed that shows it.
#[tokio::test(start_paused = true)]
async fn a_shard_is_not_computed_from_wrong_bytes() {
    let scene = Scene::new(6, 15);
    let (encoded, placements) = stored(&scene, 1 << 20).await;
    let is_wrong = |index| {
        let shelf = &scene.node(consumer(&placements, index)).shelf;
        shelf.shards.lock().values_mut().for_each(|data| *data = data.iter().map(|byte| byte ^ 1).collect());
    };
    // Whichever four are asked for the last one.
    for index in [0, 1] {
        is_wrong(index);
        let missing = [5 - index];
        let rebuilt = scene.rebuild((&encoded, &placements), &missing).await;
        match index {
            0 => {
                assert_eq!(rebuilt.expect("four are right").shards, [encoded.shards[missing[0]].clone()]);
                assert_eq!(scene.dispatcher.counters().wrong, 1, "it was asked, and caught");
            }
            _ => assert!(matches!(rebuilt, Err(Error::Unreadable { have: 0..4, need: 4, .. })), "{rebuilt:?}"),
        }
    }
    assert_eq!(scene.dispatcher.counters().wrong, 3);
}

/// What was bad may have been so for a moment only, and may be what is left.
#[tokio::test(start_paused = true)]
async fn suspected_shards_are_used_where_there_are_too_few_others() {
    let scene = Scene::new(6, 14);
    let (encoded, mut placements) = stored(&scene, 1 << 20).await;
    for index in [0, 3, 5] {
        placements[index].health = Health::Suspect;
    }
    let asked = |index| *scene.node(consumer(&placements, index)).shelf.asked.lock();
    let before = [0, 3, 5].map(asked);
    let rebuilt = scene.rebuild((&encoded, &placements), &[0]).await.expect("all are there");
    assert_eq!((rebuilt.shards, rebuilt.sound), (vec![encoded.shards[0].clone()], vec![0]));
    scene.node(consumer(&placements, 0)).shelf.shards.lock().clear();
    let rebuilt = scene.rebuild((&encoded, &placements), &[0, 3, 5]).await.expect("five are there");
    assert_eq!(rebuilt.shards, [0, 3, 5].map(|index: usize| encoded.shards[index].clone()));
    assert!(!rebuilt.sound.contains(&0) && !rebuilt.sound.is_empty(), "{:?}", rebuilt.sound);
    assert!([0, 3, 5].map(asked) != before);
    // Not while there are enough others.
    placements[3].health = Health::Held;
    let before = *scene.node(consumer(&placements, 5)).shelf.asked.lock();
    let rebuilt = scene.rebuild((&encoded, &placements), &[5]).await.expect("four are sound");
    assert_eq!((rebuilt.shards, rebuilt.sound), (vec![encoded.shards[5].clone()], vec![]));
    assert_eq!(*scene.node(consumer(&placements, 5)).shelf.asked.lock(), before);
}

#[tokio::test(start_paused = true)]
async fn all_slow_is_waited_for_and_a_short_absence_too() {
    let scene = Scene::new(6, 10);
    let (encoded, placements) = stored(&scene, 1 << 20).await;
    let read = async || scene.gather((&encoded, &placements), 0..16).await.0;
    for node in &scene.nodes {
        node.shelf.manner.lock().get_delay = Duration::from_secs(7);
    }
    assert_eq!(read().await.expect("late, but there"), sealed(&encoded, 0..16));
    for node in &scene.nodes {
        node.shelf.manner.lock().get_delay = Duration::ZERO;
        scene.world.set_up(node.peer, false);
    }
    let back = async {
        tokio::time::sleep(Duration::from_millis(800)).await; // virtual time
        scene.nodes.iter().for_each(|node| scene.world.set_up(node.peer, true));
    };
    let (got, ()) = tokio::join!(read(), back);
    assert_eq!(got.expect("back in time"), sealed(&encoded, 0..16));
}

#[tokio::test(start_paused = true)]
async fn deleting_is_done_when_it_is_gone_and_quick_when_nobody_is_there() {
    let scene = Scene::new(6, 11);
    let (encoded, placements) = stored(&scene, 1000).await;
    let (peer, shard) = (consumer(&placements, 0), encoded.roots[0]);
    scene.dispatcher.delete(peer, shard).await.expect("deleted");
    assert_eq!(scene.copies(shard), 0);
    scene.dispatcher.delete(peer, shard).await.expect("gone is fine");
    scene.world.set_up(peer, false);
    assert_eq!(scene.dispatcher.delete(peer, shard).await.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
    assert!(matches!(scene.dispatcher.delete(peer, shard).await, Err(Error::Resting(_))));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_everything_soon() {
    let scene = Scene::new(6, 12);
    scene.nodes.iter().for_each(|node| slow_put(node, Duration::from_secs(15)));
    let scatter = scene.scatter(scene.chunk(1000, Scheme::BASIC));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await; // virtual time
        scene.tasks.stop(Duration::from_secs(2)).await
    };
    let (result, is_stopped) = tokio::join!(scatter, stop);
    let error = result.expect_err("nothing was stored yet");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(scene.announced.lock().len(), 6, "all six may yet be stored");
    assert!(is_stopped);
}

#[tokio::test(start_paused = true)]
async fn who_becomes_known_first_is_connected_before_it_is_asked() {
    let scene = Scene::new(6, 31);
    let away = scene.nodes[5].peer;
    scene.world.set_up(away, false);
    let mut changed = scene.dispatcher.changed();
    changed.wait_for(|_| scene.dispatcher.is_informed()).await.expect("the tracker answers");
    let ask = async |node: &Node| {
        let start = Instant::now();
        scene.dispatcher.list_page(node.peer, None).await.expect("it answers");
        start.elapsed()
    };
    // In virtual time: by then all have connected that can.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut connected = Vec::new();
    for node in &scene.nodes[..5] {
        connected.push(ask(node).await);
    }
    scene.world.cut_streams();
    for (node, connected) in scene.nodes.iter().zip(connected) {
        let anew = ask(node).await;
        assert!(connected < anew, "{connected:?} when it was connected, {anew:?} when it was not");
    }
    scene.world.set_up(away, true);
    ask(&scene.nodes[5]).await;
}
