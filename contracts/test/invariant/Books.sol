// SPDX-License-Identifier: MIT OR Apache-2.0
// The shadow ledger: what everybody paid in, got, and may have now.
pragma solidity 0.8.37;

import {State} from "../../src/IAgreements.sol";
import {DisputeState} from "../../src/IDisputes.sol";
import {Revision} from "../../src/Papers.sol";
import {AgreementId, DisputeId, MandateId, Timestamp} from "../../src/Types.sol";
import {Holdings} from "../support/Holdings.sol";
import {Shard, Trees} from "../support/Trees.sol";
import {vm} from "../support/Vm.sol";
import {Party} from "../support/World.sol";
import {Shadow, Shadows} from "./Shadow.sol";
import {Thief} from "./Thief.sol";

/// A dispute in the shadow ledger.
struct Quarrel {
    DisputeId id;
    uint256 about;
    uint256 shard;
    uint32 leaf;
    uint256 number;
    uint256 deadline;
    uint256 claim;
    uint256 repair;
    address challenger;
    DisputeState state;
}

/// A revision that both signed, and over which shards.
struct Paper {
    uint256 about;
    uint256 low;
    uint256 high;
    Revision revision;
}

abstract contract Books is Holdings {
    using Shadows for Shadow;
    using Trees for Shard[];

    uint256 internal clock;
    Shadow[] internal book;
    Quarrel[] internal quarrels;
    Paper[] internal papers;
    Thief internal thief;
    address[] internal people;

    mapping(address account => uint256) internal paidIn;
    mapping(address account => uint256) internal paidOut;
    /// What the account may withdraw.
    mapping(address account => uint256) internal free;
    uint256[2] internal offerLeft;
    uint256[2] internal offerCollateral;
    uint256[2] internal offerExpiry;
    MandateId internal mandate;
    uint256 internal mandateEnd;
    uint256 internal mandateLeft;
    uint256 internal pendingPayment;
    uint256 internal pendingFrom;
    /// Of each agreement and usual shard: the place of its open dispute among the quarrels, from 1, and when it was slashed.
    mapping(uint256 agreement => mapping(uint256 shard => uint256)) internal openQuarrel;
    mapping(uint256 agreement => mapping(uint256 shard => uint256)) internal slashedNumber;
    /// How often something was seen.
    mapping(string what => uint256) public seen;

    /// Every action starts where the last one left the time.
    modifier inTime() {
        vm.warp(clock);
        _;
        _note();
    }

    function setUp() public virtual override {
        super.setUp();
        clock = block.timestamp;
        thief = new Thief(vault);
        people = [
            producer.account,
            consumer.account,
            second.account,
            delegate.account,
            stranger.account,
            treasury,
            address(thief)
        ];
        for (uint256 index = 0; index < 4; index++) {
            paidIn[people[index]] = 1 ether;
        }
        _pay(stranger.account, 1 ether);
        _pay(address(thief), 1 ether);
        for (uint256 index = 0; index < people.length; index++) {
            free[people[index]] = vault.balanceOf(people[index]);
        }
        for (uint256 index = 0; index < 2; index++) {
            offerLeft[index] = 4 * CAPACITY;
            offerCollateral[index] = uint256(4 * CAPACITY) * COLLATERAL_PER_GIB / GIB;
            offerExpiry[index] = clock + 365 days;
        }
    }

    function _pay(address account, uint256 amount) internal {
        _fund(account, amount);
        paidIn[account] += amount;
    }

    // Calls

    /// Makes a call, which must do as the shadow ledger says.
    function _try(address by, address target, bytes memory call, bool should, string memory what)
        internal
        returns (bool)
    {
        vm.prank(by);
        (bool isDone,) = target.call(call);
        if (isDone != should) vm.assertTrue(false, string.concat(what, should ? " must work" : " must not work"));
        _see(string.concat(what, isDone ? "" : " refused"));
        return isDone;
    }

    function _see(string memory what) internal {
        seen[what] += 1;
    }

    function _consumerOf(Shadow memory s) internal view returns (Party memory) {
        return s.isSecond ? second : consumer;
    }

    function _opener(Shadow memory s) internal view returns (address) {
        return s.isMandated ? delegate.account : producer.account;
    }

    function _someone(uint256 seed) internal view returns (address) {
        return people[seed % 5];
    }

    /// Forge likes small numbers, of which most bits are equal.
    function _mix(uint256 seed) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed)));
    }

    /// One of the agreements; more often a late one, or one in dispute.
    function _pick(uint256 seed) internal view returns (uint256) {
        uint256 count = book.length;
        for (uint256 back = 1; back <= quarrels.length && back < 20 && seed % 4 == 1; back++) {
            Quarrel memory q = quarrels[quarrels.length - back];
            if (_isOpen(q)) return q.about;
        }
        uint256 recent = count > 4 ? 4 : count;
        return seed % 4 == 0 ? (seed >> 8) % count : count - 1 - (seed >> 8) % recent;
    }

    function _recent(uint256 seed) internal view returns (uint256) {
        uint256 count = quarrels.length;
        // Half of the time one that is not over.
        for (uint256 back = 1; back <= count && back < 20 && (seed >> 120) % 2 == 0; back++) {
            if (_isOpen(quarrels[count - back])) return count - back;
        }
        return count - 1 - (seed >> 128) % (count > 5 ? 5 : count);
    }

    function _range(uint256 low, uint256 high) internal view returns (Shard[] memory held) {
        held = new Shard[](high - low);
        for (uint256 index = low; index < high; index++) {
            held[index - low] = shards[index];
        }
    }

    /// Whether a dispute is not over.
    function _isOpen(Quarrel memory q) internal pure returns (bool) {
        return q.state == DisputeState.Open || q.state == DisputeState.Superseded;
    }

    function _has(Shadow memory s, uint256 shard) internal pure returns (bool) {
        return s.number > 0 && s.low <= shard && shard < s.high;
    }

    // What happens to the sums

    function _settled(uint256 index) internal {
        Shadow storage s = book[index];
        uint256 amount = Shadows.due(s.owedAt(clock), s.funded, s.paid);
        s.paid += amount;
        free[_consumerOf(s).account] += amount;
        if (amount > 0) _see("paid for storage");
    }

    function _redeemed(uint256 index) internal {
        Shadow storage s = book[index];
        uint256 amount = Shadows.due(s.vouched, s.allowance, s.redeemed);
        s.redeemed += amount;
        free[_consumerOf(s).account] += amount;
    }

    function _revised(uint256 index, Revision memory r, uint256 low, uint256 high) internal {
        Shadow storage s = book[index];
        if (s.state == State.Pending) s.state = State.Active;
        s.number = r.number;
        s.low = low;
        s.high = high;
        s.price = r.storagePrice;
        s.asOf = Timestamp.unwrap(r.asOf);
        s.since = Timestamp.unwrap(r.asOf);
        s.earned = r.earned;
        s.owed = r.earned;
        s.stored = r.storedBytes;
        if (s.releaseNumber < r.number) _forget(s);
        else if (s.releaseBytes > r.storedBytes) s.releaseBytes = r.storedBytes;
        if (s.state == State.Terminated) {
            uint256 terminated = s.closesAt - Shadows.WINDOW;
            if (s.isLapsed(terminated)) {
                s.stopsAt = s.lastPaid(terminated);
            } else {
                s.state = State.Active;
                s.closesAt = 0;
                s.stopsAt = 0;
                _see("reinstated");
            }
        }
        if (s.state == State.Active) _settled(index);
    }

    function _forget(Shadow storage s) internal {
        s.releaseNumber = 0;
        s.releaseBytes = 0;
        s.releaseFrom = 0;
    }

    function _finished(uint256 index) internal {
        Shadow storage s = book[index];
        _redeemed(index);
        (uint256 fee, uint256 forfeit, uint256 rest) = s.share();
        if (forfeit > 0) _see(s.isEndedByConsumer ? "forfeit of a consumer" : "forfeit of a producer");
        if (s.isCreditTelling(forfeit)) {
            _see(s.isEndedByConsumer ? "forfeit in spite of a credit" : "forfeit less a credit");
        }
        address theirs = _consumerOf(s).account;
        uint256 toConsumer = fee + s.collateral;
        uint256 toProducer = rest + s.allowance - s.redeemed;
        if (s.isEndedByConsumer) (toConsumer, toProducer) = (toConsumer - forfeit, toProducer + forfeit);
        else (toConsumer, toProducer) = (toConsumer + forfeit, toProducer - forfeit);
        free[theirs] += toConsumer;
        free[producer.account] += toProducer;
        s.paid += fee + (s.isEndedByConsumer ? 0 : forfeit);
        s.funded = s.paid;
        s.allowance = s.redeemed;
        s.collateral = 0;
        s.state = State.Finished;
    }

    function _cancelled(uint256 index) internal {
        Shadow storage s = book[index];
        free[producer.account] += s.funded + s.allowance;
        free[_consumerOf(s).account] += s.collateral;
        if (s.isMandated) mandateLeft += s.capacity;
        (s.funded, s.allowance, s.collateral) = (0, 0, 0);
        s.state = State.Cancelled;
    }

    /// The closing window begins.
    function _ended(uint256 index, bool isByConsumer) internal {
        Shadow storage s = book[index];
        s.state = State.Closing;
        s.isEndedByConsumer = isByConsumer;
        s.closesAt = clock + 48 hours;
        s.stopsAt = clock + 48 hours;
    }

    /// Which states this run has been in.
    function _note() private {
        for (uint256 index = 0; index < book.length; index++) {
            Shadow memory s = book[index];
            if (s.state == State.Pending) _see("Pending");
            if (s.state == State.Active) _see(s.number > 1 ? "Active, revised" : "Active");
            if (s.state == State.Active && s.isLapsed(clock + 48 hours + 1)) {
                _see(s.isLapsed(clock) ? "Active, lapsed" : "Active, in grace");
            }
            if (s.state == State.Active && s.releaseNumber > 0) _see("Active, released");
            if (s.state == State.Active && s.paid > s.owedAt(clock)) _see("Active, with a credit");
            if (s.state == State.Closing) _see(s.openDisputes > 0 ? "Closing, in dispute" : "Closing");
            if (s.state == State.Terminated) _see(s.openDisputes > 0 ? "Terminated, in dispute" : "Terminated");
            if (s.isMandated && s.number > 0) _see("placed by a delegate");
        }
    }

    function _idOf(uint256 index) internal view returns (AgreementId) {
        return book[index].id;
    }
}
