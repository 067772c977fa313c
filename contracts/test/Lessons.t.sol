// SPDX-License-Identifier: MIT OR Apache-2.0
// What earlier systems lost money by: each is a test here.
pragma solidity 0.8.37;

import {IAgreements} from "../src/IAgreements.sol";
import {Challenge, IDisputes} from "../src/IDisputes.sol";
import {IRegistry} from "../src/IRegistry.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, DisputeId} from "../src/Types.sol";
import {Holdings} from "./support/Holdings.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract LessonsTest is Holdings {
    using Trees for bytes;
    using Trees for Shard[];

    AgreementId private id;
    DisputeId private dispute;

    function setUp() public override {
        super.setUp();
        id = _activeOverShards();
        dispute = _dispute(id, 4, 5);
    }

    // 5. An inner node must not pass as a leaf; a leaf of another index must not pass; a short path must not pass.

    function test_a_dispute_is_not_answered_with_inner_nodes() public {
        bytes32[] memory level = Trees.above(hex"01", data[4].hashes());
        bytes memory padded = new bytes(1024);
        for (uint256 place = 0; place < 32; place++) {
            (padded[place], padded[32 + place]) = (level[2][place], level[3][place]);
        }
        bytes32[] memory path = new bytes32[](1);
        path[0] = Trees.above(hex"01", level)[0];
        _refuse(abi.encodePacked(level[2], level[3]), path);
        _refuse(padded, path);
    }

    function test_a_dispute_is_not_answered_with_another_leaf() public {
        for (uint256 leaf = 0; leaf < 8; leaf++) {
            if (leaf != 5) _refuse(data[4].leaf(leaf), data[4].pathOf(leaf));
        }
        _refuse(data[3].leaf(0), data[3].pathOf(0));
    }

    function test_a_dispute_is_not_answered_with_a_short_path_or_a_short_leaf() public {
        bytes32[] memory path = data[4].pathOf(5);
        bytes32[] memory shorter = new bytes32[](2);
        (shorter[0], shorter[1]) = (path[0], path[1]);
        _refuse(data[4].leaf(5), shorter);
        _refuse(data[4].leaf(5), new bytes32[](0));
        bytes memory leaf = data[4].leaf(5);
        assembly ("memory-safe") {
            mstore(leaf, 1023)
        }
        _refuse(leaf, path);
    }

    // 7. One party must not be able to play both; an open dispute freezes collateral; nothing can be withdrawn that is owed.

    function test_a_consumer_does_not_challenge_itself() public {
        Challenge memory challenge = _challenge(id, 0, 0);
        bytes32[] memory path = _shards().pathOf(0);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotChallenger.selector, id, consumer.account));
        disputes.challenge(challenge, path, NO_MANDATE);
    }

    function test_collateral_in_dispute_is_not_withdrawn() public {
        // Neither by cancelling the offer, nor by ending, nor by terminating the agreement.
        uint256 frozen = agreements.agreementOf(id).collateral;
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        vm.prank(consumer.account);
        agreements.end(id);
        _pass(24 hours);
        _assertFrozen(frozen);
        _answer(dispute, 4, 5);
        _pass(24 hours);
        DisputeId late = _dispute(id, 3, 0);
        _pass(1 hours);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.DisputesOpen.selector, id, 1));
        agreements.finish(id);
        _assertFrozen(frozen);
        _answer(late, 3, 0);
        agreements.finish(id);
        _assertFrozen(0);
    }

    function test_a_producer_cannot_withdraw_what_it_owes() public {
        _pass(10 days);
        uint256 free = vault.balanceOf(producer.account);
        vm.prank(producer.account);
        vault.withdraw(free, payable(producer.account));
        vm.prank(producer.account);
        vm.expectRevert();
        vault.withdraw(1, payable(producer.account));
        uint256 before = vault.balanceOf(consumer.account);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), before + 4000 * 10 days, "paid all the same");
    }

    function test_an_offer_cannot_be_cancelled_twice_for_its_collateral() public {
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotStanding.selector, offer));
        registry.cancelOffer(offer);
    }

    // 8. Paying every holder for each download is wrong: only who served.

    function test_a_voucher_pays_only_who_served() public {
        AgreementId elsewhere = _openWith(second, secondOffer);
        _submitBy(_holding(elsewhere, 1, shards), producer, second);
        uint256 theirs = vault.balanceOf(consumer.account);
        uint256 others = vault.balanceOf(second.account);
        _redeem(id, 321);
        vm.assertEq(vault.balanceOf(consumer.account), theirs + 321, "who served");
        vm.assertEq(vault.balanceOf(second.account), others, "who did not");
        vm.assertEq(agreements.allowanceLeft(elsewhere), ALLOWANCE, "the other allowance");
    }

    function _assertFrozen(uint256 expected) private view {
        _assertPot(Pots.collateral(id), expected, "collateral");
    }

    function _refuse(bytes memory leaf, bytes32[] memory path) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongLeaf.selector, dispute));
        disputes.answer(dispute, leaf, path);
    }
}
