// SPDX-License-Identifier: MIT OR Apache-2.0
// Who may ask for what, and what is an answer.
pragma solidity 0.8.37;

import {Agreement, IAgreements} from "../src/IAgreements.sol";
import {Challenge, DisputeState, IDisputes} from "../src/IDisputes.sol";
import {IMandates, Mandate} from "../src/IMandates.sol";
import {IVault} from "../src/IVault.sol";
import {DisputeId, MandateId, ShardRoot} from "../src/Types.sol";
import {Disputed} from "./support/Disputed.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract ChallengesTest is Disputed {
    using Trees for bytes;
    using Trees for Shard[];

    // Challenges

    function test_the_bond_and_the_claim_are_known_beforehand() public {
        uint128 claim = disputes.claimFor(id, 3);
        vm.assertEq(claim, 3 * 1024 * uint256(COLLATERAL_PER_GIB) / GIB, "the shard's share of the collateral");
        DisputeId dispute = _dispute(id, 2, 1);
        vm.assertEq(disputes.bond(), BOND, "bond");
        vm.assertEq(vault.balanceOf(producer.account), ours - BOND, "taken");
        vm.assertEq(disputes.disputeOf(dispute).claim, claim, "claimed");
        vm.assertEq(agreements.agreementOf(id).claimed, claim, "frozen");
    }

    function test_who_has_no_bond_does_not_challenge() public {
        vm.prank(producer.account);
        vault.withdraw(ours, payable(producer.account));
        Challenge memory challenge = _challenge(id, 0, 0);
        bytes32[] memory path = _shards().pathOf(0);
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientBalance.selector, producer.account, 0, BOND));
        disputes.challenge(challenge, path, NO_MANDATE);
    }

    function test_only_the_producers_side_challenges() public {
        Challenge memory challenge = _challenge(id, 0, 0);
        bytes32[] memory path = _shards().pathOf(0);
        address[2] memory others = [consumer.account, stranger.account];
        for (uint256 turn = 0; turn < 2; turn++) {
            vm.prank(others[turn]);
            vm.expectRevert(abi.encodeWithSelector(IDisputes.NotChallenger.selector, id, others[turn]));
            disputes.challenge(challenge, path, NO_MANDATE);
        }
    }

    function test_a_delegate_challenges_while_its_mandate_counts() public {
        MandateId mandate = _accept(_mandate());
        DisputeId dispute = _disputeBy(delegate, mandate, _challenge(id, 0, 0));
        vm.assertEq(disputes.disputeOf(dispute).challenger, delegate.account, "challenger");
        vm.prank(producer.account);
        mandates.revoke(mandate);
        Challenge memory challenge = _challenge(id, 1, 0);
        bytes32[] memory path = _shards().pathOf(1);
        vm.prank(delegate.account);
        vm.expectRevert(abi.encodeWithSelector(IMandates.MandateOver.selector, mandate));
        disputes.challenge(challenge, path, mandate);
    }

    function test_a_consumer_is_not_the_delegate_that_challenges_it() public {
        Mandate memory own = _mandate();
        own.delegate = consumer.account;
        MandateId mandate = _accept(own);
        bytes32[] memory path = _shards().pathOf(0);
        Challenge memory challenge = _challenge(id, 0, 0);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotChallenger.selector, id, consumer.account));
        disputes.challenge(challenge, path, mandate);
    }

    function test_only_shards_of_the_signed_root_are_challenged() public {
        Challenge memory challenge = _challenge(id, 1, 0);
        challenge.shard = ShardRoot.wrap("made up");
        _refuseChallenge(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
        challenge = _challenge(id, 1, 0);
        challenge.leafCount += 1;
        _refuseChallenge(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
        challenge = _challenge(id, 1, 0);
        challenge.shardIndex = 2;
        _refuseChallenge(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
    }

    function test_only_the_newest_revision_is_challenged() public {
        Challenge memory challenge = _challenge(id, 1, 0);
        _submit(_holding(id, 2, shards));
        _refuseChallenge(challenge, abi.encodeWithSelector(IDisputes.WrongRevision.selector, id, 1, 2));
    }

    function test_a_leaf_beyond_the_shard_is_not_asked_for() public {
        _refuseChallenge(_challenge(id, 2, 3), abi.encodeWithSelector(IDisputes.LeafOutOfRange.selector, 3, 3));
    }

    function test_a_shard_has_one_open_dispute() public {
        DisputeId dispute = _dispute(id, 3, 0);
        _refuseChallenge(_challenge(id, 3, 1), abi.encodeWithSelector(IDisputes.AlreadyDisputed.selector, dispute));
        _answer(dispute, 3, 0);
        _dispute(id, 3, 1);
    }

    function test_open_disputes_never_claim_more_than_the_collateral() public {
        // As if slashes had eaten all but three leaves' worth.
        uint128 left = 3 * 1024 * COLLATERAL_PER_GIB / GIB;
        uint128 eaten = agreements.agreementOf(id).collateral - left;
        vm.prank(address(disputes));
        agreements.claim(id, eaten);
        vm.assertEq(disputes.claimFor(id, 8), left, "only what is left");
        DisputeId dispute = _dispute(id, 4, 0);
        vm.assertEq(disputes.disputeOf(dispute).claim, left, "claim");
        Agreement memory agreement = agreements.agreementOf(id);
        vm.assertEq(agreement.claimed, agreement.collateral, "all of it");
        _refuseChallenge(_challenge(id, 3, 0), abi.encodeWithSelector(IAgreements.CollateralExhausted.selector, id));
    }

    // Answers

    function test_the_leaf_answers_and_the_consumer_gets_the_bond() public {
        DisputeId dispute = _dispute(id, 4, 6);
        vm.prank(stranger.account);
        _answer(dispute, 4, 6);
        _assertDispute(dispute, DisputeState.Answered);
        vm.assertEq(vault.balanceOf(consumer.account), theirs + BOND, "the consumer");
        vm.assertEq(agreements.agreementOf(id).claimed, 0, "nothing frozen");
        vm.assertEq(agreements.agreementOf(id).openDisputes, 0, "nothing open");
    }

    function test_every_leaf_of_every_shard_can_be_answered() public {
        for (uint256 shard = 0; shard < shards.length; shard++) {
            for (uint32 leaf = 0; leaf < shards[shard].leafCount; leaf++) {
                _answer(_dispute(id, shard, leaf), shard, leaf);
            }
        }
    }

    function test_an_answer_comes_in_time_or_not_at_all() public {
        DisputeId dispute = _dispute(id, 1, 0);
        DisputeId other = _dispute(id, 2, 0);
        _pass(24 hours);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooEarly.selector, _now()));
        disputes.expire(dispute);
        _answer(dispute, 1, 0);
        (bytes memory leaf, bytes32[] memory path) = (data[2].leaf(0), data[2].pathOf(0));
        _pass(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, uint64(block.timestamp - 1)));
        disputes.answer(other, leaf, path);
    }

    function test_an_answered_dispute_is_over() public {
        DisputeId dispute = _dispute(id, 1, 0);
        _answer(dispute, 1, 0);
        bytes memory refusal =
            abi.encodeWithSelector(IDisputes.WrongDisputeState.selector, dispute, DisputeState.Answered);
        (bytes memory leaf, bytes32[] memory path) = (data[1].leaf(0), data[1].pathOf(0));
        vm.expectRevert(refusal);
        disputes.answer(dispute, leaf, path);
        _pass(25 hours);
        vm.expectRevert(refusal);
        disputes.expire(dispute);
    }

    function testFuzz_a_flipped_bit_is_no_answer(uint8 shard, uint32 leaf, uint16 bit, uint8 node) public {
        shard = shard % uint8(shards.length);
        leaf = leaf % shards[shard].leafCount;
        DisputeId dispute = _dispute(id, shard, leaf);
        (bytes memory part, bytes32[] memory path) = (data[shard].leaf(leaf), data[shard].pathOf(leaf));
        uint256 place = bit % 8192;
        part[place / 8] ^= bytes1(uint8(1 << (place % 8)));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongLeaf.selector, dispute));
        disputes.answer(dispute, part, path);
        part[place / 8] ^= bytes1(uint8(1 << (place % 8)));
        if (path.length > 0) {
            path[node % path.length] ^= bytes32(uint256(1) << (bit % 256));
            vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongLeaf.selector, dispute));
            disputes.answer(dispute, part, path);
            path[node % path.length] ^= bytes32(uint256(1) << (bit % 256));
        }
        disputes.answer(dispute, part, path);
    }
}
