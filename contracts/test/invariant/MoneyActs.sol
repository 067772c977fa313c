// SPDX-License-Identifier: MIT OR Apache-2.0
// What moves time and money: everybody, the thief, and who tries what is forbidden.
pragma solidity 0.8.37;

import {IAgreements, State} from "../../src/IAgreements.sol";
import {IMandates} from "../../src/IMandates.sol";
import {Activation, IRegistry, OfferTerms, Role} from "../../src/IRegistry.sol";
import {IVault} from "../../src/IVault.sol";
import {Voucher} from "../../src/Papers.sol";
import {Pots} from "../../src/Pots.sol";
import {AgreementId, PotId} from "../../src/Types.sol";
import {vm} from "../support/Vm.sol";
import {Party} from "../support/World.sol";
import {Checks} from "./Checks.sol";
import {Shadow, Shadows} from "./Shadow.sol";
import {Thief} from "./Thief.sol";

abstract contract MoneyActs is Checks {
    using Shadows for Shadow;

    /// Some time passes: often exactly up to a moment at which something changes, or a second more.
    function pass(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 to = clock + (seed >> 16) % 30 hours;
        uint256 kind = seed % 8;
        Shadow memory s = book[_pick(seed >> 32)];
        if (kind == 0) to = clock + (seed >> 16) % 20 days;
        if (kind == 1 && s.isRunning() && s.isLapsed(clock + 400 days)) to = s.lastPaid(clock + 400 days);
        if (kind == 2 && s.closesAt > 0) to = s.closesAt;
        if (kind == 3 && s.releaseNumber > 0) to = s.releaseFrom;
        if (kind == 4 && quarrels.length > 0) to = quarrels[_recent(seed)].deadline;
        if (kind == 5) to = clock + 1;
        if (to > clock + 60 days) to = clock + 1 days;
        to += (seed >> 8) % 2;
        if (to > clock) clock = to;
        vm.warp(clock);
    }

    function deposit(uint256 any) external inTime {
        uint256 seed = _mix(any);
        _pay(_someone(seed), 1 + (seed >> 8) % 1 gwei);
        free[_someone(seed)] = free[_someone(seed)] + 1 + (seed >> 8) % 1 gwei;
    }

    function withdraw(uint256 any) external inTime {
        uint256 seed = _mix(any);
        address account = _someone(seed);
        uint256 amount = seed % 64 == 0 ? free[account] : (seed >> 8) % 3 gwei;
        if (seed % 8 == 7) amount = free[account] + 1 + (seed >> 8) % 2 ether;
        bytes memory call = abi.encodeCall(IVault.withdraw, (amount, payable(account)));
        if (_try(account, address(vault), call, amount <= free[account], "withdraw")) {
            free[account] -= amount;
            paidOut[account] += amount;
        }
    }

    /// A contract withdraws, and while it is paid withdraws again and reaches for other money.
    function rob(uint256 any) external inTime {
        uint256 seed = _mix(any);
        address account = address(thief);
        uint256 amount = free[account] / (1 + seed % 3) + (seed >> 16) % 2;
        uint256 rounds = 1 + (seed >> 8) % 4;
        uint256 worked = amount == 0 ? rounds : free[account] / amount;
        if (worked > rounds) worked = rounds;
        (address target, bytes memory call) = _forbidden(seed >> 32);
        uint256 before = account.balance;
        bool isDone = thief.rob(amount, rounds, target, call);
        vm.assertTrue(isDone == (worked > 0), "rob");
        vm.assertEq(account.balance - before, amount * worked, "a thief gets what is its own");
        vm.assertFalse(thief.hasStolen(), "reached for other money");
        free[account] -= amount * worked;
        paidOut[account] += amount * worked;
        _see(worked < rounds ? "rob refused" : "rob");
    }

    function reach(uint256 any) external inTime {
        uint256 seed = _mix(any);
        (address target, bytes memory call) = _forbidden(seed >> 8);
        address by = seed % 3 == 0 ? delegate.account : seed % 3 == 1 ? stranger.account : consumer.account;
        _try(by, target, call, false, "reach");
    }

    function topUp(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow storage s = book[index];
        address by = seed % 16 == 0 ? _someone(seed >> 16) : producer.account;
        uint128 held = uint128((seed >> 32) % 3 gwei);
        uint128 allowance = uint128((seed >> 64) % 10_000);
        if (seed % 32 == 1) held = uint128(free[producer.account]) + 1;
        bool should = by == producer.account && (s.state == State.Pending || s.state == State.Active)
            && !s.isLapsed(clock) && free[by] >= uint256(held) + allowance;
        bytes memory call = abi.encodeCall(IAgreements.topUp, (s.id, held, allowance));
        if (!_try(by, address(agreements), call, should, "top up")) return;
        free[by] -= uint256(held) + allowance;
        s.funded += held;
        s.allowance += allowance;
    }

    function settle(uint256 any) external inTime {
        uint256 seed = _mix(any);
        _settleOne(_pick(seed), _someone(seed >> 64));
    }

    /// Several are settled, terminated and finished at once; each stands alone.
    function batch(uint256 any) external inTime {
        uint256 seed = _mix(any);
        bytes[] memory calls = new bytes[](6);
        bool[] memory should = new bool[](6);
        uint256[] memory about = new uint256[](6);
        for (uint256 place = 0; place < 6; place++) {
            about[place] = _pick(seed >> (place * 16));
            calls[place] = abi.encodeCall(IAgreements.settle, (_idOf(about[place])));
            should[place] = book[about[place]].state == State.Active;
        }
        // The same agreement may come twice: then the second time nothing is due.
        vm.prank(stranger.account);
        bool[] memory successes = agreements.batch(calls);
        for (uint256 place = 0; place < 6; place++) {
            vm.assertTrue(successes[place] == should[place], "batch");
            if (should[place]) _settled(about[place]);
        }
        _see("batch");
    }

    function redeem(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow storage s = book[index];
        uint256 amount = s.vouched + (seed >> 32) % 3000;
        if (seed % 8 == 0) amount = s.vouched / 2;
        Party memory by = seed % 16 == 1 ? _consumerOf(s) : producer;
        bool isOwed =
            s.state == State.Active && amount == s.vouched && Shadows.due(s.vouched, s.allowance, s.redeemed) > 0;
        bool should = by.key == producer.key && s.isRunning() && (amount > s.vouched || isOwed);
        Voucher memory voucher = Voucher({agreement: s.id, amount: uint128(amount)});
        bytes memory signature = _sign(by, agreements.hashVoucher(voucher));
        bytes memory call = abi.encodeCall(IAgreements.redeem, (voucher, signature));
        if (!_try(_someone(seed >> 64), address(agreements), call, should, "redeem")) return;
        s.vouched = amount;
        if (s.state == State.Active) _redeemed(index);
        if (amount > s.allowance) _see("vouched more than allowed");
    }

    // The registry

    function activate(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (pendingFrom != 0 && seed % 2 == 0) {
            bool isPending = clock < pendingFrom;
            bytes memory back = abi.encodeCall(IRegistry.withdrawActivation, (Role.Consumer));
            if (_try(stranger.account, address(registry), back, isPending, "withdraw an activation")) {
                free[stranger.account] += pendingPayment;
                pendingFrom = 0;
            }
            return;
        }
        Activation memory activation = _activation(stranger, Role.Consumer);
        activation.payment = MINIMUM + uint128((seed >> 8) % 1000);
        activation.id = bytes32(clock);
        bytes memory signature = _sign(stranger, registry.hashActivation(activation));
        bool should = pendingFrom == 0 && free[stranger.account] >= activation.payment;
        bytes memory call = abi.encodeCall(IRegistry.activate, (activation, signature));
        vm.prank(delegate.account);
        (bool isDone,) = address(registry).call(call);
        // The same message twice within a second is refused too.
        vm.assertTrue(should || !isDone, "activate");
        if (!isDone) return;
        _see("activate");
        free[stranger.account] -= activation.payment;
        (pendingPayment, pendingFrom) = (activation.payment, clock + WAIT);
    }

    function changeOffer(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 which = seed % 2;
        Party memory owner = which == 0 ? consumer : second;
        address by = seed % 16 == 3 ? delegate.account : owner.account;
        OfferTerms memory terms = _offerTerms();
        terms.capacityBytes = uint64((seed >> 16) % (4 * CAPACITY) + CAPACITY);
        uint256 collateral = uint256(terms.capacityBytes) * COLLATERAL_PER_GIB / GIB;
        bool should = by == owner.account && free[by] + offerCollateral[which] >= collateral;
        bytes memory call =
            abi.encodeCall(IRegistry.changeOffer, (which == 0 ? offer : secondOffer, terms, new string[](0)));
        if (!_try(by, address(registry), call, should, "change an offer")) return;
        free[by] = free[by] + offerCollateral[which] - collateral;
        offerCollateral[which] = collateral;
        offerLeft[which] = terms.capacityBytes;
        offerExpiry[which] = clock + 365 days;
    }

    function _settleOne(uint256 index, address by) internal {
        bytes memory call = abi.encodeCall(IAgreements.settle, (_idOf(index)));
        bool should = book[index].state == State.Active;
        if (_try(by, address(agreements), call, should, "settle")) _settled(index);
    }

    /// Calls by which nobody may get anything.
    function _forbidden(uint256 seed) private view returns (address target, bytes memory call) {
        AgreementId id = _idOf(_pick(seed >> 8));
        PotId pot = Pots.collateral(id);
        uint256 kind = seed % 11;
        if (kind == 0) return (address(vault), abi.encodeCall(IVault.hold, (pot, producer.account, 1)));
        if (kind == 1) return (address(vault), abi.encodeCall(IVault.pay, (pot, stranger.account, 0)));
        if (kind == 2) return (address(vault), abi.encodeCall(IVault.shift, (pot, address(disputes), pot, 0)));
        if (kind == 3) return (address(agreements), abi.encodeCall(IAgreements.claim, (id, 1)));
        if (kind == 4) return (address(agreements), abi.encodeCall(IAgreements.unclaim, (id, 0)));
        if (kind == 5) return (address(agreements), abi.encodeCall(IAgreements.slash, (id, 0, pot)));
        if (kind == 6) return (address(mandates), abi.encodeCall(IMandates.giveBack, (NO_MANDATE, 0)));
        if (kind == 7) {
            return (
                address(registry),
                abi.encodeCall(IRegistry.take, (offer, producer.account, consumer.account, 1, COLLATERAL_PER_GIB, pot))
            );
        }
        if (kind == 8) return (address(agreements), abi.encodeCall(IAgreements.topUp, (id, 0, type(uint128).max)));
        if (kind == 9) return (address(registry), abi.encodeCall(IRegistry.withdrawActivation, (Role.Producer)));
        return (address(agreements), abi.encodeCall(IAgreements.terminate, (AgreementId.wrap(bytes32(seed)))));
    }
}
