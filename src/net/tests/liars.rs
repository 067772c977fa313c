//! Consumers that lie, stall, or break: the error names it, and comes within the deadline.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::fixture::*;
use crate::{
    base::{ShardId, UnixMillis, limits},
    coding::merkle,
    keys::Role,
    net::{
        wire::{Hello, HelloAnswer, ShardAnswer, ShardRequest, read_data, read_frame, receipt_bytes, write_frame},
        *,
    },
};

const LEN: u32 = 4096;

/// A client of a consumer that answers every request with these frames and bytes, and then stays silent.
async fn against(answers: Vec<ShardAnswer>, raw: Bytes) -> (ShardClient, Contact) {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let to = contact(&node);
    let mut incoming = node.accept(Protocol::Shard).unwrap();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = incoming.recv().await {
            let _: (Hello, usize) = read_frame(&mut stream).await.unwrap();
            let certificate = certificate(3, 3, Role::Consumer);
            write_frame(&mut stream, &HelloAnswer::Hello(Hello { certificate })).await.unwrap();
            while let Ok((request, _)) = read_frame::<ShardRequest>(&mut stream).await {
                for answer in &answers {
                    write_frame(&mut stream, answer).await.unwrap();
                    if let (ShardAnswer::Ready, ShardRequest::Put { bytes, .. }) = (answer, &request) {
                        read_data(&mut stream, *bytes as usize).await.unwrap();
                    }
                }
                stream.write_all(&raw).await.unwrap();
            }
        }
    });
    (ShardClient::new(client, certificate(1, 1, Role::Producer)), to)
}

fn good() -> (ShardId, Bytes) {
    shard(LEN as usize, 7)
}

fn assert_misbehaved<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Misbehaved { .. })), "{result:?}");
}

