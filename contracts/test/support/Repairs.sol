// SPDX-License-Identifier: MIT OR Apache-2.0
// A producer that is away, its delegate, and a second consumer to repair to.
pragma solidity 0.8.37;

import {Placement} from "../../src/IMandates.sol";
import {Revision, Terms} from "../../src/Papers.sol";
import {AgreementId, MandateId} from "../../src/Types.sol";
import {Holdings} from "./Holdings.sol";
import {Shard, Trees} from "./Trees.sol";
import {vm} from "./Vm.sol";
import {Party} from "./World.sol";

abstract contract Repairs is Holdings {
    using Trees for Shard[];

    AgreementId internal source;
    MandateId internal mandate;

    function setUp() public virtual override {
        super.setUp();
        source = _activeOverShards();
        mandate = _accept(_mandate());
    }

    /// Terms within the mandate: one GiB at the second consumer.
    function _repairTerms() internal returns (Terms memory terms) {
        terms = _terms();
        (terms.consumer, terms.offer, terms.mandate) = (second.account, secondOffer, mandate);
        (terms.capacityBytes, terms.held, terms.allowance) = (GIB, 1000 * 30 days, 0);
    }

    function _openAsDelegate(Terms memory terms) internal returns (AgreementId) {
        return _open(terms, delegate, second);
    }

    /// A revision over the first usual shards, with where they are held.
    function _placing(AgreementId id, uint64 number, uint256 count)
        internal
        view
        returns (Revision memory revision, Placement[] memory placements)
    {
        placements = new Placement[](count);
        Shard[] memory held = new Shard[](count);
        uint64 leafSum = 0;
        for (uint256 index = 0; index < count; index++) {
            held[index] = shards[index];
            leafSum += shards[index].leafCount;
            placements[index] = Placement({
                shard: shards[index].root,
                leafCount: shards[index].leafCount,
                source: source,
                sourceIndex: uint32(index),
                sourcePath: _shards().pathOf(index)
            });
        }
        revision = _holding(id, number, held);
        revision.storedBytes = leafSum * 1024;
    }

    function _place(Revision memory revision, Placement[] memory placements, Party memory by) internal {
        bytes32 digest = agreements.hashRevision(revision);
        agreements.place(revision, placements, _sign(by, digest), _sign(second, digest));
    }

    function _refusePlacing(
        Revision memory revision,
        Placement[] memory placements,
        Party memory by,
        bytes memory reason
    ) internal {
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(by, digest), _sign(second, digest));
        vm.expectRevert(reason);
        agreements.place(revision, placements, a, b);
    }

    function _refuseOpening(Terms memory terms, Party memory by, bytes memory reason) internal {
        bytes32 digest = agreements.hashTerms(terms);
        (bytes memory a, bytes memory b) = (_sign(by, digest), _sign(second, digest));
        vm.expectRevert(reason);
        agreements.open(terms, a, b);
    }
}
