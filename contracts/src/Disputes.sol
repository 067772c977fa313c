// SPDX-License-Identifier: MIT OR Apache-2.0
// Proof on the chain, or money instead.
pragma solidity 0.8.37;

import {Batch} from "./Batch.sol";
import {Billing} from "./Billing.sol";
import {HoldingTree} from "./HoldingTree.sol";
import {Agreement, Holding, IAgreements, State} from "./IAgreements.sol";
import {Challenge, Dispute, DisputeState, IDisputes} from "./IDisputes.sol";
import {IMandates} from "./IMandates.sol";
import {IVault} from "./IVault.sol";
import {Pots} from "./Pots.sol";
import {ShardTree} from "./ShardTree.sol";
import {
    AgreementId,
    ANSWER_WINDOW,
    currentTime,
    DisputeId,
    LEAF_BYTES,
    MandateId,
    PotId,
    REPAIR_WINDOW,
    REPROOF_WINDOW,
    ShardRoot,
    Timestamp
} from "./Types.sol";

/// @title Disputes: challenges, answers, slashing, money for repair.
/// @notice Its invariants:
///
/// 1. A dispute's bond is in its pot while it is Open or Superseded; it leaves once, to the consumer or to the challenger.
/// 2. The claims of the open disputes of an agreement are part of its collateral, and no two are about one shard.
/// 3. A slash takes exactly the claim; what it leaves for repair is in the dispute's pot until it is claimed or lapses.
contract Disputes is IDisputes, Batch {
    DisputeId private constant NO_DISPUTE = DisputeId.wrap(0);

    IVault private immutable VAULT;
    IAgreements private immutable AGREEMENTS;
    IMandates private immutable MANDATES;

    /// @inheritdoc IDisputes
    uint128 public immutable bond;

    /// @inheritdoc IDisputes
    uint64 public disputeCount;
    mapping(DisputeId id => Dispute) private _disputes;
    /// @inheritdoc IDisputes
    mapping(AgreementId agreement => mapping(ShardRoot shard => DisputeId)) public openDispute;
    /// The revision under which the shard was slashed last.
    mapping(AgreementId agreement => mapping(ShardRoot shard => uint64)) private _slashedNumber;

    constructor(IVault vault, IAgreements agreements, IMandates mandates, uint128 bond_) {
        VAULT = vault;
        AGREEMENTS = agreements;
        MANDATES = mandates;
        bond = bond_;
    }

    /// @inheritdoc IDisputes
    function challenge(Challenge calldata challenge_, bytes32[] calldata path, MandateId mandate)
        external
        returns (DisputeId id)
    {
        AgreementId agreement = challenge_.agreement;
        Holding memory holding = AGREEMENTS.holdingOf(agreement);
        _requireChallenger(agreement, holding, mandate);
        _requireFair(challenge_, holding, path);

        id = DisputeId.wrap(++disputeCount);
        openDispute[agreement][challenge_.shard] = id;
        uint128 claim = AGREEMENTS.claim(agreement, _fullClaim(holding, challenge_.leafCount));
        Timestamp deadline = currentTime().plus(ANSWER_WINDOW);
        _disputes[id] = Dispute({
            agreement: agreement,
            shard: challenge_.shard,
            challenger: msg.sender,
            state: DisputeState.Open,
            leafCount: challenge_.leafCount,
            leafIndex: challenge_.leafIndex,
            number: challenge_.number,
            deadline: deadline,
            claim: claim,
            bond: bond,
            repair: 0
        });
        VAULT.hold({pot: Pots.bond(id), account: msg.sender, amount: bond});
        emit Challenged({
            dispute: id,
            agreement: agreement,
            challenger: msg.sender,
            challenge: challenge_,
            claim: claim,
            bond: bond,
            deadline: deadline
        });
    }

    /// @inheritdoc IDisputes
    function answer(DisputeId id, bytes calldata leaf, bytes32[] calldata path) external {
        Dispute storage dispute = _inTime(id, DisputeState.Open);
        bool isRight = ShardTree.hasLeaf({
            root: dispute.shard, leafCount: dispute.leafCount, index: dispute.leafIndex, leaf: leaf, path: path
        });
        require(isRight, WrongLeaf(id));
        _clear(id, dispute, DisputeState.Answered);
        emit Answered({dispute: id, agreement: dispute.agreement});
    }

    /// @inheritdoc IDisputes
    function supersede(DisputeId id) external {
        Dispute storage dispute = _inTime(id, DisputeState.Open);
        AgreementId agreement = dispute.agreement;
        uint64 newest = AGREEMENTS.newestNumber(agreement);
        require(newest > dispute.number, NotSuperseded(id));
        if (AGREEMENTS.holdingOf(agreement).isReleased) {
            _clear(id, dispute, DisputeState.Dismissed);
            emit Dismissed({dispute: id, agreement: agreement});
            return;
        }
        dispute.state = DisputeState.Superseded;
        dispute.deadline = currentTime().plus(REPROOF_WINDOW);
        emit Superseded({dispute: id, agreement: agreement, number: newest, deadline: dispute.deadline});
    }

    /// @inheritdoc IDisputes
    function reprove(DisputeId id, uint32 shardIndex, bytes32[] calldata path) external {
        Dispute storage dispute = _inTime(id, DisputeState.Superseded);
        AgreementId agreement = dispute.agreement;
        Holding memory holding = AGREEMENTS.holdingOf(agreement);
        require(!holding.isReleased, NotDisputable(agreement));
        _requireHeld(holding, shardIndex, dispute.shard, dispute.leafCount, path);
        dispute.state = DisputeState.Open;
        dispute.number = holding.number;
        dispute.deadline = currentTime().plus(ANSWER_WINDOW);
        emit Reproved({dispute: id, agreement: agreement, number: holding.number, deadline: dispute.deadline});
    }

    /// @inheritdoc IDisputes
    function expire(DisputeId id) external {
        Dispute storage dispute = _disputes[id];
        DisputeState state = dispute.state;
        require(
            state == DisputeState.Open || state == DisputeState.Superseded,
            WrongDisputeState({dispute: id, state: state})
        );
        require(dispute.deadline < currentTime(), TooEarly(dispute.deadline));
        if (state == DisputeState.Open) {
            _slash(id, dispute);
        } else {
            _clear(id, dispute, DisputeState.Dismissed);
            emit Dismissed({dispute: id, agreement: dispute.agreement});
        }
    }

    /// @inheritdoc IDisputes
    function claimRepair(DisputeId id, AgreementId replacement, uint32 shardIndex, bytes32[] calldata path) external {
        Dispute storage dispute = _inTime(id, DisputeState.Slashed);
        Holding memory lost = AGREEMENTS.holdingOf(dispute.agreement);
        Holding memory found = AGREEMENTS.holdingOf(replacement);
        uint128 amount = dispute.repair;
        require(
            amount > 0 && found.state == State.Active && !found.isReleased && found.producer == lost.producer
                && found.consumer != lost.consumer,
            NoReplacement({dispute: id, replacement: replacement})
        );
        _requireHeld(found, shardIndex, dispute.shard, dispute.leafCount, path);
        dispute.repair = 0;
        VAULT.pay({pot: Pots.repair(id), account: found.opener, amount: amount});
        emit RepairClaimed({dispute: id, replacement: replacement, opener: found.opener, amount: amount});
    }

    /// @inheritdoc IDisputes
    function lapseRepair(DisputeId id) external {
        Dispute storage dispute = _disputes[id];
        uint128 amount = dispute.repair;
        require(amount > 0, WrongDisputeState({dispute: id, state: dispute.state}));
        require(dispute.deadline < currentTime(), TooEarly(dispute.deadline));
        address producer = AGREEMENTS.holdingOf(dispute.agreement).producer;
        dispute.repair = 0;
        VAULT.pay({pot: Pots.repair(id), account: producer, amount: amount});
        emit RepairLapsed({dispute: id, producer: producer, amount: amount});
    }

    /// @inheritdoc IDisputes
    function claimFor(AgreementId id, uint32 leafCount) external view returns (uint128) {
        Agreement memory agreement = AGREEMENTS.agreementOf(id);
        uint128 asked = _fullClaim(AGREEMENTS.holdingOf(id), leafCount);
        uint128 unclaimed = agreement.collateral - agreement.claimed;
        return asked < unclaimed ? asked : unclaimed;
    }

    /// @inheritdoc IDisputes
    function disputeOf(DisputeId id) external view returns (Dispute memory) {
        return _disputes[id];
    }

    /// The dispute, which must be in this state and not past its deadline.
    function _inTime(DisputeId id, DisputeState state) private view returns (Dispute storage dispute) {
        dispute = _disputes[id];
        require(dispute.state == state, WrongDisputeState({dispute: id, state: dispute.state}));
        require(currentTime() <= dispute.deadline, TooLate(dispute.deadline));
    }

    /// The producer, or a delegate that is not the consumer: nobody disputes with itself.
    function _requireChallenger(AgreementId id, Holding memory holding, MandateId mandate) private view {
        address challenger = mandate.isNone()
            ? holding.producer
            : MANDATES.delegateOf({mandate: mandate, producer: holding.producer, bucket: holding.bucket});
        require(
            msg.sender == challenger && msg.sender != holding.consumer,
            NotChallenger({agreement: id, caller: msg.sender})
        );
    }

    /// Only what the consumer signed for can be asked, once at a time.
    function _requireFair(Challenge calldata asked, Holding memory holding, bytes32[] calldata path) private view {
        AgreementId id = asked.agreement;
        DisputeId open = openDispute[id][asked.shard];
        require(DisputeId.unwrap(open) == 0, AlreadyDisputed(open));
        require(
            asked.number == holding.number,
            WrongRevision({agreement: id, number: asked.number, current: holding.number})
        );
        require(_slashedNumber[id][asked.shard] < asked.number, AlreadySlashed(asked.shard));
        require(
            asked.leafIndex < asked.leafCount, LeafOutOfRange({leafIndex: asked.leafIndex, leafCount: asked.leafCount})
        );
        _requireHeld(holding, asked.shardIndex, asked.shard, asked.leafCount, path);
    }

    function _requireHeld(
        Holding memory holding,
        uint32 shardIndex,
        ShardRoot shard,
        uint32 leafCount,
        bytes32[] calldata path
    ) private pure {
        bool isHeld = HoldingTree.holds({
            root: holding.root,
            shardCount: holding.shardCount,
            index: shardIndex,
            shard: shard,
            leafCount: leafCount,
            path: path
        });
        require(isHeld, NotHeld(shard));
    }

    function _fullClaim(Holding memory holding, uint32 leafCount) private pure returns (uint128) {
        return Billing.forBytes(leafCount * LEAF_BYTES, holding.collateralPerGiB);
    }

    /// Ends a dispute in the consumer's favour.
    function _clear(DisputeId id, Dispute storage dispute, DisputeState state) private {
        AgreementId agreement = dispute.agreement;
        dispute.state = state;
        openDispute[agreement][dispute.shard] = NO_DISPUTE;
        AGREEMENTS.unclaim(agreement, dispute.claim);
        address consumer = AGREEMENTS.holdingOf(agreement).consumer;
        VAULT.pay({pot: Pots.bond(id), account: consumer, amount: dispute.bond});
    }

    function _slash(DisputeId id, Dispute storage dispute) private {
        AgreementId agreement = dispute.agreement;
        (uint128 claim, PotId repairPot) = (dispute.claim, Pots.repair(id));
        dispute.state = DisputeState.Slashed;
        dispute.repair = claim - claim / 2;
        dispute.deadline = currentTime().plus(REPAIR_WINDOW);
        openDispute[agreement][dispute.shard] = NO_DISPUTE;
        _slashedNumber[agreement][dispute.shard] = dispute.number;
        AGREEMENTS.slash({agreement: agreement, amount: claim, repairPot: repairPot});
        VAULT.pay({pot: Pots.bond(id), account: dispute.challenger, amount: dispute.bond});
        emit Slashed({dispute: id, agreement: agreement, claim: claim, repair: dispute.repair});
    }
}
