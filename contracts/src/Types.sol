// SPDX-License-Identifier: MIT OR Apache-2.0
// The words that every contract speaks: ids, times, units.
pragma solidity 0.8.37;

/// EIP-712 digest of all terms: of one chain, one contract and one set of terms.
type AgreementId is bytes32;
/// Offers are numbered from 1; 0 is none.
type OfferId is uint64;
/// Disputes are numbered from 1; 0 is none.
type DisputeId is uint64;
/// EIP-712 digest of a mandate; 0 is none: the producer signs itself.
type MandateId is bytes32;
/// Which bucket is meant, without its name: any 32 bytes that the producer chose.
type BucketId is bytes32;
/// The Merkle root of a shard's bytes, which is the shard's id (see `ShardTree`).
type ShardRoot is bytes32;
/// The Merkle root over the shards that an agreement holds (see `HoldingTree`).
type HoldingRoot is bytes32;
/// A sum in the vault that belongs to a thing, not to an account.
type PotId is bytes32;
/// Seconds since 1970, as blocks count them.
type Timestamp is uint64;
/// Seconds.
type Duration is uint64;

using {isBefore as <, isUpTo as <=, isSameTime as ==} for Timestamp global;
using {plus, minus, since, earlierOf} for Timestamp global;
using {isNone} for MandateId global;

function isBefore(Timestamp a, Timestamp b) pure returns (bool) {
    return Timestamp.unwrap(a) < Timestamp.unwrap(b);
}

function isUpTo(Timestamp a, Timestamp b) pure returns (bool) {
    return Timestamp.unwrap(a) <= Timestamp.unwrap(b);
}

function isSameTime(Timestamp a, Timestamp b) pure returns (bool) {
    return Timestamp.unwrap(a) == Timestamp.unwrap(b);
}

function plus(Timestamp time, Duration duration) pure returns (Timestamp) {
    return Timestamp.wrap(Timestamp.unwrap(time) + Duration.unwrap(duration));
}

function minus(Timestamp time, Duration duration) pure returns (Timestamp) {
    return Timestamp.wrap(Timestamp.unwrap(time) - Duration.unwrap(duration));
}

/// Reverts when `earlier` is later than `time`.
function since(Timestamp time, Timestamp earlier) pure returns (Duration) {
    return Duration.wrap(Timestamp.unwrap(time) - Timestamp.unwrap(earlier));
}

function earlierOf(Timestamp a, Timestamp b) pure returns (Timestamp) {
    return a < b ? a : b;
}

function isNone(MandateId mandate) pure returns (bool) {
    return MandateId.unwrap(mandate) == bytes32(0);
}

/// The time of this block.
function currentTime() view returns (Timestamp) {
    return Timestamp.wrap(uint64(block.timestamp));
}

/// @dev Zero stands for "not yet" and "never happened".
Timestamp constant NEVER = Timestamp.wrap(0);
/// @dev Later than every block: what costs nothing is paid until then.
Timestamp constant ENDLESS = Timestamp.wrap(type(uint64).max);

/// @dev Prices are in wei for a GiB, storage for a month of 30 days.
uint256 constant GIB_BYTES = 1 << 30;
uint256 constant MONTH_SECONDS = 30 days;
/// @dev Bytes of a leaf. Shards are whole leaves.
uint64 constant LEAF_BYTES = 1024;

/// @dev The last hours before the money of an agreement is used up: the time to top up.
Duration constant GRACE = Duration.wrap(48 hours);
/// @dev From the wish to end an agreement to its end.
Duration constant CLOSING_WINDOW = Duration.wrap(48 hours);
/// @dev From the notice of a release to the moment from which fewer bytes are paid.
Duration constant RELEASE_NOTICE = Duration.wrap(48 hours);
/// @dev A consumer has so long to answer a challenge.
Duration constant ANSWER_WINDOW = Duration.wrap(24 hours);
/// @dev A challenger has so long to show that a shard is still held under a newer revision.
Duration constant REPROOF_WINDOW = Duration.wrap(24 hours);
/// @dev Who re-places a slashed shard has so long to claim what the slash gave for it.
Duration constant REPAIR_WINDOW = Duration.wrap(180 days);
