//! The messages of `/openbucket/shard/1`. The order of the variants is the format.

use serde::{Deserialize, Serialize};

use super::Refused;
use crate::{
    base::ShardId,
    net::{Receipt, ShardPage, ShardStat},
};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) enum ShardRequest {
    Put { shard: ShardId, bytes: u32 },
    Get { shard: ShardId },
    GetRange { shard: ShardId, first: u32, end: u32 },
    Stat { shard: ShardId },
    Delete { shard: ShardId },
    List { after: Option<ShardId> },
    GetLeaves { shard: ShardId, first: u32, end: u32 },
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) enum ShardAnswer {
    Refused(Refused),
    Ready,
    Held(Receipt),
    Stored(Receipt),
    Data { bytes: u32 },
    Range { bytes: u32, leaves: u32, proof: Vec<[u8; 32]> },
    Stat(ShardStat),
    Deleted,
    Page(ShardPage),
}

/// What the signature of a receipt covers.
pub(in crate::net) fn receipt_bytes(receipt: &Receipt) -> Vec<u8> {
    [
        b"openbucket receipt 1\0".as_slice(),
        receipt.shard.as_bytes(),
        receipt.owner.as_bytes(),
        receipt.consumer.as_bytes(),
        &receipt.bytes.to_be_bytes(),
        &receipt.at.0.to_be_bytes(),
    ]
    .concat()
}
