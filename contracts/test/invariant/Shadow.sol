// SPDX-License-Identifier: MIT OR Apache-2.0
// What one agreement should be, counted a second time from what was signed.
pragma solidity 0.8.37;

import {State} from "../../src/IAgreements.sol";
import {AgreementId} from "../../src/Types.sol";

/// An agreement in the shadow ledger.
struct Shadow {
    AgreementId id;
    State state;
    bool isSecond;
    bool isMandated;
    bool isEndedByConsumer;
    uint256 funded;
    uint256 paid;
    uint256 allowance;
    uint256 redeemed;
    uint256 vouched;
    uint256 collateral;
    uint256 claimed;
    uint256 openDisputes;
    uint256 capacity;
    uint256 price;
    uint256 term;
    /// The newest revision: its number, time, earnings, bytes; its root is over the usual shards `low` to `high` - 1.
    uint256 number;
    uint256 asOf;
    uint256 earned;
    uint256 low;
    uint256 high;
    uint256 owed;
    uint256 since;
    uint256 stored;
    uint256 releaseNumber;
    uint256 releaseFrom;
    uint256 releaseBytes;
    uint256 closesAt;
    uint256 stopsAt;
}

/// @notice The rules as the README tells them, in whole numbers of the widest type, with other means than the contracts
/// where there are some: the end of the money is searched for, not computed.
library Shadows {
    uint256 internal constant UNIT = (1 << 30) * 30 days;
    uint256 internal constant WINDOW = 48 hours;

    /// What is owed in all by a time.
    function owedBy(Shadow memory s, uint256 time) internal pure returns (uint256) {
        if (time <= s.since) return s.owed;
        if (s.releaseNumber == 0 || time <= s.releaseFrom) {
            return s.owed + s.stored * s.price * (time - s.since) / UNIT;
        }
        return s.owed + s.stored * s.price * (s.releaseFrom - s.since) / UNIT + s.releaseBytes * s.price
            * (time - s.releaseFrom) / UNIT;
    }

    /// The same, when the agreement may have ended.
    function owedAt(Shadow memory s, uint256 time) internal pure returns (uint256) {
        return owedBy(s, s.stopsAt != 0 && s.stopsAt < time ? s.stopsAt : time);
    }

    /// Whether the exact cost, fractions of a wei included, is more than the money put in.
    function isLapsed(Shadow memory s, uint256 time) internal pure returns (bool) {
        if (time <= s.since) return false;
        if (s.funded < s.owed) return true;
        uint256 left = s.funded - s.owed;
        if (s.releaseNumber == 0 || time <= s.releaseFrom) return s.stored * s.price * (time - s.since) > left * UNIT;
        uint256 before = s.stored * s.price * (s.releaseFrom - s.since) / UNIT;
        if (before > left) return true;
        return s.releaseBytes * s.price * (time - s.releaseFrom) > (left - before) * UNIT;
    }

    /// The last moment that is paid, of an agreement that has lapsed by `time`.
    function lastPaid(Shadow memory s, uint256 time) internal pure returns (uint256 low) {
        uint256 high = time;
        low = s.since;
        while (high - low > 1) {
            uint256 middle = (low + high) / 2;
            if (isLapsed(s, middle)) high = middle;
            else low = middle;
        }
    }

    /// What of `owed` is still to be paid, with so much put in and so much paid.
    function due(uint256 owed, uint256 funded, uint256 paid) internal pure returns (uint256) {
        uint256 most = owed < funded ? owed : funded;
        return most > paid ? most - paid : 0;
    }

    function newest(Shadow memory s) internal pure returns (uint256) {
        return s.releaseNumber > 0 ? s.releaseNumber : s.number;
    }

    function isRunning(Shadow memory s) internal pure returns (bool) {
        return s.state == State.Active || s.state == State.Closing || s.state == State.Terminated;
    }

    function isDisputable(Shadow memory s, uint256 time) internal pure returns (bool) {
        bool isKept = s.state == State.Active || (s.state == State.Closing && time <= s.closesAt);
        return isKept && s.releaseNumber == 0 && !isLapsed(s, time);
    }

    /// Whether a revision that both signed counts.
    function takes(Shadow memory s, uint256 number, uint256 asOf, uint256 earned, uint256 stored, uint256 time)
        internal
        pure
        returns (bool)
    {
        if (!isRunning(s) && s.state != State.Pending) return false;
        uint256 floor = s.releaseNumber > 0 && s.releaseFrom <= time ? s.releaseNumber : s.number;
        return number > floor && asOf <= time && asOf >= s.asOf && earned >= s.earned && stored <= s.capacity;
    }

    /// What the end brings: for storage, for the rest of the term, and what is left of what was put in.
    function share(Shadow memory s) internal pure returns (uint256 fee, uint256 forfeit, uint256 rest) {
        fee = due(owedAt(s, s.stopsAt), s.funded, s.paid);
        rest = s.funded - s.paid - fee;
        if (s.state != State.Closing || s.term <= s.closesAt) return (fee, 0, rest);
        uint256 whole = owedBy(s, s.term);
        uint256 covered = owedBy(s, s.closesAt);
        if (s.isEndedByConsumer) {
            forfeit = whole - covered;
            if (forfeit > s.collateral) forfeit = s.collateral;
        } else {
            // Who pays until the term pays no more by ending earlier.
            forfeit = due(whole, s.funded, s.paid) - fee;
        }
    }

    /// Whether the end would bring something else, were a credit of the producer forgotten when the producer ends early, or
    /// taken into account when the consumer does.
    function isCreditTelling(Shadow memory s, uint256 forfeit) internal pure returns (bool) {
        if (s.state != State.Closing || s.term <= s.closesAt) return false;
        uint256 whole = owedBy(s, s.term);
        uint256 covered = owedBy(s, s.closesAt);
        if (s.paid <= covered) return false;
        uint256 wrong = s.isEndedByConsumer ? (whole > s.paid ? whole - s.paid : 0) : whole - covered;
        uint256 most = s.isEndedByConsumer ? s.collateral : s.funded - s.paid;
        return forfeit != (wrong < most ? wrong : most);
    }
}
