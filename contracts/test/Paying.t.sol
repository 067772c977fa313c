// SPDX-License-Identifier: MIT OR Apache-2.0
// What is paid while an agreement runs.
pragma solidity 0.8.37;

import {IAgreements, State} from "../src/IAgreements.sol";
import {Revision, Voucher} from "../src/Papers.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, Timestamp} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

contract PayingTest is World {
    AgreementId private id;
    uint256 private earnings;

    function setUp() public override {
        super.setUp();
        id = _active();
        earnings = vault.balanceOf(consumer.account);
    }

    // Storage

    function test_a_settlement_by_anyone_pays_the_consumer_by_the_second() public {
        _pass(1000);
        vm.prank(stranger.account);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + 4000 * 1000, "earned");
        vm.assertEq(vault.balanceOf(stranger.account), 0, "the stranger");
    }

    function test_what_is_paid_is_told() public {
        _pass(1000);
        vm.expectEmit(address(agreements));
        emit IAgreements.Settled({agreement: id, consumer: consumer.account, amount: 4000 * 1000, until: _now()});
        agreements.settle(id);
        vm.expectEmit(address(agreements));
        emit IAgreements.Vouched({agreement: id, amount: ALLOWANCE + 1});
        vm.expectEmit(address(agreements));
        emit IAgreements.Redeemed({agreement: id, consumer: consumer.account, amount: ALLOWANCE});
        _redeem(id, ALLOWANCE + 1);
    }

    function test_settling_twice_pays_once() public {
        _pass(1000);
        agreements.settle(id);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + 4000 * 1000, "earned");
    }

    function test_never_more_is_paid_than_held() public {
        _pass(1000 days);
        agreements.settle(id);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + HELD, "earned");
        _assertPot(Pots.held(id), 0, "held");
    }

    function test_a_revision_settles() public {
        _pass(1000);
        _submit(_revision(id, 2));
        vm.assertEq(vault.balanceOf(consumer.account), earnings + 4000 * 1000, "earned");
    }

    function test_another_agreements_money_is_out_of_reach() public {
        AgreementId other = _active();
        _pass(1000 days);
        agreements.settle(id);
        _assertPot(Pots.held(other), HELD, "held for the other");
    }

    function testFuzz_settling_often_pays_no_more_than_settling_once(uint32[8] memory waits, uint64 stored) public {
        Revision memory revision = _revision(id, 2);
        revision.storedBytes = stored % CAPACITY;
        _submit(revision);
        uint256 start = block.timestamp;
        for (uint256 step = 0; step < 8; step++) {
            _pass(waits[step] % 10 days);
            agreements.settle(id);
        }
        uint256 exact = uint256(revision.storedBytes) * PRICE * (block.timestamp - start) / GIB / 30 days;
        if (exact > HELD) exact = HELD;
        vm.assertEq(vault.balanceOf(consumer.account) - earnings, exact, "to the wei");
    }

    // Solvency

    function test_paidUntil_is_when_the_money_is_used_up() public view {
        vm.assertEq(Timestamp.unwrap(agreements.paidUntil(id)), block.timestamp + 30 days, "30 days");
    }

    function test_settling_does_not_change_paidUntil() public {
        Timestamp before = agreements.paidUntil(id);
        _pass(12345);
        agreements.settle(id);
        vm.assertEq(Timestamp.unwrap(agreements.paidUntil(id)), Timestamp.unwrap(before), "paidUntil");
    }

    function test_grace_is_the_last_48_hours() public {
        vm.assertFalse(agreements.isInGrace(id), "at first");
        _pass(28 days - 1);
        vm.assertFalse(agreements.isInGrace(id), "just before");
        _pass(1);
        vm.assertTrue(agreements.isInGrace(id), "48 h before the end");
        _pass(48 hours);
        vm.assertTrue(agreements.isInGrace(id), "the last second");
        _pass(1);
        vm.assertFalse(agreements.isInGrace(id), "after it");
    }

    function test_a_top_up_in_grace_restores() public {
        _pass(30 days);
        vm.prank(producer.account);
        agreements.topUp(id, 4000 * 10 days, 5);
        vm.assertEq(Timestamp.unwrap(agreements.paidUntil(id)), block.timestamp + 10 days, "10 days more");
        vm.assertEq(agreements.allowanceLeft(id), ALLOWANCE + 5, "allowance");
        vm.assertFalse(agreements.isInGrace(id), "no grace");
        _pass(1);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotLapsed.selector, id, agreements.paidUntil(id)));
        agreements.terminate(id);
    }

    function test_after_grace_nothing_restores() public {
        Timestamp until = agreements.paidUntil(id);
        _pass(30 days + 1);
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.Lapsed.selector, id, until));
        agreements.topUp(id, HELD, 0);
    }

    function test_only_the_producer_tops_up_and_from_its_own_balance() public {
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotParty.selector, id, consumer.account));
        agreements.topUp(id, 1, 1);
        uint256 before = vault.balanceOf(producer.account);
        vm.prank(producer.account);
        agreements.topUp(id, 3, 4);
        vm.assertEq(vault.balanceOf(producer.account), before - 7, "balance");
    }

    // Egress

    function test_a_voucher_pays_its_consumer_only_what_is_new() public {
        _redeem(id, 100);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + 100, "first");
        _redeem(id, 150);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + 150, "second adds the difference");
        vm.assertEq(agreements.allowanceLeft(id), ALLOWANCE - 150, "allowance");
    }

    function test_a_voucher_is_not_redeemed_twice_nor_an_older_one() public {
        _redeem(id, 100);
        _refuse(100);
        _refuse(99);
    }

    function test_vouchers_go_as_far_as_the_allowance() public {
        _redeem(id, ALLOWANCE + 500);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + ALLOWANCE, "up to the allowance");
        vm.assertEq(agreements.allowanceLeft(id), 0, "nothing left");
        _refuse(ALLOWANCE + 500);
        vm.prank(producer.account);
        agreements.topUp(id, 0, 200);
        _redeem(id, ALLOWANCE + 500);
        vm.assertEq(vault.balanceOf(consumer.account), earnings + ALLOWANCE + 200, "the rest after a top-up");
    }

    function test_money_for_storage_does_not_pay_for_egress_nor_the_reverse() public {
        _redeem(id, type(uint128).max);
        _assertPot(Pots.held(id), HELD, "held for storage");
        AgreementId other = _active();
        _pass(1000 days);
        agreements.settle(other);
        _assertPot(Pots.allowance(other), ALLOWANCE, "allowance for egress");
    }

    function test_only_the_producer_vouches() public {
        Voucher memory voucher = Voucher({agreement: id, amount: 10});
        bytes memory forged = _sign(consumer, agreements.hashVoucher(voucher));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, consumer.account, producer.account));
        agreements.redeem(voucher, forged);
    }

    function test_before_a_root_is_agreed_nothing_is_redeemed() public {
        AgreementId pending = _open(_terms());
        Voucher memory voucher = Voucher({agreement: pending, amount: 10});
        bytes memory signature = _sign(producer, agreements.hashVoucher(voucher));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, pending, State.Pending));
        agreements.redeem(voucher, signature);
    }

    function testFuzz_vouchers_in_any_order_pay_the_highest(uint128[5] memory amounts) public {
        uint128 highest = 0;
        for (uint256 step = 0; step < 5; step++) {
            uint128 amount = amounts[step] % (2 * ALLOWANCE);
            if (amount > highest) {
                _redeem(id, amount);
                highest = amount;
            } else {
                _refuse(amount);
            }
        }
        uint256 expected = highest < ALLOWANCE ? highest : ALLOWANCE;
        vm.assertEq(vault.balanceOf(consumer.account) - earnings, expected, "paid");
    }

    function _refuse(uint128 amount) private {
        Voucher memory voucher = Voucher({agreement: id, amount: amount});
        bytes memory signature = _sign(producer, agreements.hashVoucher(voucher));
        uint128 current = agreements.agreementOf(id).vouched;
        vm.expectRevert(abi.encodeWithSelector(IAgreements.VoucherNotNewer.selector, id, amount, current));
        agreements.redeem(voucher, signature);
    }
}
