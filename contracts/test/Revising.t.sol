// SPDX-License-Identifier: MIT OR Apache-2.0
// Revisions and releases: which counts, and what it costs.
pragma solidity 0.8.37;

import {Agreement, IAgreements, State} from "../src/IAgreements.sol";
import {Release, Revision, Terms} from "../src/Papers.sol";
import {AgreementId, HoldingRoot, Timestamp} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

contract RevisingTest is World {
    AgreementId private id;

    function setUp() public override {
        super.setUp();
        id = _active();
    }

    function test_the_higher_number_wins_and_the_lower_never_comes_back() public {
        Revision memory fifth = _revision(id, 5);
        Revision memory third = _revision(id, 3);
        _submit(fifth);
        _refuse(third, abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 3, 5));
        _refuse(fifth, abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 5, 5));
        vm.assertEq(agreements.newestNumber(id), 5, "number");
    }

    function test_anybody_brings_a_revision_that_both_signed() public {
        Revision memory revision = _revision(id, 2);
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(producer, digest), _sign(consumer, digest));
        vm.prank(stranger.account);
        agreements.submit(revision, a, b);
        vm.assertEq(agreements.newestNumber(id), 2, "number");
    }

    function test_one_signature_is_not_enough() public {
        Revision memory revision = _revision(id, 2);
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(producer, digest), _sign(consumer, digest));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, producer.account, consumer.account));
        agreements.submit(revision, a, a);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, consumer.account, producer.account));
        agreements.submit(revision, b, b);
    }

    function test_a_revision_from_the_future_waits() public {
        Revision memory revision = _revision(id, 2);
        revision.asOf = _after(1);
        _refuse(revision, abi.encodeWithSelector(IAgreements.FromTheFuture.selector, revision.asOf));
        _pass(1);
        _submit(revision);
    }

    function test_time_and_earnings_do_not_go_backwards() public {
        _pass(100);
        Revision memory second_ = _revision(id, 2);
        _submit(second_);
        Revision memory revision = _revision(id, 3);
        revision.asOf = Timestamp.wrap(Timestamp.unwrap(second_.asOf) - 1);
        _refuse(revision, abi.encodeWithSelector(IAgreements.GoesBackwards.selector, id));
        revision = _revision(id, 3);
        revision.earned = second_.earned - 1;
        _refuse(revision, abi.encodeWithSelector(IAgreements.GoesBackwards.selector, id));
    }

    function test_no_revision_is_older_than_its_agreement() public {
        AgreementId fresh = _open(_terms());
        Revision memory revision = _revision(fresh, 1);
        revision.asOf = Timestamp.wrap(uint64(block.timestamp - 1));
        _refuse(revision, abi.encodeWithSelector(IAgreements.GoesBackwards.selector, fresh));
    }

    function test_no_revision_holds_more_than_the_capacity() public {
        Revision memory revision = _revision(id, 2);
        revision.storedBytes = CAPACITY + 1;
        _refuse(revision, abi.encodeWithSelector(IAgreements.CapacityExceeded.selector, id, CAPACITY + 1));
        revision.storedBytes = CAPACITY;
        _submit(revision);
    }

    function test_a_revision_is_kept_as_it_was_signed() public {
        _pass(100);
        Revision memory revision = _revision(id, 7);
        (revision.storagePrice, revision.egressPrice, revision.shardCount) = (PRICE / 2, EGRESS_PRICE * 2, 9);
        vm.expectEmit(address(agreements));
        emit IAgreements.Revised({agreement: id, number: 7, revision: revision});
        _submit(revision);
        Agreement memory agreement = agreements.agreementOf(id);
        vm.assertEq(agreement.storagePrice, PRICE / 2, "price");
        vm.assertEq(agreement.egressPrice, EGRESS_PRICE * 2, "egress price");
        vm.assertEq(agreement.shardCount, 9, "shards");
        vm.assertEq(HoldingRoot.unwrap(agreement.root), HoldingRoot.unwrap(revision.root), "root");
        vm.assertEq(agreement.earned, revision.earned, "earned");
        vm.assertEq(Timestamp.unwrap(agreement.asOf), block.timestamp, "as of");
    }

    function test_a_release_that_counts_at_the_very_end_lowers_what_is_forfeited() public {
        Terms memory terms = _terms();
        terms.earliestEnd = _after(20 days);
        id = _open(terms);
        _submit(_revision(id, 1));
        _release(id, 2, STORED / 4);
        _end(id, producer);
        _pass(48 hours + 1);
        _release(id, 3, 0);
        agreements.finish(id);
        vm.assertEq(agreements.agreementOf(id).paid, 4000 * 2 days + 1000 * (2 days + 1), "a quarter, then nothing");
    }

    function test_a_newer_revision_corrects_by_credit_not_by_claw_back() public {
        // Half of the bytes were gone after 10 of 20 days, but only the old revision was on chain.
        Revision memory half = _laterRevision(id, 2, 10 days, STORED / 2);
        _pass(20 days);
        uint256 before = vault.balanceOf(consumer.account);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), before + 4000 * 20 days, "paid by the old one");
        _submit(half);
        vm.assertEq(vault.balanceOf(consumer.account), before + 4000 * 20 days, "nothing taken back");
        _pass(10 days);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), before + 4000 * 20 days, "the credit is used up");
        _pass(1 days);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), before + 4000 * 20 days + 2000 * 1 days, "and paid again");
    }

    // Releases

    function test_a_release_counts_after_its_notice() public {
        _release(id, 2, STORED / 4);
        _pass(48 hours);
        vm.assertEq(agreements.owedAt(id, _now()), 4000 * 48 hours, "full price during the notice");
        vm.assertEq(agreements.owedAt(id, _after(100)), 4000 * 48 hours + 1000 * 100, "then a quarter");
        vm.assertEq(agreements.newestNumber(id), 2, "number");
    }

    function test_only_the_producer_releases_and_only_downwards() public {
        Release memory release = Release({agreement: id, number: 2, storedBytes: STORED / 2});
        bytes memory forged = _sign(consumer, agreements.hashRelease(release));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, consumer.account, producer.account));
        agreements.release(release, forged);
        release.storedBytes = STORED + 1;
        _refuseRelease(release, abi.encodeWithSelector(IAgreements.ReleaseIncreases.selector, id, STORED + 1, STORED));
        release = Release({agreement: id, number: 1, storedBytes: 0});
        _refuseRelease(release, abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 1, 1));
    }

    function test_a_revision_signed_before_a_release_comes_to_its_right_during_the_notice() public {
        Revision memory more = _revision(id, 2);
        more.storedBytes = 2 * STORED;
        _release(id, 3, STORED / 4);
        _pass(24 hours);
        _submit(more);
        vm.assertEq(agreements.newestNumber(id), 3, "the release stands");
        vm.assertEq(agreements.owedAt(id, _after(24 hours)), 8000 * 48 hours, "owed by the revision");
        vm.assertEq(agreements.owedAt(id, _after(24 hours + 100)), 8000 * 48 hours + 1000 * 100, "then by the release");
    }

    function test_a_revision_signed_before_a_release_is_too_late_after_the_notice() public {
        Revision memory more = _revision(id, 2);
        more.storedBytes = 2 * STORED;
        _release(id, 3, STORED / 4);
        _pass(48 hours);
        _refuse(more, abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 2, 3));
    }

    function test_the_number_of_a_release_is_used_up_by_the_end_of_its_notice() public {
        _release(id, 2, 0);
        _pass(48 hours);
        _refuse(_revision(id, 2), abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 2, 2));
    }

    function test_a_higher_revision_ends_a_release() public {
        _release(id, 2, 0);
        _submit(_revision(id, 3));
        _pass(100 hours);
        vm.assertEq(agreements.owedAt(id, _now()), 4000 * 100 hours, "full price");
        vm.assertTrue(agreements.isDisputable(id), "disputable again");
    }

    function test_from_the_notice_of_a_release_nothing_is_disputed_until_a_new_root() public {
        vm.assertTrue(agreements.isDisputable(id), "before");
        _release(id, 5, 0);
        vm.assertFalse(agreements.isDisputable(id), "after the notice");
        _submit(_revision(id, 4));
        vm.assertFalse(agreements.isDisputable(id), "after an older root");
        _pass(48 hours);
        _submit(_revision(id, 6));
        vm.assertTrue(agreements.isDisputable(id), "after a newer root");
    }

    function test_releases_follow_each_other_and_add_up() public {
        _release(id, 2, STORED / 2);
        _refuseRelease(
            Release({agreement: id, number: 3, storedBytes: 0}),
            abi.encodeWithSelector(IAgreements.ReleasePending.selector, id, _after(48 hours))
        );
        _pass(50 hours);
        _release(id, 3, 0);
        _pass(60 hours);
        vm.assertEq(agreements.owedAt(id, _now()), 4000 * uint256(48 hours) + 2000 * uint256(50 hours), "owed in all");
    }

    function test_a_release_that_counted_is_not_undone_during_the_notice_of_the_next() public {
        Revision memory more = _revision(id, 4);
        more.storedBytes = 2 * STORED;
        _release(id, 5, STORED / 2);
        _pass(50 hours);
        _release(id, 9, 0);
        _refuse(more, abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 4, 5));
        _refuse(_revision(id, 5), abi.encodeWithSelector(IAgreements.NotNewer.selector, id, 5, 5));
        _submit(_revision(id, 6));
    }

    function test_a_release_during_the_closing_window_does_not_change_what_is_owed() public {
        _release(id, 2, STORED / 2);
        _pass(24 hours);
        _end(id, producer);
        _pass(100 hours);
        _release(id, 3, 0);
        vm.assertEq(agreements.owedAt(id, _now()), 4000 * uint256(48 hours) + 2000 * uint256(24 hours), "up to the end");
        uint256 before = vault.balanceOf(consumer.account);
        agreements.finish(id);
        uint256 collateral = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;
        vm.assertEq(
            vault.balanceOf(consumer.account) - before - collateral,
            4000 * uint256(48 hours) + 2000 * uint256(24 hours),
            "paid"
        );
    }

    function test_a_release_after_a_termination_does_not_change_what_is_owed() public {
        _release(id, 2, STORED - GIB);
        _pass(60 days);
        uint128 owed = agreements.owedAt(id, agreements.paidUntil(id));
        agreements.terminate(id);
        _release(id, 3, 0);
        _pass(49 hours);
        _release(id, 4, 0);
        vm.assertEq(agreements.owedAt(id, _now()), owed, "owed");
    }

    function testFuzz_whatever_is_signed_no_more_is_paid_than_held(uint128[4] memory earned, uint64[4] memory stored)
        public
    {
        uint256 before = vault.balanceOf(consumer.account);
        uint128 floor = 0;
        for (uint64 step = 0; step < 4; step++) {
            _pass(1 days);
            Revision memory revision = _revision(id, step + 2);
            floor = earned[step] > floor ? earned[step] : floor;
            revision.earned = floor;
            revision.storedBytes = stored[step] % CAPACITY;
            _submit(revision);
            Agreement memory agreement = agreements.agreementOf(id);
            vm.assertLe(agreement.paid, HELD, "paid");
            vm.assertEq(vault.balanceOf(consumer.account) - before, agreement.paid, "received");
        }
    }

    function test_a_finished_agreement_takes_nothing_more() public {
        _endAndFinish(id, producer);
        bytes memory refusal = abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Finished);
        _refuse(_revision(id, 9), refusal);
        _refuseRelease(Release({agreement: id, number: 9, storedBytes: 0}), refusal);
    }

    function _refuse(Revision memory revision, bytes memory reason) private {
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(producer, digest), _sign(consumer, digest));
        vm.expectRevert(reason);
        agreements.submit(revision, a, b);
    }

    function _refuseRelease(Release memory release, bytes memory reason) private {
        bytes memory signature = _sign(producer, agreements.hashRelease(release));
        vm.expectRevert(reason);
        agreements.release(release, signature);
    }
}
