// SPDX-License-Identifier: MIT OR Apache-2.0
// What storage costs, as pure functions.
pragma solidity 0.8.37;

import {Duration, ENDLESS, GIB_BYTES, MONTH_SECONDS, Timestamp} from "./Types.sol";

/// What storage costs from some moment on.
struct Bill {
    /// Owed in all up to `asOf`; from then on `storedBytes` cost `price` (wei for a GiB-month) ...
    uint128 owed;
    Timestamp asOf;
    uint64 storedBytes;
    uint128 price;
    /// ... until `releasedFrom`, not before `asOf`, when there is a release; then `releasedBytes` do.
    bool hasRelease;
    Timestamp releasedFrom;
    uint64 releasedBytes;
}

/// @title Prices times bytes times seconds.
/// @notice Every division rounds down: what is charged is never more than the exact amount, and what money pays for is never
/// longer than it pays for. Sums that exceed their type stay at its maximum.
library Billing {
    uint256 private constant BYTE_SECONDS = GIB_BYTES * MONTH_SECONDS;

    /// `bytes * price * seconds / (GiB * month)`, rounded down. No product of these types overflows 256 bits.
    function charge(uint64 storedBytes, uint128 price, Duration duration) internal pure returns (uint256) {
        return uint256(storedBytes) * price * Duration.unwrap(duration) / BYTE_SECONDS;
    }

    /// What so many bytes cost at a price for a GiB, rounded down: collateral.
    function forBytes(uint64 storedBytes, uint128 perGiB) internal pure returns (uint128) {
        return saturate(uint256(storedBytes) * perGiB / GIB_BYTES);
    }

    /// What is owed in all by `time`. Never falls as time goes on.
    function owedAt(Bill memory bill, Timestamp time) internal pure returns (uint128) {
        if (time <= bill.asOf) return bill.owed;
        if (!bill.hasRelease || time <= bill.releasedFrom) {
            return saturate(bill.owed + charge(bill.storedBytes, bill.price, time.since(bill.asOf)));
        }
        uint256 before = charge(bill.storedBytes, bill.price, bill.releasedFrom.since(bill.asOf));
        return saturate(bill.owed + before + charge(bill.releasedBytes, bill.price, time.since(bill.releasedFrom)));
    }

    /// Until when `funded` wei in all are enough: `owedAt(bill, paidUntil(bill, funded)) <= funded`, unless more was owed
    /// from the start; then it is that start.
    function paidUntil(Bill memory bill, uint128 funded) internal pure returns (Timestamp) {
        if (funded < bill.owed) return bill.asOf;
        uint256 left = funded - bill.owed;
        if (bill.hasRelease) {
            uint256 before = charge(bill.storedBytes, bill.price, bill.releasedFrom.since(bill.asOf));
            if (before <= left) return _lasting(bill.releasedFrom, left - before, bill.releasedBytes, bill.price);
        }
        return _lasting(bill.asOf, left, bill.storedBytes, bill.price);
    }

    /// The part of `owed` that can still be paid of `funded`, with `paid` paid already.
    function payableNow(uint128 owed, uint128 funded, uint128 paid) internal pure returns (uint128) {
        uint128 limit = owed < funded ? owed : funded;
        return limit > paid ? limit - paid : 0;
    }

    function saturate(uint256 amount) internal pure returns (uint128) {
        // forge-lint: disable-next-line(unsafe-typecast) - it was compared
        return amount < type(uint128).max ? uint128(amount) : type(uint128).max;
    }

    function _lasting(Timestamp start, uint256 left, uint64 storedBytes, uint128 price)
        private
        pure
        returns (Timestamp)
    {
        uint256 rate = uint256(storedBytes) * price;
        if (rate == 0) return ENDLESS;
        uint256 end = Timestamp.unwrap(start) + left * BYTE_SECONDS / rate;
        // forge-lint: disable-next-line(unsafe-typecast) - it was compared
        return end < type(uint64).max ? Timestamp.wrap(uint64(end)) : ENDLESS;
    }
}
