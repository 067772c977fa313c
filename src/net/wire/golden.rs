//! Golden bytes of every message: what was released never changes. And: decode of encode is the identity.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::{
    base::{OwnerId, PeerId, ShardId, UnixMillis},
    keys::{Certificate, Role},
    net::{Beat, Candidate, CandidateQuery, Contact, Receipt, Registration, ShardPage, ShardStat},
};

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: T, golden: &str) {
    let bytes = postcard::to_stdvec(&message).unwrap();
    // Runs of one byte are written as <count>*<hex>, so that ids stay readable.
    assert_eq!(shorten(&bytes), golden, "{name}");
    assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), message, "{name}");
}

fn shorten(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1..8 => hex::encode(run),
        length => format!("{length}*{}", hex::encode(&run[..1])),
    });
    runs.collect::<Vec<_>>().join(" ")
}

fn certificate() -> Certificate {
    let (owner, peer) = (OwnerId([0xaa; 32]), PeerId([0xbb; 32]));
    Certificate { owner, peer, role: Role::Consumer, issued: UnixMillis(300), signature: vec![0xcc; 64] }
}

fn refused() -> Refused {
    Refused { code: 5, text: "no".into() }
}

const SHARD: ShardId = ShardId([0xdd; 32]);

fn receipt() -> Receipt {
    let (owner, consumer) = (OwnerId([0xaa; 32]), PeerId([0xbb; 32]));
    Receipt { shard: SHARD, owner, consumer, bytes: 1 << 20, at: UnixMillis(300), signature: vec![0xcc; 64] }
}

#[test]
fn hello() {
    let signed = "32*aa 32*bb 01 ac 02 40 64*cc";
    check("hello", Hello { certificate: certificate() }, signed);
    check("answer", HelloAnswer::Hello(Hello { certificate: certificate() }), &format!("01 {signed}"));
    check("refusal", HelloAnswer::Refused(refused()), "00 05 02 6e 6f");
}

#[test]
fn shard_requests() {
    use ShardRequest::*;
    check("put", Put { shard: SHARD, bytes: 1 << 20 }, "00 32*dd 8080 40");
    check("get", Get { shard: SHARD }, "01 32*dd");
    check("get range", GetRange { shard: SHARD, first: 3, end: 200 }, "02 32*dd 03 c8 01");
    check("stat", Stat { shard: SHARD }, "03 32*dd");
    check("delete", Delete { shard: SHARD }, "04 32*dd");
    check("list", List { after: None }, "05 00");
    check("list on", List { after: Some(SHARD) }, "05 01 32*dd");
    check("get leaves", GetLeaves { shard: SHARD, first: 3, end: 200 }, "06 32*dd 03 c8 01");
}

#[test]
fn shard_answers() {
    use ShardAnswer::*;
    let stat = ShardStat { shard: SHARD, bytes: 1024 };
    check("refused", Refused(refused()), "00 05 02 6e 6f");
    check("ready", Ready, "01");
    check("held", Held(receipt()), "02 32*dd 32*aa 32*bb 8080 40 ac 02 40 64*cc");
    check("stored", Stored(receipt()), "03 32*dd 32*aa 32*bb 8080 40 ac 02 40 64*cc");
    check("data", Data { bytes: 1024 }, "04 80 08");
    check("range", Range { bytes: 1024, leaves: 7, proof: vec![[0xee; 32]] }, "05 80 08 07 01 32*ee");
    check("stat", Stat(stat), "06 32*dd 80 08");
    check("deleted", Deleted, "07");
    check("page", Page(ShardPage { shards: vec![stat], is_last: true }), "08 01 32*dd 80 08 01");
}

#[test]
fn tracker() {
    use TrackerRequest::*;
    let registration =
        Registration { addresses: vec!["/a".into()], limit_bytes: 300, free_bytes: 5, version: "0.1".into() };
    let query = CandidateQuery { count: 6, free_bytes: 300, exclude: vec![PeerId([0xbb; 32])] };
    let candidate = Candidate {
        contact: Contact { peer: PeerId([0xbb; 32]), addresses: vec!["/a".into()] },
        owner: OwnerId([0xaa; 32]),
        limit_bytes: 300,
        free_bytes: 5,
        last_beat: UnixMillis(300),
        uptime_permille: 999,
        is_online: true,
    };
    check("register", Register(registration), "00 01 02 2f 61 ac 02 05 03 30 2e 31");
    check("beat", Beat(self::Beat { free_bytes: 5 }), "01 05");
    check("leave", Leave, "02");
    check("candidates", Candidates(query), "03 06 ac 02 01 32*bb");
    check("find", Find(vec![PeerId([0xbb; 32])]), "04 01 32*bb");
    check("refused", TrackerAnswer::Refused(refused()), "00 05 02 6e 6f");
    check("done", TrackerAnswer::Done, "01");
    let list = "02 01 32*bb 01 02 2f 61 32*aa ac 02 05 ac 02 e7 07 01";
    check("list", TrackerAnswer::Candidates(vec![candidate]), list);
}

#[test]
fn what_a_receipt_signs() {
    let text = shorten(&receipt_bytes(&receipt())[21..]);
    assert_eq!(&receipt_bytes(&receipt())[..21], b"openbucket receipt 1\0");
    assert_eq!(text, "32*dd 32*aa 32*bb 00 10 8*00 01 2c");
}

async fn through_a_frame<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message).await.unwrap();
    read_frame(&mut bytes.as_slice()).await.unwrap().0
}

proptest! {
    #[test]
    fn decode_of_encode_is_the_identity(
        id: [u8; 32], bytes: u32, first: u32, code: u8, text in ".{0,60}", count in 0..300_usize, last: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shard = ShardId(id);
        let requests = [
            ShardRequest::Put { shard, bytes },
            ShardRequest::GetRange { shard, first, end: bytes },
            ShardRequest::List { after: last.then_some(shard) },
        ];
        for request in requests {
            prop_assert_eq!(&runtime.block_on(through_a_frame(&request)), &request);
        }
        let answers = [
            ShardAnswer::Refused(Refused { code, text }),
            ShardAnswer::Range { bytes, leaves: first, proof: vec![id; count] },
            ShardAnswer::Page(ShardPage { shards: vec![ShardStat { shard, bytes }; count], is_last: last }),
        ];
        for answer in answers {
            prop_assert_eq!(&runtime.block_on(through_a_frame(&answer)), &answer);
        }
    }
}
