// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements are opened, by producers and delegates, or come to nothing.
pragma solidity 0.8.37;

import {IAgreements, State} from "../../src/IAgreements.sol";
import {Mandate} from "../../src/IMandates.sol";
import {Terms} from "../../src/Papers.sol";
import {AgreementId, Timestamp} from "../../src/Types.sol";
import {Party} from "../support/World.sol";
import {MoneyActs} from "./MoneyActs.sol";
import {Shadow, Shadows} from "./Shadow.sol";

abstract contract OpenActs is MoneyActs {
    uint256 internal constant MOST_AGREEMENTS = 40;
    /// Chooses good terms of the first consumer: 2000 wei a second for twenty days.
    uint256 internal constant FIRST =
        2 | 1 << 8 | 2000 << 40 | 20 days << 56 | 5000 << 80 | 1 << 120 | 1 << 128 | 1 << 144;

    function setUp() public virtual override {
        super.setUp();
        Mandate memory terms = _mandate();
        terms.expiry = _after(200 days);
        mandate = _accept(terms);
        (mandateLeft, mandateEnd) = (CAPACITY, clock + 200 days);
    }

    function open(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (book.length < MOST_AGREEMENTS) _openOne(seed);
    }

    function cancel(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow memory s = book[index];
        address by = _someone(seed >> 64);
        bool isParty = by == producer.account || by == _consumerOf(s).account || by == _opener(s);
        // Most agreements are to go on.
        if (isParty && seed % 4 != 0) by = stranger.account;
        isParty = isParty && by != stranger.account;
        bytes memory call = abi.encodeCall(IAgreements.cancel, (s.id));
        if (!_try(by, address(agreements), call, isParty && s.state == State.Pending, "cancel")) return;
        _cancelled(index);
    }

    // Parts

    function _openOne(uint256 seed) internal {
        bool isMandated = seed % 4 == 1;
        bool isSecond = isMandated || (seed >> 8) % 4 == 0;
        Terms memory terms = _termsOf(seed, isMandated, isSecond);
        Party memory a = isMandated ? delegate : producer;
        Party memory b = isSecond ? second : consumer;
        bytes32 digest = agreements.hashTerms(terms);
        uint256 which = isSecond ? 1 : 0;
        uint256 collateral = uint256(terms.capacityBytes) * COLLATERAL_PER_GIB / GIB;
        bool should = free[producer.account] >= uint256(terms.held) + terms.allowance && clock <= offerExpiry[which]
            && terms.capacityBytes <= offerLeft[which] && (!isMandated || _isWithin(terms));
        bytes memory call = abi.encodeCall(IAgreements.open, (terms, _sign(a, digest), _sign(b, digest)));
        if (!_try(stranger.account, address(agreements), call, should, "open")) return;
        Shadow storage s = book.push();
        s.id = AgreementId.wrap(digest);
        s.state = State.Pending;
        s.isSecond = isSecond;
        s.isMandated = isMandated;
        s.funded = terms.held;
        s.allowance = terms.allowance;
        s.collateral = collateral;
        s.capacity = terms.capacityBytes;
        s.price = terms.storagePrice;
        s.term = Timestamp.unwrap(terms.earliestEnd);
        s.asOf = clock;
        s.since = clock;
        free[producer.account] -= s.funded + s.allowance;
        offerLeft[which] -= s.capacity;
        offerCollateral[which] -= collateral;
        if (isMandated) mandateLeft -= s.capacity;
        // Once opened, never again.
        _try(stranger.account, address(agreements), call, false, "open again");
    }

    /// Terms that cost some thousand wei a second, of gibibytes or of a few leaves.
    function _termsOf(uint256 seed, bool isMandated, bool isSecond) private returns (Terms memory terms) {
        terms = _terms();
        uint256 capacity = (seed >> 16) % 3 == 0 ? GIB + (seed >> 24) % GIB : 4096 + (seed >> 24) % 30_000;
        uint256 rate = 1 + (seed >> 40) % 5000;
        (terms.consumer, terms.offer) = isSecond ? (second.account, secondOffer) : (consumer.account, offer);
        (terms.capacityBytes, terms.storagePrice) = (uint64(capacity), uint128(rate * Shadows.UNIT / capacity));
        terms.held = uint128(rate * ((seed >> 56) % 30 days));
        terms.allowance = uint128((seed >> 80) % 20_000);
        terms.earliestEnd = _after((seed >> 96) % 3 * 20 days);
        if ((seed >> 120) % 32 == 0) terms.held = uint128(free[producer.account] + 1);
        if ((seed >> 128) % 32 == 0) terms.capacityBytes = uint64(offerLeft[isSecond ? 1 : 0] + 1);
        if (!isMandated) return terms;
        terms.mandate = mandate;
        if ((seed >> 136) % 8 > 0) (terms.allowance, terms.earliestEnd) = (0, _now());
        if ((seed >> 144) % 8 > 0) terms.storagePrice = PRICE;
        uint256 most = uint256(terms.capacityBytes) * terms.storagePrice * 10 days / Shadows.UNIT;
        if ((seed >> 152) % 8 > 0) terms.held = uint128(most);
    }

    function _isWithin(Terms memory terms) private view returns (bool) {
        if (clock > mandateEnd || terms.allowance > 0 || Timestamp.unwrap(terms.earliestEnd) > clock) return false;
        uint256 most = uint256(terms.capacityBytes) * terms.storagePrice * (mandateEnd - clock) / Shadows.UNIT;
        return terms.storagePrice <= PRICE && terms.capacityBytes <= mandateLeft && terms.held <= most;
    }
}
