// SPDX-License-Identifier: MIT OR Apache-2.0
// What a challenge costs who loses it, and what came after the challenged revision.
pragma solidity 0.8.37;

import {IAgreements, State} from "../src/IAgreements.sol";
import {Dispute, DisputeState, IDisputes} from "../src/IDisputes.sol";
import {Role} from "../src/IRegistry.sol";
import {Release, Terms} from "../src/Papers.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, DisputeId, Timestamp} from "../src/Types.sol";
import {Disputed} from "./support/Disputed.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract SlashingTest is Disputed {
    using Trees for bytes;
    using Trees for Shard[];

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
        _slashed(4);
        _refuseChallenge(
            _challenge(id, 4, 0), abi.encodeWithSelector(IDisputes.AlreadySlashed.selector, shards[4].root)
        );
        _submit(_holding(id, 2, shards));
        _dispute(id, 4, 0);
    }

    function test_repair_money_goes_once_to_who_opened_the_new_place() public {
        DisputeId dispute = _slashed(4);
        uint128 amount = disputes.disputeOf(dispute).repair;
        AgreementId replacement = _replacement(4);
        uint256 before = vault.balanceOf(producer.account);
        vm.prank(stranger.account);
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
        vm.assertEq(vault.balanceOf(producer.account), before + amount, "the opener");
        vm.assertEq(_repairPot(dispute), 0, "pot");
        vm.assertEq(disputes.disputeOf(dispute).repair, 0, "nothing left");
        _refuseRepair(dispute, replacement);
    }

    function test_of_an_odd_claim_the_odd_wei_is_for_repair() public {
        // As if slashes had eaten all but an odd rest.
        uint128 left = 1001;
        uint128 eaten = agreements.agreementOf(id).collateral - left;
        vm.prank(address(disputes));
        agreements.claim(id, eaten);
        DisputeId dispute = _slashed(4);
        vm.assertEq(disputes.disputeOf(dispute).claim, left, "the claim");
        vm.assertEq(vault.balanceOf(producer.account), ours + 500, "the producer");
        vm.assertEq(_repairPot(dispute), 501, "for repair");
        vm.assertEq(disputes.disputeOf(dispute).repair, 501, "as the dispute says");
    }

    function test_the_bond_goes_back_to_the_delegate_that_challenged() public {
        uint256 before = vault.balanceOf(delegate.account);
        DisputeId dispute = _disputeBy(delegate, _accept(_mandate()), _challenge(id, 4, 0));
        _pass(24 hours + 1);
        disputes.expire(dispute);
        vm.assertEq(vault.balanceOf(delegate.account), before, "the delegate");
    }

    function test_only_a_running_agreement_that_is_not_released_replaces() public {
        DisputeId dispute = _slashed(4);
        AgreementId released = _replacement(4);
        Release memory release = Release({agreement: released, number: 2, storedBytes: 0});
        agreements.release(release, _sign(producer, agreements.hashRelease(release)));
        _refuseRepair(dispute, released);
        AgreementId ending = _replacement(4);
        vm.prank(second.account);
        agreements.end(ending);
        _refuseRepair(dispute, ending);
    }

    function test_another_producers_agreement_replaces_nothing() public {
        DisputeId dispute = _slashed(4);
        _fund(stranger.account, 1 ether);
        _activate(stranger, Role.Producer);
        _pass(WAIT);
        Terms memory terms = _terms();
        (terms.producer, terms.consumer, terms.offer) = (stranger.account, second.account, secondOffer);
        AgreementId other = _open(terms, stranger, second);
        _submitBy(_holding(other, 1, _only(4)), stranger, second);
        _refuseRepair(dispute, other);
    }

    function test_repair_money_is_claimed_until_the_last_second() public {
        DisputeId dispute = _slashed(4);
        AgreementId replacement = _replacement(4);
        _pass(180 days);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooEarly.selector, _now()));
        disputes.lapseRepair(dispute);
        _pass(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, disputes.disputeOf(dispute).deadline));
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
        disputes.lapseRepair(dispute);
    }

    function test_the_consumer_that_lost_the_shard_or_a_place_without_it_gets_no_repair_money() public {
        DisputeId dispute = _slashed(4);
        bytes32[] memory path = _shards().pathOf(4);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoReplacement.selector, dispute, id));
        disputes.claimRepair(dispute, id, 4, path);
        AgreementId replacement = _replacement(3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotHeld.selector, shards[4].root));
        disputes.claimRepair(dispute, replacement, 0, new bytes32[](0));
    }

    function test_repair_money_that_nobody_claims_goes_to_the_producer_in_the_end() public {
        DisputeId dispute = _slashed(4);
        Dispute memory slashed = disputes.disputeOf(dispute);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooEarly.selector, slashed.deadline));
        disputes.lapseRepair(dispute);
        _pass(180 days + 1);
        uint256 before = vault.balanceOf(producer.account);
        disputes.lapseRepair(dispute);
        vm.assertEq(vault.balanceOf(producer.account), before + slashed.repair, "the producer");
        vm.assertEq(disputes.disputeOf(dispute).repair, 0, "nothing left");
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
        _pass(10 hours);
        disputes.supersede(dispute);
        vm.assertEq(_deadlineOf(dispute), block.timestamp + 24 hours, "a day to prove again");
        _pass(10 hours);
        disputes.reprove(dispute, 3, fewer.pathOf(3));
        vm.assertEq(_deadlineOf(dispute), block.timestamp + 24 hours, "a day to answer");
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
        _refuseChallenge(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
    }

    function test_nothing_is_proven_again_over_a_release() public {
        DisputeId dispute = _dispute(id, 4, 0);
        _submit(_holding(id, 2, shards));
        disputes.supersede(dispute);
        _release(id, 3, 0);
        bytes32[] memory path = _shards().pathOf(4);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDisputable.selector, id));
        disputes.reprove(dispute, 4, path);
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
        _refuseChallenge(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
    }

    function test_who_is_not_paid_is_not_challenged() public {
        _pass(30 days + 1);
        _refuseChallenge(_challenge(id, 4, 0), abi.encodeWithSelector(IAgreements.NotDisputable.selector, id));
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

    /// An agreement of the second consumer that holds one of the usual shards.
    function _replacement(uint256 shard) private returns (AgreementId replacement) {
        replacement = _openWith(second, secondOffer);
        _submitBy(_holding(replacement, 1, _only(shard)), producer, second);
    }

    function _only(uint256 shard) private view returns (Shard[] memory held) {
        held = new Shard[](1);
        held[0] = shards[shard];
    }

    function _deadlineOf(DisputeId dispute) private view returns (uint256) {
        return Timestamp.unwrap(disputes.disputeOf(dispute).deadline);
    }

    function _repairPot(DisputeId dispute) private view returns (uint256) {
        return vault.contentOf(address(disputes), Pots.repair(dispute));
    }
}