fn assert_timed_out<T: std::fmt::Debug>(result: Result<T, Error>, start: Instant, limit: Duration) {
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert!(start.elapsed() <= limit + Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes() {
    let (all, wrong) = (0..4, shard(LEN as usize, 8).1);
    let (client, to) = against(vec![ShardAnswer::Range { bytes: LEN, leaves: 4, proof: vec![] }], wrong.clone()).await;
    assert_misbehaved(client.get_proven(&to, good().0, LEN, all.clone()).await);
    // Who does not ask for a proof must know better.
    let (client, to) = against(vec![ShardAnswer::Data { bytes: LEN }], wrong.clone()).await;
    assert_eq!(client.get(&to, good().0, LEN, all).await.unwrap(), wrong);
}

#[tokio::test(start_paused = true)]
async fn too_many_or_too_few_bytes() {
    for bytes in [LEN + 1, LEN - 1, 0, u32::MAX] {
        let (client, to) = against(vec![ShardAnswer::Data { bytes }], good().1).await;
        assert_misbehaved(client.get(&to, good().0, LEN, 0..4).await);
        assert_misbehaved(client.get(&to, good().0, LEN, 1..4).await);
        let (client, to) = against(vec![ShardAnswer::Range { bytes, leaves: 4, proof: vec![] }], good().1).await;
        assert_misbehaved(client.get_proven(&to, good().0, LEN, 0..4).await);
    }
}

#[tokio::test(start_paused = true)]
async fn ranges_without_a_proof_or_of_another_place() {
    let (id, data) = good();
    let proof = |range| merkle::Tree::build(&data).range_proof(range);
    let answer = |bytes, leaves, proof| vec![ShardAnswer::Range { bytes, leaves, proof }];
    let cases = [
        (answer(1024, 4, vec![]), data.slice(1024..2048)),
        (answer(1024, 4, proof(0..1)), data.slice(0..1024)),
        (answer(1024, 4, proof(1..2)), data.slice(0..1024)),
        (answer(1024, 5, proof(1..2)), data.slice(1024..2048)),
        (answer(2048, 4, proof(1..3)), data.slice(1024..3072)),
        (answer(1024, 4, vec![[0; 32]; 1000]), data.slice(1024..2048)),
    ];
    for (answers, raw) in cases {
        let (client, to) = against(answers, raw).await;
        assert_misbehaved(client.get_proven(&to, id, LEN, 1..2).await);
    }
    let (client, to) = against(answer(1024, 4, proof(1..2)), data.slice(1024..2048)).await;
    assert_eq!(client.get_proven(&to, id, LEN, 1..2).await.unwrap(), data.slice(1024..2048));
}

#[tokio::test(start_paused = true)]
async fn receipts_that_are_none() {
    let (id, data) = good();
    let owner = certificate(1, 1, Role::Producer).owner;
    let consumer = key(3).peer_id();
    let mut receipt = Receipt { shard: id, owner, consumer, bytes: LEN, at: UnixMillis(5), signature: vec![] };
    receipt.signature = key(3).sign(&receipt_bytes(&receipt)).to_vec();
    let changes: [fn(&mut Receipt); 5] = [
        |r| r.signature[0] ^= 1,
        |r| r.at = UnixMillis(6),
        |r| r.bytes += 1,
        |r| r.shard = ShardId([0; 32]),
        |r| {
            r.consumer = key(4).peer_id();
            r.signature = key(4).sign(&receipt_bytes(r)).to_vec();
        },
    ];
    for change in changes {
        let mut bad = receipt.clone();
        change(&mut bad);
        let (client, to) = against(vec![ShardAnswer::Ready, ShardAnswer::Stored(bad.clone())], Bytes::new()).await;
        assert_misbehaved(client.put(&to, id, data.clone()).await);
        let (client, to) = against(vec![ShardAnswer::Held(bad)], Bytes::new()).await;
        assert_misbehaved(client.put(&to, id, data.clone()).await);
    }
    let (client, to) = against(vec![ShardAnswer::Ready, ShardAnswer::Stored(receipt.clone())], Bytes::new()).await;
    assert_eq!(client.put(&to, id, data).await.unwrap(), receipt);
}

#[tokio::test(start_paused = true)]
async fn answers_to_something_else_and_garbage() {
    let (client, to) = against(vec![ShardAnswer::Deleted], Bytes::new()).await;
    assert_misbehaved(whole(&client, &to, good().0, LEN).await);
    let (client, to) = against(vec![], Bytes::from_static(&[255; 64])).await;
    assert_misbehaved(client.stat(&to, good().0).await);
    let stuck = ShardPage { shards: vec![], is_last: false };
    let (client, to) = against(vec![ShardAnswer::Page(stuck)], Bytes::new()).await;
    assert_misbehaved(client.list(&to).await);
    let entry = ShardStat { shard: good().0, bytes: 1 };
    let twice = ShardPage { shards: vec![entry; 2], is_last: true };
    let (client, to) = against(vec![ShardAnswer::Page(twice)], Bytes::new()).await;
    assert_misbehaved(client.list(&to).await);
}

#[tokio::test(start_paused = true)]
async fn silence_and_half_answers() {
    let (id, data) = good();
    for (answers, raw) in [
        (vec![], Bytes::new()),
        (vec![ShardAnswer::Data { bytes: LEN }], data.slice(..100)),
        (vec![], Bytes::from_static(&[0, 0])),
    ] {
        let (client, to) = against(answers, raw).await;
        let start = Instant::now();
        assert_timed_out(client.get(&to, id, LEN, 0..4).await, start, limits::REQUEST_TIMEOUT);
    }
    let (client, to) = against(vec![ShardAnswer::Ready], Bytes::new()).await;
    let start = Instant::now();
    assert_timed_out(client.put(&to, id, data).await, start, limits::REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_somebody_else() {
    for certificate in [certificate(4, 4, Role::Consumer), certificate(3, 3, Role::Producer)] {
        let world = world();
        let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
        let (to, mut incoming) = (contact(&node), node.accept(Protocol::Shard).unwrap());
        tokio::spawn(async move {
            let (_, mut stream) = incoming.recv().await.unwrap();
            write_frame(&mut stream, &HelloAnswer::Hello(Hello { certificate })).await.unwrap();
            std::future::pending::<()>().await;
        });
        let client = ShardClient::new(client, super::fixture::certificate(1, 1, Role::Producer));
        assert_misbehaved(client.stat(&to, good().0).await);
    }
}

/// After a deadline the streams that were kept are not tried one after another.
#[tokio::test(start_paused = true)]
async fn a_peer_that_fell_silent_costs_one_deadline() {
    let world = world();
    let node = world.join(key(3).peer_id()) as Arc<dyn Network>;
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1 << 20), identity(3, Role::Consumer), &tasks).unwrap();
    let faulty = Arc::new(FaultyNetwork::new(world.join(key(1).peer_id())));
    let client = ShardClient::new(faulty.clone(), certificate(1, 1, Role::Producer));
    // Hello and first answer pass; what is asked next on the same stream is never answered.
    let hello = 4 + postcard::to_stdvec(&HelloAnswer::Hello(Hello { certificate: certificate(3, 3, Role::Consumer) }))
        .unwrap()
        .len() as u64;
    faulty.set(to.peer, FaultPlan { stall_after_bytes: Some(hello + 4 + 3), ..FaultPlan::default() });
    let (one, two, three) = futures::join!(client.list(&to), client.list(&to), client.list(&to));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    faulty.set(to.peer, FaultPlan::default());
    let start = Instant::now();
    assert_timed_out(client.list(&to).await, start, limits::REQUEST_TIMEOUT);
    assert!(client.list(&to).await.is_ok());
    assert!(start.elapsed() < limits::REQUEST_TIMEOUT * 2);
}

/// An honest consumer behind a broken network.
#[tokio::test(start_paused = true)]
async fn broken_networks() {
    let world = world();
    let node = world.join(key(3).peer_id()) as Arc<dyn Network>;
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1 << 20), identity(3, Role::Consumer), &tasks).unwrap();
    let faulty = Arc::new(FaultyNetwork::new(world.join(key(1).peer_id())));
    let (id, data) = good();
    let fresh = || ShardClient::new(faulty.clone(), certificate(1, 1, Role::Producer));
    fresh().put(&to, id, data.clone()).await.unwrap();
    let try_with = async |plan: FaultPlan| {
        faulty.set(to.peer, plan);
        let start = Instant::now();
        (whole(&fresh(), &to, id, LEN).await, start)
    };

    let (result, _) = try_with(FaultPlan { is_refused: true, ..FaultPlan::default() }).await;
    assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
    let (result, start) = try_with(FaultPlan { is_hanging: true, ..FaultPlan::default() }).await;
    assert_timed_out(result, start, limits::CONNECT_TIMEOUT);
    for bytes in [0, 3, 100, 2000] {
        let (result, _) = try_with(FaultPlan { cut_after_bytes: Some(bytes), ..FaultPlan::default() }).await;
        assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
        let (result, start) = try_with(FaultPlan { stall_after_bytes: Some(bytes), ..FaultPlan::default() }).await;
        assert_timed_out(result, start, limits::REQUEST_TIMEOUT);
        let (result, _) = try_with(FaultPlan { corrupt_from_byte: Some(bytes), ..FaultPlan::default() }).await;
        assert_misbehaved(result);
    }
    let late = FaultPlan { delay: limits::REQUEST_TIMEOUT * 2, ..FaultPlan::default() };
    let (result, start) = try_with(late).await;
    assert_timed_out(result, start, limits::REQUEST_TIMEOUT);
    let (result, start) = try_with(FaultPlan { delay: Duration::from_secs(3), ..FaultPlan::default() }).await;
    assert_eq!(result.unwrap(), data);
    assert!(start.elapsed() >= Duration::from_secs(3));
    faulty.set(to.peer, FaultPlan::default());
    assert_eq!(whole(&fresh(), &to, id, LEN).await.unwrap(), data);
}

