// SPDX-License-Identifier: MIT OR Apache-2.0
// An agreement to dispute about, and what both sides had before.
pragma solidity 0.8.37;

import {IDisputes} from "../../src/IDisputes.sol";
import {AgreementId, DisputeId} from "../../src/Types.sol";
import {Holdings} from "./Holdings.sol";
import {vm} from "./Vm.sol";

abstract contract Disputed is Holdings {
    AgreementId internal id;
    uint256 internal ours;
    uint256 internal theirs;

    function setUp() public virtual override {
        super.setUp();
        id = _activeOverShards();
        ours = vault.balanceOf(producer.account);
        theirs = vault.balanceOf(consumer.account);
    }

    /// A dispute over a shard that nobody answered in time.
    function _slashed(uint256 shard) internal returns (DisputeId dispute) {
        dispute = _dispute(id, shard, 0);
        _pass(24 hours + 1);
        disputes.expire(dispute);
    }

    function _refuseRepair(DisputeId dispute, AgreementId replacement) internal {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoReplacement.selector, dispute, replacement));
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
    }
}
