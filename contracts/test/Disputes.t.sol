// SPDX-License-Identifier: MIT OR Apache-2.0
// Challenges and what becomes of them.
pragma solidity 0.8.37;

import {Agreement, IAgreements, Revision, State} from "../src/IAgreements.sol";
import {Challenge, Dispute, DisputeState, IDisputes} from "../src/IDisputes.sol";
import {IMandates} from "../src/IMandates.sol";
import {IVault} from "../src/IVault.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, DisputeId, MandateId, ShardRoot} from "../src/Types.sol";
import {Holdings} from "./support/Holdings.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract DisputesTest is Holdings {
    using Trees for bytes;
    using Trees for Shard[];

    AgreementId private id;
    uint256 private ours;
    uint256 private theirs;

    function setUp() public override {
        super.setUp();
        id = _activeOverShards();
        ours = vault.balanceOf(producer.account);
        theirs = vault.balanceOf(consumer.account);
    }

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

    function test_only_shards_of_the_signed_root_are_challenged() public {
        Challenge memory challenge = _challenge(id, 1, 0);
        challenge.shard = ShardRoot.wrap("made up");
        _refuse(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
        challenge = _challenge(id, 1, 0);
        challenge.leafCount += 1;
        _refuse(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
        challenge = _challenge(id, 1, 0);
        challenge.shardIndex = 2;
        _refuse(challenge, abi.encodeWithSelector(IDisputes.NotHeld.selector, challenge.shard));
    }

    function test_only_the_newest_revision_is_challenged() public {
        Challenge memory challenge = _challenge(id, 1, 0);
        _submit(_holding(id, 2, shards));
        _refuse(challenge, abi.encodeWithSelector(IDisputes.WrongRevision.selector, id, 1, 2));
    }

    function test_a_leaf_beyond_the_shard_is_not_asked_for() public {
        _refuse(_challenge(id, 2, 3), abi.encodeWithSelector(IDisputes.LeafOutOfRange.selector, 3, 3));
    }

    function test_a_shard_has_one_open_dispute() public {
        DisputeId dispute = _dispute(id, 3, 0);
        _refuse(_challenge(id, 3, 1), abi.encodeWithSelector(IDisputes.AlreadyDisputed.selector, dispute));
        _answer(dispute, 3, 0);
        _dispute(id, 3, 1);
    }

    function test_open_disputes_never_claim_more_than_the_collateral() public {
        // As if slashes had eaten all but three leaves' worth.
        uint128 left = 3 * 1024 * uint128(COLLATERAL_PER_GIB / GIB);
        uint128 eaten = agreements.agreementOf(id).collateral - left;
        vm.prank(address(disputes));
        agreements.claim(id, eaten);
        vm.assertEq(disputes.claimFor(id, 8), left, "only what is left");
        DisputeId dispute = _dispute(id, 4, 0);
        vm.assertEq(disputes.disputeOf(dispute).claim, left, "claim");
        Agreement memory agreement = agreements.agreementOf(id);
        vm.assertEq(agreement.claimed, agreement.collateral, "all of it");
        _refuse(_challenge(id, 3, 0), abi.encodeWithSelector(IAgreements.CollateralExhausted.selector, id));
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

    // Slashing

    function test_silence_is_slashed_half_to_the_producer_half_for_repair() public {
        DisputeId dispute = _dispute(id, 4, 0);
        uint128 claim = disputes.disputeOf(dispute).claim;
        uint256 before = agreements.agreementOf(id).collateral;
        _pass(24 hours + 1);
        vm.prank(stranger.account);
        disputes.expire(dispute);
        _assertDispute(dispute, DisputeState.Slashed);
        vm.assertEq(vault.balanceOf(producer.account), ours + claim / 2, "bond back and half of the claim");
        vm.assertEq(_repairPot(dispute), claim - claim / 2, "for repair");
        vm.assertEq(agreements.agreementOf(id).collateral, before - claim, "collateral");
        vm.assertEq(agreements.agreementOf(id).claimed, 0, "nothing frozen");
        _assertBooksAgree(id, Pots.held(id), Pots.allowance(id), Pots.collateral(id));
    }

    function test_a_shard_is_slashed_once_unless_the_consumer_signs_for_it_again() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        _refuse(_challenge(id, 4, 0), abi.encodeWithSelector(IDisputes.AlreadySlashed.selector, shards[4].root));
        _submit(_holding(id, 2, shards));
        _dispute(id, 4, 0);
    }

    function test_repair_money_goes_once_to_who_opened_the_new_place() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        uint128 amount = disputes.disputeOf(dispute).repair;
        AgreementId replacement = _replacement(4);
        uint256 before = vault.balanceOf(producer.account);
        vm.prank(stranger.account);
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
        vm.assertEq(vault.balanceOf(producer.account), before + amount, "the opener");
        vm.assertEq(_repairPot(dispute), 0, "pot");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoReplacement.selector, dispute, replacement));
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
    }

    function test_the_consumer_that_lost_the_shard_or_a_place_without_it_gets_no_repair_money() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        bytes32[] memory path = _shards().pathOf(4);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoReplacement.selector, dispute, id));
        disputes.claimRepair(dispute, id, 4, path);
        AgreementId replacement = _replacement(3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotHeld.selector, shards[4].root));
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
    }

    function test_repair_money_that_nobody_claims_goes_to_the_producer_in_the_end() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        Dispute memory slashed = disputes.disputeOf(dispute);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooEarly.selector, slashed.deadline));
        disputes.lapseRepair(dispute);
        _pass(180 days + 1);
        uint256 before = vault.balanceOf(producer.account);
        disputes.lapseRepair(dispute);
        vm.assertEq(vault.balanceOf(producer.account), before + slashed.repair, "the producer");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongDisputeState.selector, dispute, DisputeState.Slashed));
        disputes.lapseRepair(dispute);
    }

    // What came after the challenged revision

    function test_a_newer_revision_without_the_shard_defeats_a_challenge() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _submit(_holding(id, 2, _without(4)));
        disputes.supersede(dispute);
        _assertDispute(dispute, DisputeState.Superseded);
        bytes32[] memory path = _shards().pathOf(4);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotHeld.selector, shards[4].root));
        disputes.reprove(dispute, 4, path);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        _assertDispute(dispute, DisputeState.Dismissed);
        vm.assertEq(vault.balanceOf(consumer.account), theirs + BOND, "the bond is the consumer's");
        vm.assertEq(agreements.agreementOf(id).openDisputes, 0, "nothing open");
    }

    function test_a_newer_revision_with_the_shard_only_wins_time() public {
        DisputeId dispute = _dispute(id, 4, 0);
        Shard[] memory fewer = _without(1);
        _submit(_holding(id, 2, fewer));
        disputes.supersede(dispute);
        disputes.reprove(dispute, 3, fewer.pathOf(3));
        _assertDispute(dispute, DisputeState.Open);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotSuperseded.selector, dispute));
        disputes.supersede(dispute);
        _pass(24 hours + 1);
        disputes.expire(dispute);
        _assertDispute(dispute, DisputeState.Slashed);
    }

    function test_the_challenged_revision_itself_does_not_supersede() public {
        DisputeId dispute = _dispute(id, 4, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotSuperseded.selector, dispute));
        disputes.supersede(dispute);
    }

    function test_a_release_signed_by_the_producer_defeats_its_challenge() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _release(id, 2, 0);
        disputes.supersede(dispute);
        _assertDispute(dispute, DisputeState.Dismissed);
        vm.assertEq(vault.balanceOf(consumer.account), theirs + BOND, "the bond is the consumer's");
        _refuse(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
    }

    // Ends

    function test_an_open_dispute_keeps_the_agreement_from_finishing() public {
        vm.prank(consumer.account);
        agreements.end(id);
        _pass(48 hours);
        DisputeId dispute = _dispute(id, 4, 0);
        _pass(1 hours);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.DisputesOpen.selector, id, 1));
        agreements.finish(id);
        _pass(24 hours);
        disputes.expire(dispute);
        uint128 left = agreements.agreementOf(id).collateral;
        agreements.finish(id);
        vm.assertGe(vault.balanceOf(consumer.account), theirs + left, "what is left of the collateral");
        _assertState(id, State.Finished);
    }

    function test_after_the_closing_window_nothing_new_is_challenged() public {
        vm.prank(consumer.account);
        agreements.end(id);
        _pass(48 hours + 1);
        _refuse(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
    }

    function test_who_is_not_paid_is_not_challenged() public {
        _pass(30 days + 1);
        _refuse(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
    }

    function test_only_the_disputes_touch_collateral() public {
        bytes memory refusal = abi.encodeWithSelector(IAgreements.NotDisputes.selector, address(this));
        vm.expectRevert(refusal);
        agreements.claim(id, 1);
        vm.expectRevert(refusal);
        agreements.unclaim(id, 0);
        vm.expectRevert(refusal);
        agreements.slash(id, 0, Pots.repair(DisputeId.wrap(1)));
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

    /// An agreement of the second consumer that holds one of the usual shards.
    function _replacement(uint256 shard) private returns (AgreementId replacement) {
        Shard[] memory held = new Shard[](1);
        held[0] = shards[shard];
        replacement = _openWith(second, secondOffer);
        Revision memory revision = _holding(replacement, 1, held);
        bytes32 digest = agreements.hashRevision(revision);
        agreements.submit(revision, _sign(producer, digest), _sign(second, digest));
    }

    function _refuse(Challenge memory challenge, bytes memory reason) private {
        bytes32[] memory path = _shards().pathOf(challenge.shardIndex);
        vm.prank(producer.account);
        vm.expectRevert(reason);
        disputes.challenge(challenge, path, NO_MANDATE);
    }

    function _repairPot(DisputeId dispute) private view returns (uint256) {
        return vault.contentOf(address(disputes), Pots.repair(dispute));
    }

    function _assertDispute(DisputeId dispute, DisputeState expected) private view {
        vm.assertEq(uint256(disputes.disputeOf(dispute).state), uint256(expected), "state of the dispute");
    }
}
