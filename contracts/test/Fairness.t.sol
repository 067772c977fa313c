// SPDX-License-Identifier: MIT OR Apache-2.0
// What nobody gets from the other by choosing numbers, moments or helpers.
pragma solidity 0.8.37;

import {Agreement, IAgreements} from "../src/IAgreements.sol";
import {Placement} from "../src/IMandates.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, DisputeId} from "../src/Types.sol";
import {Challenge} from "../src/IDisputes.sol";
import {Revision, Terms} from "../src/Papers.sol";
import {Repairs} from "./support/Repairs.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract FairnessTest is Repairs {
    using Trees for Shard[];

    function test_a_release_does_not_take_the_number_of_a_revision_that_was_signed_before() public {
        AgreementId id = _active();
        Revision memory more = _revision(id, 2);
        more.storedBytes = 4 * STORED;
        _pass(5 days);
        // The producer gives a release the number of the consumer's newest revision, which is not on chain.
        _release(id, 2, 0);
        _pass(48 hours - 1);
        _submit(more);
        vm.assertEq(agreements.owedAt(id, _after(1)), 16_000 * uint256(7 days), "owed by the revision");
        vm.assertEq(agreements.owedAt(id, _after(100 days)), 16_000 * uint256(7 days), "then nothing, by the release");
        vm.assertFalse(agreements.isDisputable(id), "the release stands");
    }

    function test_who_ends_early_does_not_pay_for_the_time_that_a_credit_pays_for() public {
        Agreement memory waits = _endWithCredit(false);
        Agreement memory ends = _endWithCredit(true);
        vm.assertEq(waits.paid, ends.paid, "the same money");
    }

    function test_a_consumer_that_ends_early_keeps_the_credit_and_pays_for_the_whole_rest_of_the_time() public {
        AgreementId id = _openForTwentyDays();
        _payTooMuch(id);
        uint256 before = vault.balanceOf(producer.account);
        _endAndFinish(id, consumer);
        // Eight days of a GiB, though what was paid too much is worth more.
        uint256 forfeit = 1000 * 8 days;
        vm.assertEq(
            vault.balanceOf(producer.account) - before, HELD - 4000 * 10 days + ALLOWANCE + forfeit, "the producer got"
        );
    }

    function test_a_delegate_does_not_free_a_consumer_of_a_dispute() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        _place(revision, placements, delegate);
        DisputeId dispute = _disputeOfSecond(id);
        (revision, placements) = _placing(id, 2, 0);
        _refusePlacing(revision, placements, delegate, abi.encodeWithSelector(IAgreements.DisputesOpen.selector, id, 1));
        _pass(24 hours + 1);
        disputes.expire(dispute);
        vm.assertEq(agreements.agreementOf(id).openDisputes, 0, "slashed");
        (revision, placements) = _placing(id, 2, 0);
        _place(revision, placements, delegate);
    }

    function test_a_cancelled_agreement_has_no_allowance_left() public {
        AgreementId id = _open(_terms());
        vm.prank(producer.account);
        agreements.cancel(id);
        vm.assertEq(agreements.allowanceLeft(id), 0, "allowance left");
        _assertBooksAgree(id, Pots.held(id), Pots.allowance(id), Pots.collateral(id));
    }

    /// Ten days are paid at four GiB, of which three were gone after a day; the term is twenty days.
    function _endWithCredit(bool isEarly) private returns (Agreement memory) {
        uint256 before = vault.balanceOf(producer.account);
        AgreementId id = _openForTwentyDays();
        _payTooMuch(id);
        _pass(isEarly ? 0 : 8 days);
        _endAndFinish(id, producer);
        vm.assertEq(before - vault.balanceOf(producer.account), 4000 * 10 days, "the producer paid");
        return agreements.agreementOf(id);
    }

    /// Ten days are paid, of which nine cost a quarter only.
    function _payTooMuch(AgreementId id) private {
        Revision memory fewer = _laterRevision(id, 2, 1 days, GIB);
        _pass(10 days);
        agreements.settle(id);
        _submit(fewer);
    }

    function _openForTwentyDays() private returns (AgreementId id) {
        Terms memory terms = _terms();
        terms.earliestEnd = _after(20 days);
        id = _open(terms);
        _submit(_revision(id, 1));
    }

    function _disputeOfSecond(AgreementId id) private returns (DisputeId) {
        Shard[] memory held = new Shard[](2);
        (held[0], held[1]) = (shards[0], shards[1]);
        Challenge memory challenge = _challenge(id, 0, 0);
        bytes32[] memory path = held.pathOf(0);
        vm.prank(producer.account);
        return disputes.challenge(challenge, path, NO_MANDATE);
    }
}