/// A client that stops in the middle of a put keeps nothing but its own stream.
#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_let_go() {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (tasks, to) = (tasks(), contact(&node));
    let memory = MemoryNode::new(1 << 20);
    serve_shards(&node, memory.clone(), identity(3, Role::Consumer), &tasks).unwrap();
    let start = Instant::now();
    let mut silent = client.open(&to, Protocol::Shard).await.unwrap();
    assert!(read_frame::<HelloAnswer>(&mut silent).await.is_err(), "no hello, no stream");
    assert!(start.elapsed() <= limits::CONNECT_TIMEOUT + Duration::from_millis(100));

    let mut stalling = client.open(&to, Protocol::Shard).await.unwrap();
    let certificate = certificate(1, 1, Role::Producer);
    write_frame(&mut stalling, &Hello { certificate }).await.unwrap();
    write_frame(&mut stalling, &ShardRequest::Put { shard: good().0, bytes: LEN }).await.unwrap();
    let _: (HelloAnswer, usize) = read_frame(&mut stalling).await.unwrap();
    assert!(matches!(read_frame(&mut stalling).await, Ok((ShardAnswer::Ready, _))));
    let start = Instant::now();
    assert!(read_frame::<ShardAnswer>(&mut stalling).await.is_err());
    assert!(start.elapsed() <= limits::REQUEST_TIMEOUT + Duration::from_millis(100));
    assert!(memory.shards.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_requests_are_refused_and_the_stream_closed() {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(0), identity(3, Role::Consumer), &tasks).unwrap();
    let mut stream = client.open(&to, Protocol::Shard).await.unwrap();
    let certificate = certificate(1, 1, Role::Producer);
    write_frame(&mut stream, &Hello { certificate }).await.unwrap();
    write_frame(&mut stream, &99_u8).await.unwrap();
    let _: (HelloAnswer, usize) = read_frame(&mut stream).await.unwrap();
    let (answer, _) = read_frame::<ShardAnswer>(&mut stream).await.unwrap();
    assert!(matches!(answer, ShardAnswer::Refused(refused) if refused.code == 3));
    assert!(read_frame::<ShardAnswer>(&mut stream).await.is_err());
}

