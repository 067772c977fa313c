// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements end, and who gets what is left.
pragma solidity 0.8.37;

import {Agreement, IAgreements, State} from "../src/IAgreements.sol";
import {Revision} from "../src/Papers.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId} from "../src/Types.sol";
import {Endings} from "./support/Endings.sol";
import {vm} from "./support/Vm.sol";

contract EndingTest is Endings {
    function test_either_side_ends_and_nobody_else() public {
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotParty.selector, id, address(this)));
        agreements.end(id);
        AgreementId other = _active();
        _end(id, producer);
        _end(other, consumer);
        _assertState(id, State.Closing);
        _assertState(other, State.Closing);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Closing));
        agreements.end(id);
    }

    function test_after_the_window_everybody_gets_what_is_theirs() public {
        _pass(10 days);
        _end(id, producer);
        _redeem(id, 300);
        _pass(48 hours + 1);
        vm.prank(stranger.account);
        agreements.finish(id);
        uint256 fee = 4000 * 12 days;
        _assertGot(HELD - fee + ALLOWANCE - 300, fee + 300 + COLLATERAL);
        _assertState(id, State.Finished);
        _assertEmpty();
    }

    function test_what_was_paid_is_what_the_consumer_got_and_not_what_went_back() public {
        _pass(10 days);
        _end(id, producer);
        _redeem(id, 300);
        _pass(48 hours + 1);
        uint128 fee = 4000 * 12 days;
        vm.expectEmit(address(agreements));
        emit IAgreements.Finished({
            agreement: id, toProducer: HELD - fee + ALLOWANCE - 300, toConsumer: fee + 300 + uint128(COLLATERAL)
        });
        agreements.finish(id);
        Agreement memory agreement = agreements.agreementOf(id);
        vm.assertEq(agreement.paid, fee, "paid for storage");
        vm.assertEq(agreement.redeemed, 300, "paid for egress");
        vm.assertEq(agreement.funded, fee, "nothing else is in it");
        vm.assertEq(agreements.allowanceLeft(id), 0, "nothing left");
        _assertBooksAgree(id, Pots.held(id), Pots.allowance(id), Pots.collateral(id));
    }

    function test_a_voucher_in_the_window_is_out_of_what_is_left() public {
        _redeem(id, 100);
        _end(id, producer);
        _redeem(id, 300);
        vm.assertEq(agreements.allowanceLeft(id), ALLOWANCE - 300, "allowance");
        vm.assertEq(agreements.agreementOf(id).redeemed, 100, "not paid before the end");
    }

    function test_an_agreement_that_ends_is_in_no_grace() public {
        _pass(29 days);
        vm.assertTrue(agreements.isInGrace(id), "before");
        _end(id, producer);
        vm.assertFalse(agreements.isInGrace(id), "after");
    }

    function test_in_the_window_money_and_collateral_are_frozen() public {
        _pass(10 days);
        _end(id, consumer);
        _redeem(id, 300);
        _submit(_revision(id, 2));
        _assertGot(0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Closing));
        agreements.settle(id);
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Closing));
        agreements.topUp(id, 1, 1);
        _pass(48 hours);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.StillClosing.selector, id, _now()));
        agreements.finish(id);
        _assertGot(0, 0);
    }

    function test_a_newer_revision_in_the_window_decides() public {
        // The consumer ends with the old revision on chain; only a quarter was left since day 2.
        Revision memory newer = _laterRevision(id, 2, 2 days, STORED / 4);
        _pass(10 days);
        _end(id, consumer);
        _pass(1 hours);
        _submit(newer);
        _pass(48 hours);
        agreements.finish(id);
        uint256 fee = 4000 * 2 days + 1000 * 10 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_finishing_twice_pays_once() public {
        _endAndFinish(id, producer);
        _remember();
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Finished));
        agreements.finish(id);
        _assertGot(0, 0);
    }

    function test_an_active_agreement_is_not_finished() public {
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Active));
        agreements.finish(id);
    }

    function test_storage_is_owed_until_the_window_is_over_and_not_longer() public {
        _end(id, producer);
        _pass(20 days);
        agreements.finish(id);
        _assertGot(HELD - 4000 * 48 hours + ALLOWANCE, 4000 * 48 hours + COLLATERAL);
    }

    // Termination

    function test_anybody_terminates_what_is_not_paid_and_not_before() public {
        _pass(30 days);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotLapsed.selector, id, _now()));
        agreements.terminate(id);
        _pass(1);
        vm.prank(stranger.account);
        agreements.terminate(id);
        _assertState(id, State.Terminated);
    }

    function test_after_a_termination_vouchers_are_still_taken_and_then_all_is_shared_out() public {
        _pass(31 days);
        agreements.terminate(id);
        _redeem(id, 400);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE - 400, HELD + 400 + COLLATERAL);
        _assertEmpty();
    }

    function test_a_newer_revision_after_a_termination_still_decides() public {
        // By it the money lasted to a time after 39 days: longer than the old one said, but not to the termination.
        Revision memory newer = _laterRevision(id, 2, 1 days, 3 * GIB);
        _pass(40 days);
        agreements.terminate(id);
        _submit(newer);
        _assertState(id, State.Terminated);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
    }

    function test_an_old_revision_does_not_get_a_paid_agreement_terminated() public {
        Revision memory newest = _laterRevision(id, 3, 1 days, GIB);
        _pass(40 days);
        agreements.terminate(id);
        vm.assertFalse(agreements.isDisputable(id), "while it seems terminated");
        _submit(newest);
        _assertState(id, State.Active);
        vm.assertTrue(agreements.isDisputable(id), "when it goes on");
        vm.assertEq(vault.balanceOf(consumer.account), theirs + 4000 * 1 days + 1000 * 39 days, "settled");
        _endAndFinish(id, consumer);
        uint256 fee = 4000 * 1 days + 1000 * 41 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_who_is_paid_to_the_very_second_was_not_to_be_terminated() public {
        // By the newer one the money lasts 31 days: to the second of the termination, or to the one before.
        for (uint64 turn = 0; turn < 2; turn++) {
            id = _active();
            Revision memory newer = _revision(id, 2);
            newer.earned = 4000 * 1 days;
            newer.asOf = _after(2 days);
            newer.storedBytes = STORED;
            _pass(31 days + turn);
            agreements.terminate(id);
            _submit(newer);
            _assertState(id, turn == 0 ? State.Active : State.Terminated);
        }
    }

    function test_after_a_termination_nothing_restores_and_nothing_is_disputed() public {
        _pass(31 days);
        vm.assertFalse(agreements.isDisputable(id), "lapsed");
        agreements.terminate(id);
        vm.assertFalse(agreements.isDisputable(id), "terminated");
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Terminated));
        agreements.topUp(id, HELD, 0);
    }

    function testFuzz_all_that_came_in_goes_out_to_the_two(uint32 before, uint32 later, uint128 vouched, uint8 how)
        public
    {
        _openFor(how % 3 * 20 days);
        _pass(before % 60 days);
        if (vouched % 20_000 > 0) _redeem(id, vouched % 20_000);
        if (how % 4 == 0) agreements.settle(id);
        if (agreements.paidUntil(id) < _now() && how % 2 == 0) {
            agreements.terminate(id);
        } else {
            _end(id, how % 5 == 0 ? producer : consumer);
        }
        _pass(48 hours + 1 + later % 60 days);
        agreements.finish(id);
        vm.assertEq(
            vault.balanceOf(producer.account) + vault.balanceOf(consumer.account),
            ours + theirs + HELD + ALLOWANCE + COLLATERAL,
            "sum"
        );
        _assertEmpty();
    }
}
