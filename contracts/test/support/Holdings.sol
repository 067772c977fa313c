// SPDX-License-Identifier: MIT OR Apache-2.0
// Agreements over shards that really exist, so that something can be proven.
pragma solidity 0.8.37;

import {Challenge, DisputeState} from "../../src/IDisputes.sol";
import {Revision} from "../../src/Papers.sol";
import {AgreementId, DisputeId, MandateId} from "../../src/Types.sol";
import {Shard, Trees} from "./Trees.sol";
import {vm} from "./Vm.sol";
import {Party, World} from "./World.sol";

abstract contract Holdings is World {
    using Trees for bytes;
    using Trees for Shard[];

    /// Bytes of the usual shards: 1, 2, 3, 5 and 8 leaves.
    bytes[] internal data;
    Shard[] internal shards;

    function setUp() public virtual override {
        super.setUp();
        uint8[5] memory counts = [1, 2, 3, 5, 8];
        for (uint256 index = 0; index < counts.length; index++) {
            data.push(Trees.pattern(uint256(counts[index]) * 1024, index));
            shards.push(data[index].shardOf());
        }
    }

    /// A revision whose root is over these shards.
    function _holding(AgreementId id, uint64 number, Shard[] memory held)
        internal
        view
        returns (Revision memory revision)
    {
        revision = _revision(id, number);
        revision.root = held.holdingOf();
        revision.shardCount = uint32(held.length);
    }

    /// An active agreement over the usual shards.
    function _activeOverShards() internal returns (AgreementId id) {
        id = _open(_terms());
        _submit(_holding(id, 1, shards));
    }

    function _without(uint256 gone) internal view returns (Shard[] memory rest) {
        rest = new Shard[](shards.length - 1);
        for (uint256 index = 0; index < rest.length; index++) {
            rest[index] = shards[index < gone ? index : index + 1];
        }
    }

    function _challenge(AgreementId id, uint256 shard, uint32 leaf) internal view returns (Challenge memory) {
        return Challenge({
            agreement: id,
            number: agreements.agreementOf(id).number,
            shard: shards[shard].root,
            leafCount: shards[shard].leafCount,
            shardIndex: uint32(shard),
            leafIndex: leaf
        });
    }

    /// The producer asks for a leaf of a usual shard.
    function _dispute(AgreementId id, uint256 shard, uint32 leaf) internal returns (DisputeId) {
        return _disputeBy(producer, NO_MANDATE, _challenge(id, shard, leaf));
    }

    function _disputeBy(Party memory by, MandateId mandate, Challenge memory challenge) internal returns (DisputeId) {
        bytes32[] memory path = _shards().pathOf(challenge.shardIndex);
        vm.prank(by.account);
        return disputes.challenge(challenge, path, mandate);
    }

    function _answer(DisputeId dispute, uint256 shard, uint32 leaf) internal {
        disputes.answer(dispute, data[shard].leaf(leaf), data[shard].pathOf(leaf));
    }

    function _refuseChallenge(Challenge memory challenge, bytes memory reason) internal {
        bytes32[] memory path = _shards().pathOf(challenge.shardIndex);
        vm.prank(producer.account);
        vm.expectRevert(reason);
        disputes.challenge(challenge, path, NO_MANDATE);
    }

    function _assertDispute(DisputeId dispute, DisputeState expected) internal view {
        vm.assertEq(uint256(disputes.disputeOf(dispute).state), uint256(expected), "state of the dispute");
    }

    function _shards() internal view returns (Shard[] memory) {
        return shards;
    }
}