/// What moves is waited for longer than what does not.
#[tokio::test(start_paused = true)]
async fn a_slow_link_has_the_time_that_it_needs() {
    const BYTES: u32 = 1 << 20;
    let world = world();
    let node = world.join(key(3).peer_id()) as Arc<dyn Network>;
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(4 << 20), identity(3, Role::Consumer), &tasks).unwrap();
    let faulty = Arc::new(FaultyNetwork::new(world.join(key(1).peer_id())));
    let client = ShardClient::new(faulty.clone(), certificate(1, 1, Role::Producer));
    let (id, data) = shard(BYTES as usize, 7);
    client.put(&to, id, data.clone()).await.unwrap();
    for (rate, is_enough) in [(32 << 10, true), (8 << 10, false)] {
        faulty.set(to.peer, FaultPlan { bytes_per_second: Some(rate), ..FaultPlan::default() });
        // A kept stream has the old plan.
        let client = ShardClient::new(faulty.clone(), certificate(1, 1, Role::Producer));
        let start = Instant::now();
        let got = client.get(&to, id, BYTES, 0..1024).await;
        if is_enough {
            assert_eq!(got.unwrap(), data);
            assert!(start.elapsed() > limits::REQUEST_TIMEOUT);
        } else {
            assert_timed_out(got, start, limits::request_timeout(BYTES as usize));
        }
    }
}

/// Who announces much and sends nothing leaves the memory of the server to others.
#[tokio::test(start_paused = true)]
async fn one_owner_does_not_take_all_memory() {
    let world = world();
    let (client, other) = (world.join(key(1).peer_id()), world.join(key(2).peer_id()) as Arc<dyn Network>);
    let node = world.join(key(3).peer_id()) as Arc<dyn Network>;
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1 << 30), identity(3, Role::Consumer), &tasks).unwrap();
    let mut stalling = Vec::new();
    for number in 0..limits::STREAMS_PER_PEER {
        let mut stream = client.open(&to, Protocol::Shard).await.unwrap();
        write_frame(&mut stream, &Hello { certificate: certificate(1, 1, Role::Producer) }).await.unwrap();
        let put = ShardRequest::Put { shard: shard(LEN as usize, number as u8).0, bytes: limits::SHARD_BYTES as u32 };
        write_frame(&mut stream, &put).await.unwrap();
        stalling.push(stream);
    }
    let _: (HelloAnswer, usize) = read_frame(&mut stalling[0]).await.unwrap();
    assert!(matches!(read_frame(&mut stalling[0]).await, Ok((ShardAnswer::Ready, _))));
    let (start, (id, data)) = (Instant::now(), good());
    let client = ShardClient::new(other, certificate(2, 2, Role::Producer));
    client.put(&to, id, data.clone()).await.unwrap();
    assert_eq!(whole(&client, &to, id, LEN).await.unwrap(), data);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
