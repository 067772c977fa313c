// SPDX-License-Identifier: MIT OR Apache-2.0
// What nobody gets from the other by choosing numbers, moments or helpers.
pragma solidity 0.8.37;

import {Agreement, IAgreements, Revision, Terms} from "../src/IAgreements.sol";
import {Placement} from "../src/IMandates.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, DisputeId} from "../src/Types.sol";
import {Challenge} from "../src/IDisputes.sol";
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
        vm.assertEq(waits.funded, ends.funded, "the same money");
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
        Revision memory fewer = _revision(id, 2);
        fewer.asOf = _after(1 days);
        fewer.earned = 4000 * 1 days;
        fewer.storedBytes = GIB;
        _pass(10 days);
        agreements.settle(id);
        _submit(fewer);
        _pass(isEarly ? 0 : 8 days);
        vm.prank(producer.account);
        agreements.end(id);
        _pass(48 hours + 1);
        agreements.finish(id);
        vm.assertEq(before - vault.balanceOf(producer.account), 4000 * 10 days, "the producer paid");
        return agreements.agreementOf(id);
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
