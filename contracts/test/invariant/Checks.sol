// SPDX-License-Identifier: MIT OR Apache-2.0
// What must hold at any time: the chain says what the shadow ledger says.
pragma solidity 0.8.37;

import {Agreement, State} from "../../src/IAgreements.sol";
import {Dispute} from "../../src/IDisputes.sol";
import {Offer, Role} from "../../src/IRegistry.sol";
import {Pots} from "../../src/Pots.sol";
import {DisputeId, OfferId, Timestamp} from "../../src/Types.sol";
import {vm} from "../support/Vm.sol";
import {Books, Quarrel} from "./Books.sol";
import {Shadow, Shadows} from "./Shadow.sol";

abstract contract Checks is Books {
    using Shadows for Shadow;

    /// Everything on chain is as in the shadow ledger, to the wei.
    function check() external {
        vm.warp(clock);
        uint256 inside = pendingFrom == 0 ? 0 : pendingPayment;
        // Three activations are never collected here.
        inside += 3 * MINIMUM;
        inside += offerCollateral[0] + offerCollateral[1];
        for (uint256 index = 0; index < book.length; index++) {
            inside += _checkAgreement(book[index]);
        }
        for (uint256 index = 0; index < quarrels.length; index++) {
            inside += _checkQuarrel(index);
        }
        _checkOffers();
        uint256 total = 0;
        uint256 balance = 0;
        for (uint256 index = 0; index < people.length; index++) {
            address account = people[index];
            vm.assertEq(vault.balanceOf(account), free[account], "what an account may withdraw");
            inside += free[account];
            total += paidIn[account];
            balance += paidOut[account];
        }
        vm.assertEq(total, inside + balance, "paid in = held + paid out");
        vm.assertEq(vault.claims(), inside, "the sum of all claims");
        vm.assertEq(address(vault).balance, inside, "the vault's ether");
    }

    /// The money of an agreement, and what it comes to.
    function _checkAgreement(Shadow memory s) private view returns (uint256) {
        Agreement memory a = agreements.agreementOf(s.id);
        _checkRecord(s, a);
        vm.assertEq(a.funded, s.funded, "funded");
        vm.assertEq(a.paid, s.paid, "paid");
        vm.assertEq(a.allowance, s.allowance, "allowance");
        vm.assertEq(a.redeemed, s.redeemed, "redeemed");
        vm.assertEq(a.vouched, s.vouched, "vouched");
        vm.assertEq(a.collateral, s.collateral, "collateral");
        vm.assertEq(a.claimed, s.claimed, "claimed");
        vm.assertEq(a.openDisputes, s.openDisputes, "open disputes");
        vm.assertLe(s.paid, s.funded, "paid no more than held");
        vm.assertLe(s.redeemed, s.allowance, "redeemed no more than allowed");
        vm.assertLe(s.claimed, s.collateral, "claimed no more than there is");
        if (s.isRunning()) {
            vm.assertEq(agreements.owedAt(s.id, _now()), s.owedAt(clock), "owed");
            vm.assertTrue((agreements.paidUntil(s.id) < _now()) == s.isLapsed(clock), "lapsed");
            vm.assertTrue(agreements.isDisputable(s.id) == s.isDisputable(clock), "disputable");
        }
        _assertPot(Pots.held(s.id), s.funded - s.paid, "held");
        _assertPot(Pots.allowance(s.id), s.allowance - s.redeemed, "allowance");
        _assertPot(Pots.collateral(s.id), s.collateral, "collateral");
        return s.funded - s.paid + s.allowance - s.redeemed + s.collateral;
    }

    /// What the newest papers say, and when it ends.
    function _checkRecord(Shadow memory s, Agreement memory a) private pure {
        vm.assertEq(uint256(a.state), uint256(s.state), "state");
        vm.assertTrue(a.isEndedByConsumer == s.isEndedByConsumer, "ended by the consumer");
        vm.assertEq(Timestamp.unwrap(a.closesAt), s.closesAt, "closes at");
        vm.assertEq(Timestamp.unwrap(a.accruesUntil), s.stopsAt, "accrues until");
        vm.assertEq(Timestamp.unwrap(a.earliestEnd), s.term, "earliest end");
        vm.assertEq(a.number, s.number, "number");
        vm.assertEq(a.shardCount, s.high - s.low, "shards");
        vm.assertEq(a.storagePrice, s.price, "price");
        vm.assertEq(a.egressPrice, EGRESS_PRICE, "egress price");
        vm.assertEq(Timestamp.unwrap(a.asOf), s.asOf, "as of");
        vm.assertEq(a.earned, s.earned, "earned");
        vm.assertEq(Timestamp.unwrap(a.basisAt), s.since, "counted from");
        vm.assertEq(a.basisOwed, s.owed, "owed at first");
        vm.assertEq(a.basisBytes, s.stored, "stored");
        vm.assertEq(a.releaseNumber, s.releaseNumber, "number of the release");
        vm.assertEq(a.releasedBytes, s.releaseBytes, "released");
        vm.assertEq(Timestamp.unwrap(a.releasedFrom), s.releaseFrom, "released from");
    }

    function _checkQuarrel(uint256 index) private view returns (uint256) {
        Quarrel memory q = quarrels[index];
        Dispute memory d = disputes.disputeOf(q.id);
        vm.assertEq(uint256(d.state), uint256(q.state), "state of a dispute");
        vm.assertEq(d.number, q.number, "number in dispute");
        vm.assertEq(Timestamp.unwrap(d.deadline), q.deadline, "deadline of a dispute");
        vm.assertEq(d.claim, q.claim, "claim");
        vm.assertEq(d.repair, q.repair, "what the dispute says is left for repair");
        uint256 bond = _isOpen(q) ? BOND : 0;
        vm.assertEq(vault.contentOf(address(disputes), Pots.bond(q.id)), bond, "bond");
        vm.assertEq(vault.contentOf(address(disputes), Pots.repair(q.id)), q.repair, "money for repair");
        uint256 open = openQuarrel[q.about][q.shard];
        DisputeId expected = open == 0 ? DisputeId.wrap(0) : quarrels[open - 1].id;
        DisputeId found = disputes.openDispute(_idOf(q.about), shards[q.shard].root);
        vm.assertEq(DisputeId.unwrap(found), DisputeId.unwrap(expected), "the open dispute over a shard");
        return bond + q.repair;
    }

    function _checkOffers() private view {
        OfferId[2] memory ids = [offer, secondOffer];
        for (uint256 index = 0; index < 2; index++) {
            uint256 pot = vault.contentOf(address(registry), Pots.offer(ids[index]));
            Offer memory found = registry.offerOf(ids[index]);
            vm.assertEq(found.terms.capacityBytes, offerLeft[index], "an offer's capacity");
            vm.assertEq(found.collateral, offerCollateral[index], "what an offer says of its collateral");
            vm.assertEq(pot, offerCollateral[index], "an offer's collateral");
            vm.assertGe(pot, offerLeft[index] * COLLATERAL_PER_GIB / GIB, "an offer is covered");
        }
        (, uint64 usedBytes,) = mandates.mandateOf(mandate);
        vm.assertEq(usedBytes, CAPACITY - mandateLeft, "used of a mandate");
        uint256 pending = pendingFrom == 0 ? 0 : pendingPayment;
        vm.assertEq(
            vault.contentOf(address(registry), Pots.activation(stranger.account, Role.Consumer)),
            pending,
            "an activation's payment"
        );
    }
}
