// SPDX-License-Identifier: MIT OR Apache-2.0
// Proof on the chain that a consumer still holds a shard, or money for the one who lost it.
pragma solidity 0.8.37;

import {AgreementId, DisputeId, MandateId, ShardRoot, Timestamp} from "./Types.sol";

/// What a challenger asks for.
struct Challenge {
    AgreementId agreement;
    /// The newest co-signed revision on chain.
    uint64 number;
    ShardRoot shard;
    uint32 leafCount;
    /// The shard's place among the shards of the revision's root.
    uint32 shardIndex;
    /// The leaf to be shown.
    uint32 leafIndex;
}

/**
 * @notice
 * ```text
 *             challenge            answer
 *      None -----------> Open ---------------> Answered      bond to the consumer
 *                        |  ^ \
 *   supersede, a newer   |  |  \ expire, after the window
 *   revision or release  |  |   +------------> Slashed       claim: half producer, half repair; bond back
 *   is on chain          v  | reprove
 *                     Superseded ------------> Dismissed     bond to the consumer
 *                                  expire
 * ```
 * A release supersedes straight to Dismissed: there is no root to prove anything under.
 */
enum DisputeState {
    None,
    Open,
    Superseded,
    Answered,
    Slashed,
    Dismissed
}

/// A dispute as kept on the chain.
struct Dispute {
    AgreementId agreement;
    ShardRoot shard;
    address challenger;
    DisputeState state;
    uint32 leafCount;
    uint32 leafIndex;
    uint64 number;
    /// Open: the consumer's; Superseded: the challenger's; Slashed: of the claim for repair.
    Timestamp deadline;
    /// What a slash takes from the collateral.
    uint128 claim;
    uint128 bond;
    /// Slashed: what is left for whoever re-places the shard.
    uint128 repair;
}

/// @title Disputes: challenges, answers, slashing, money for repair.
/// @notice The challenger proves that the agreement's root has the shard; the consumer proves that it has the leaf.
interface IDisputes {
    /// A leaf was asked for. Until the deadline the consumer answers, or loses the claim.
    event Challenged(
        DisputeId indexed dispute,
        AgreementId indexed agreement,
        address indexed challenger,
        Challenge challenge,
        uint128 claim,
        uint128 bond,
        Timestamp deadline
    );
    /// The leaf was shown; the bond is the consumer's.
    event Answered(DisputeId indexed dispute, AgreementId indexed agreement);
    /// A newer revision is on chain. Until the deadline the challenger proves again, or loses the bond.
    event Superseded(DisputeId indexed dispute, AgreementId indexed agreement, uint64 number, Timestamp deadline);
    /// The newer revision has the shard too; the consumer has to answer again.
    event Reproved(DisputeId indexed dispute, AgreementId indexed agreement, uint64 number, Timestamp deadline);
    /// Nobody answered: the claim is lost, a part of it is there for repair, the bond went back.
    event Slashed(DisputeId indexed dispute, AgreementId indexed agreement, uint128 claim, uint128 repair);
    /// What came after the challenged revision does not bear the challenge; the bond is the consumer's.
    event Dismissed(DisputeId indexed dispute, AgreementId indexed agreement);
    /// The money for repair went to who opened the agreement that holds the shard now.
    event RepairClaimed(
        DisputeId indexed dispute, AgreementId indexed replacement, address indexed opener, uint128 amount
    );
    /// Nobody claimed the money for repair; it went to the producer.
    event RepairLapsed(DisputeId indexed dispute, address indexed producer, uint128 amount);

    /// Only the producer disputes, or its delegate by a mandate, and nobody with itself.
    error NotChallenger(AgreementId agreement, address caller);
    /// Only the newest co-signed revision is challenged.
    error WrongRevision(AgreementId agreement, uint64 number, uint64 current);
    /// The consumer need not keep the shards, or a release came after the revision.
    error NotDisputable(AgreementId agreement);
    /// The root does not have the shard at this place with this length.
    error NotHeld(ShardRoot shard);
    /// The shard has no such leaf.
    error LeafOutOfRange(uint32 leafIndex, uint32 leafCount);
    /// This dispute over the shard is open; there is one at a time.
    error AlreadyDisputed(DisputeId dispute);
    /// The consumer has lost this shard's collateral already, and has not signed for the shard since.
    error AlreadySlashed(ShardRoot shard);
    /// The dispute is not in the state in which this can be called, or has nothing left.
    error WrongDisputeState(DisputeId dispute, DisputeState state);
    /// It had to come by then.
    error TooLate(Timestamp deadline);
    /// It can come after then.
    error TooEarly(Timestamp deadline);
    /// This is not the leaf that was asked for, or not its path.
    error WrongLeaf(DisputeId dispute);
    /// No newer revision or release is on chain.
    error NotSuperseded(DisputeId dispute);
    /// The agreement holds nothing in place of what was lost: it does not run, is of another producer or the same
    /// consumer, or the money was claimed before.
    error NoReplacement(DisputeId dispute, AgreementId replacement);

    /// Asks for a leaf. The producer only, or its delegate by this mandate (0: none). Takes `bond()` from the caller's balance.
    /// @param path from the shard to the root of the revision (see `HoldingTree`).
    function challenge(Challenge calldata challenge_, bytes32[] calldata path, MandateId mandate)
        external
        returns (DisputeId);

    /// Shows the leaf: exactly 1024 bytes, with its path to the shard's root (see `ShardTree`). By anyone.
    function answer(DisputeId dispute, bytes calldata leaf, bytes32[] calldata path) external;

    /// Answers with what came after the challenged revision, which must be on chain by now. By anyone.
    function supersede(DisputeId dispute) external;

    /// Shows that the shard is held under the newest revision too; the consumer has to answer again. By anyone.
    function reprove(DisputeId dispute, uint32 shardIndex, bytes32[] calldata path) external;

    /// After the deadline: slashes, or dismisses what was not proven again. By anyone.
    function expire(DisputeId dispute) external;

    /// Pays what a slash left for repair to the opener of an agreement with another consumer whose newest root has the shard.
    /// By anyone, once.
    function claimRepair(DisputeId dispute, AgreementId replacement, uint32 shardIndex, bytes32[] calldata path)
        external;

    /// After the deadline, gives what nobody claimed for repair to the producer. By anyone.
    function lapseRepair(DisputeId dispute) external;

    /// What a challenge costs until it succeeds, in wei. Fixed for ever.
    function bond() external view returns (uint128);

    /// What a challenge of a shard of so many leaves would claim now.
    function claimFor(AgreementId agreement, uint32 leafCount) external view returns (uint128);

    /// The dispute; all zero when there is none of this number.
    function disputeOf(DisputeId dispute) external view returns (Dispute memory);

    /// The open dispute over a shard of an agreement, or 0.
    function openDispute(AgreementId agreement, ShardRoot shard) external view returns (DisputeId);

    /// Disputes are numbered 1 to this.
    function disputeCount() external view returns (uint64);
}
