// SPDX-License-Identifier: MIT OR Apache-2.0
// What storage costs, and which way it is rounded.
pragma solidity 0.8.37;

import {Bill, Billing} from "../src/Billing.sol";
import {Duration, ENDLESS, GIB_BYTES, MONTH_SECONDS, Timestamp} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";

contract BillingTest {
    uint64 private constant GIB = uint64(GIB_BYTES);

    function test_a_GiB_for_a_month_costs_the_price() public pure {
        Duration month = Duration.wrap(uint64(MONTH_SECONDS));
        vm.assertEq(Billing.charge(GIB, 12345, month), 12345, "a GiB-month");
        vm.assertEq(Billing.charge(GIB - 1, 12345, month), 12344, "a byte less is rounded down");
        vm.assertEq(Billing.charge(1, 1, Duration.wrap(1)), 0, "a fraction of a wei is nothing");
    }

    function test_the_greatest_numbers_do_not_overflow() public pure {
        Bill memory bill = _bill(type(uint128).max, 0, type(uint64).max, type(uint128).max);
        vm.assertEq(Billing.owedAt(bill, ENDLESS), type(uint128).max, "stays at the maximum");
        Billing.charge(type(uint64).max, type(uint128).max, Duration.wrap(type(uint64).max));
        vm.assertEq(Billing.forBytes(type(uint64).max, type(uint128).max), type(uint128).max, "collateral");
    }

    function test_nothing_stored_or_no_price_is_paid_for_ever() public pure {
        vm.assertEq(_until(_bill(0, 5, 0, 7), 0), type(uint64).max, "no bytes");
        vm.assertEq(_until(_bill(0, 5, 7, 0), 0), type(uint64).max, "no price");
    }

    function test_without_money_it_is_paid_until_the_start() public pure {
        vm.assertEq(_until(_bill(0, 5, GIB, 1 << 100), 0), 5, "no money");
        vm.assertEq(_until(_bill(10, 5, 0, 0), 9), 5, "less than is owed already");
    }

    function test_a_release_makes_the_same_money_last_longer() public pure {
        uint128 perSecond = uint128(MONTH_SECONDS);
        Bill memory bill = _bill(0, 100, 4 * GIB, perSecond);
        vm.assertEq(_until(bill, 400), 200, "4 wei a second");
        bill.hasRelease = true;
        bill.releasedFrom = Timestamp.wrap(150);
        bill.releasedBytes = 2 * GIB;
        vm.assertEq(_until(bill, 400), 250, "2 wei a second from half-time on");
        vm.assertEq(_until(bill, 199), 149, "used up before the release");
        vm.assertEq(Billing.owedAt(bill, Timestamp.wrap(150)), 200, "owed at the release");
        vm.assertEq(Billing.owedAt(bill, Timestamp.wrap(160)), 220, "owed after it");
        bill.releasedBytes = 0;
        vm.assertEq(_until(bill, 400), type(uint64).max, "nothing left to pay for");
        vm.assertEq(_until(bill, 200), type(uint64).max, "used up at the moment from which nothing costs");
    }

    function testFuzz_what_is_owed_never_falls(Bill memory bill, uint64 early, uint64 late) public pure {
        _makeValid(bill);
        if (early > late) (early, late) = (late, early);
        vm.assertLe(
            Billing.owedAt(bill, Timestamp.wrap(early)), Billing.owedAt(bill, Timestamp.wrap(late)), "owed over time"
        );
    }

    function testFuzz_until_paidUntil_the_money_is_enough(Bill memory bill, uint128 funded) public pure {
        _makeValid(bill);
        uint256 until = _until(bill, funded);
        vm.assertGe(until, Timestamp.unwrap(bill.asOf), "not before the start");
        if (funded >= bill.owed && until < type(uint64).max) {
            vm.assertLe(Billing.owedAt(bill, Timestamp.wrap(uint64(until))), funded, "owed at paidUntil");
        }
    }

    function testFuzz_after_paidUntil_the_money_is_not_enough(Bill memory bill, uint128 funded) public pure {
        _makeValid(bill);
        bill.price = bill.price % 1e24 + 1e18;
        bill.storedBytes = bill.storedBytes % (1 << 50) + GIB;
        bill.hasRelease = false;
        vm.assume(funded >= bill.owed && funded < type(uint128).max);
        uint256 until = _until(bill, funded);
        vm.assume(until < type(uint64).max);
        // A second costs more than a wei here, so one more is noticed.
        vm.assertGt(Billing.owedAt(bill, Timestamp.wrap(uint64(until + 1))), funded, "owed after paidUntil");
    }

    function testFuzz_parts_never_cost_more_than_the_whole(uint64 storedBytes, uint128 price, uint32 a, uint32 b)
        public
        pure
    {
        uint256 whole = Billing.charge(storedBytes, price, Duration.wrap(uint64(a) + b));
        uint256 parts =
            Billing.charge(storedBytes, price, Duration.wrap(a)) + Billing.charge(storedBytes, price, Duration.wrap(b));
        vm.assertLe(parts, whole, "sum of the parts");
        vm.assertLe(whole - parts, 1, "by a wei at most");
    }

    function testFuzz_no_more_is_payable_than_owed_or_funded(uint128 owed, uint128 funded, uint128 paid) public pure {
        uint256 amount = Billing.payableNow(owed, funded, paid);
        if (amount > 0) {
            vm.assertLe(amount + paid, owed, "owed");
            vm.assertLe(amount + paid, funded, "funded");
        }
    }

    function _bill(uint128 owed, uint64 asOf, uint64 storedBytes, uint128 price) private pure returns (Bill memory) {
        return Bill({
            owed: owed,
            asOf: Timestamp.wrap(asOf),
            storedBytes: storedBytes,
            price: price,
            hasRelease: false,
            releasedFrom: Timestamp.wrap(0),
            releasedBytes: 0
        });
    }

    function _until(Bill memory bill, uint128 funded) private pure returns (uint256) {
        return Timestamp.unwrap(Billing.paidUntil(bill, funded));
    }

    function _makeValid(Bill memory bill) private pure {
        if (bill.releasedFrom < bill.asOf) (bill.releasedFrom, bill.asOf) = (bill.asOf, bill.releasedFrom);
        if (bill.releasedBytes > bill.storedBytes) bill.releasedBytes = bill.storedBytes;
    }
}
