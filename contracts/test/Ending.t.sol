// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements end, and who gets what is left.
pragma solidity 0.8.37;

import {IAgreements, Revision, State, Terms} from "../src/IAgreements.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId} from "../src/Types.sol";
import {Party, World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract EndingTest is World {
    uint256 private constant COLLATERAL = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;
    AgreementId private id;
    uint256 private ours;
    uint256 private theirs;

    function setUp() public override {
        super.setUp();
        id = _active();
        _remember();
    }

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
        Revision memory newer = _revision(id, 2);
        newer.asOf = _after(2 days);
        newer.earned = 4000 * 2 days;
        newer.storedBytes = STORED / 4;
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
        _end(id, producer);
        _pass(48 hours + 1);
        agreements.finish(id);
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
        Revision memory newer = _revision(id, 2);
        newer.asOf = _after(1 days);
        newer.earned = 4000 * 1 days;
        newer.storedBytes = 3 * GIB;
        _pass(40 days);
        agreements.terminate(id);
        _submit(newer);
        _assertState(id, State.Terminated);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
    }

    function test_an_old_revision_does_not_get_a_paid_agreement_terminated() public {
        Revision memory newest = _revision(id, 3);
        newest.asOf = _after(1 days);
        newest.earned = 4000 * 1 days;
        newest.storedBytes = GIB;
        _pass(40 days);
        agreements.terminate(id);
        vm.assertFalse(agreements.isDisputable(id), "while it seems terminated");
        _submit(newest);
        _assertState(id, State.Active);
        vm.assertTrue(agreements.isDisputable(id), "when it goes on");
        vm.assertEq(vault.balanceOf(consumer.account), theirs + 4000 * 1 days + 1000 * 39 days, "settled");
        _end(id, consumer);
        _pass(48 hours + 1);
        agreements.finish(id);
        uint256 fee = 4000 * 1 days + 1000 * 41 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
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

    // The minimum term

    function test_a_producer_that_ends_early_pays_for_the_rest_of_the_term() public {
        _openFor(20 days);
        _end(id, producer);
        _pass(48 hours + 1);
        agreements.finish(id);
        uint256 fee = 4000 * 20 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_a_producer_that_ends_early_pays_no_more_than_is_held() public {
        _openFor(500 days);
        _end(id, producer);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
    }

    function test_a_consumer_that_ends_early_pays_for_the_rest_of_the_term_with_its_collateral() public {
        _openFor(20 days);
        _end(id, consumer);
        _pass(48 hours + 1);
        agreements.finish(id);
        (uint256 fee, uint256 rest) = (4000 * 2 days, 4000 * 18 days);
        _assertGot(HELD - fee + ALLOWANCE + rest, fee + COLLATERAL - rest);
    }

    function test_a_consumer_that_ends_early_pays_no_more_than_its_collateral() public {
        _openFor(100_000 days);
        _end(id, consumer);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(HELD - 4000 * 2 days + ALLOWANCE + COLLATERAL, 4000 * 2 days);
    }

    function test_who_ends_in_time_forfeits_nothing() public {
        _openFor(20 days);
        _pass(18 days);
        _end(id, consumer);
        _pass(48 hours + 1);
        agreements.finish(id);
        uint256 fee = 4000 * 20 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_a_termination_is_nobodys_early_end() public {
        _openFor(500 days);
        _pass(31 days);
        agreements.terminate(id);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
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

    function _openFor(uint256 term) private {
        Terms memory terms = _terms();
        terms.earliestEnd = _after(term);
        id = _open(terms);
        _submit(_revision(id, 1));
        _remember();
    }

    function _end(AgreementId agreement, Party memory by) private {
        vm.prank(by.account);
        agreements.end(agreement);
    }

    function _remember() private {
        ours = vault.balanceOf(producer.account);
        theirs = vault.balanceOf(consumer.account);
    }

    function _assertGot(uint256 toProducer, uint256 toConsumer) private view {
        vm.assertEq(vault.balanceOf(producer.account) - ours, toProducer, "the producer got");
        vm.assertEq(vault.balanceOf(consumer.account) - theirs, toConsumer, "the consumer got");
    }

    function _assertEmpty() private view {
        _assertPot(Pots.held(id), 0, "held");
        _assertPot(Pots.allowance(id), 0, "allowance");
        _assertPot(Pots.collateral(id), 0, "collateral");
    }
}
