// SPDX-License-Identifier: MIT OR Apache-2.0
// What delegates may do for producers who are away.
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Billing} from "./Billing.sol";
import {HoldingTree} from "./HoldingTree.sol";
import {Holding, IAgreements} from "./IAgreements.sol";
import {IMandates, Mandate, Placement} from "./IMandates.sol";
import {Messages} from "./Messages.sol";
import {Signed} from "./Signed.sol";
import {BucketId, currentTime, HoldingRoot, LEAF_BYTES, MandateId} from "./Types.sol";

/// @title Mandates: limits for delegates.
/// @notice Holds no money. What is used of a mandate never exceeds its bytes, and no agreement under it holds more money than
/// its capacity costs until the mandate expires.
contract Mandates is IMandates, Signed {
    using Messages for Mandate;

    /// What is kept of a mandate.
    struct Kept {
        Mandate terms;
        uint64 usedBytes;
        bool isRevoked;
    }

    /// As many shards as one revision of a delegate lists at most: as many as a chunk may have.
    uint256 private constant MAX_PLACEMENTS = 64;

    IAgreements private immutable AGREEMENTS;

    mapping(MandateId id => Kept) private _mandates;

    modifier onlyAgreements() {
        require(msg.sender == address(AGREEMENTS), NotAgreements(msg.sender));
        _;
    }

    constructor(IAgreements agreements) {
        AGREEMENTS = agreements;
    }

    /// @inheritdoc IMandates
    function accept(Mandate calldata mandate, bytes calldata signature) external returns (MandateId id) {
        bytes32 digest = hashMandate(mandate);
        id = MandateId.wrap(digest);
        Kept storage kept = _mandates[id];
        address signer = _signer(digest, signature);
        require(signer == mandate.producer, WrongSigner({signer: signer, expected: mandate.producer}));
        require(kept.terms.producer == address(0), AlreadyAccepted(id));
        kept.terms = mandate;
        emit MandateAccepted({mandate: id, producer: mandate.producer, delegate: mandate.delegate, terms: mandate});
    }

    /// @inheritdoc IMandates
    function revoke(MandateId id) external {
        Kept storage kept = _mandates[id];
        require(kept.terms.producer == msg.sender, NotProducer(msg.sender));
        kept.isRevoked = true;
        emit MandateRevoked(id);
    }

    /// @inheritdoc IMandates
    function take(
        MandateId id,
        address producer,
        BucketId bucket,
        uint128 storagePrice,
        uint64 capacityBytes,
        uint128 held
    ) external onlyAgreements returns (address delegate) {
        delegate = delegateOf(id, producer, bucket);
        Kept storage kept = _mandates[id];
        require(
            storagePrice <= kept.terms.storagePrice && capacityBytes <= kept.terms.capacityBytes - kept.usedBytes,
            OutsideMandate(id)
        );
        uint256 mostHeld = Billing.charge({
            storedBytes: capacityBytes, price: storagePrice, duration: kept.terms.expiry.since(currentTime())
        });
        require(held <= mostHeld, OutsideMandate(id));
        kept.usedBytes += capacityBytes;
        emit MandateUsed({mandate: id, usedBytes: kept.usedBytes});
    }

    /// @inheritdoc IMandates
    function giveBack(MandateId id, uint64 capacityBytes) external onlyAgreements {
        Kept storage kept = _mandates[id];
        kept.usedBytes -= capacityBytes;
        emit MandateUsed({mandate: id, usedBytes: kept.usedBytes});
    }

    /// @inheritdoc IMandates
    function check(MandateId id, Placement[] calldata placements)
        external
        view
        returns (HoldingRoot root, uint64 storedBytes)
    {
        require(placements.length <= MAX_PLACEMENTS, TooManyPlacements(placements.length));
        Mandate storage mandate = _mandates[id].terms;
        (address producer, BucketId bucket) = (mandate.producer, mandate.bucket);
        bytes32[] memory leaves = new bytes32[](placements.length);
        uint256 leafSum = 0;
        for (uint256 index = 0; index < placements.length; index++) {
            Placement calldata placement = placements[index];
            _requireHeld({placement: placement, producer: producer, bucket: bucket});
            leaves[index] = HoldingTree.leafOf(SafeCast.toUint32(index), placement.shard, placement.leafCount);
            leafSum += placement.leafCount;
        }
        return (HoldingTree.rootOf(leaves), SafeCast.toUint64(leafSum * LEAF_BYTES));
    }

    /// @inheritdoc IMandates
    function delegateOf(MandateId id, address producer, BucketId bucket) public view returns (address) {
        Kept storage kept = _mandates[id];
        require(kept.terms.producer != address(0), UnknownMandate(id));
        require(!kept.isRevoked && currentTime() <= kept.terms.expiry, MandateOver(id));
        require(
            kept.terms.producer == producer && BucketId.unwrap(kept.terms.bucket) == BucketId.unwrap(bucket),
            OutsideMandate(id)
        );
        return kept.terms.delegate;
    }

    /// @inheritdoc IMandates
    function mandateOf(MandateId id) external view returns (Mandate memory terms, uint64 usedBytes, bool isRevoked) {
        Kept storage kept = _mandates[id];
        return (kept.terms, kept.usedBytes, kept.isRevoked);
    }

    /// @inheritdoc IMandates
    function hashMandate(Mandate calldata mandate) public view returns (bytes32) {
        return _digest(mandate.hash());
    }

    /// The shard must stand in the newest co-signed root of an agreement of the same producer and bucket; also of the agreement
    /// itself, which may go on holding what it holds.
    function _requireHeld(Placement calldata placement, address producer, BucketId bucket) private view {
        Holding memory source = AGREEMENTS.holdingOf(placement.source);
        bool isHeld = source.producer == producer && BucketId.unwrap(source.bucket) == BucketId.unwrap(bucket)
            && source.number > 0
            && HoldingTree.holds({
                root: source.root,
                shardCount: source.shardCount,
                index: placement.sourceIndex,
                shard: placement.shard,
                leafCount: placement.leafCount,
                path: placement.sourcePath
            });
        require(isHeld, NotHeld({shard: placement.shard, source: placement.source}));
    }
}
