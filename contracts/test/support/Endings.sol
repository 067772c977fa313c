// SPDX-License-Identifier: MIT OR Apache-2.0
// An agreement that is to end, and what both sides had before.
pragma solidity 0.8.37;

import {Terms} from "../../src/Papers.sol";
import {Pots} from "../../src/Pots.sol";
import {AgreementId} from "../../src/Types.sol";
import {vm} from "./Vm.sol";
import {World} from "./World.sol";

abstract contract Endings is World {
    uint256 internal constant COLLATERAL = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;
    AgreementId internal id;
    uint256 internal ours;
    uint256 internal theirs;

    function setUp() public virtual override {
        super.setUp();
        id = _active();
        _remember();
    }

    function _openFor(uint256 term) internal {
        Terms memory terms = _terms();
        terms.earliestEnd = _after(term);
        id = _open(terms);
        _submit(_revision(id, 1));
        _remember();
    }

    function _remember() internal {
        ours = vault.balanceOf(producer.account);
        theirs = vault.balanceOf(consumer.account);
    }

    function _assertGot(uint256 toProducer, uint256 toConsumer) internal view {
        vm.assertEq(vault.balanceOf(producer.account) - ours, toProducer, "the producer got");
        vm.assertEq(vault.balanceOf(consumer.account) - theirs, toConsumer, "the consumer got");
    }

    function _assertEmpty() internal view {
        _assertPot(Pots.held(id), 0, "held");
        _assertPot(Pots.allowance(id), 0, "allowance");
        _assertPot(Pots.collateral(id), 0, "collateral");
    }
}
