// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements end, and who gets what is left.
pragma solidity 0.8.37;

import {Billing} from "../Billing.sol";
import {Agreement, IAgreements, State} from "../IAgreements.sol";
import {Pots} from "../Pots.sol";
import {AgreementId, CLOSING_WINDOW, currentTime, Timestamp} from "../Types.sol";
import {Paying} from "./Paying.sol";

/// @title The part of the agreements that ends them.
abstract contract Ending is Paying {
    /// @inheritdoc IAgreements
    function end(AgreementId id) external {
        Agreement storage agreement = _in(id, State.Active);
        bool isConsumer = msg.sender == agreement.consumer;
        require(isConsumer || msg.sender == agreement.producer, NotParty({agreement: id, caller: msg.sender}));
        Timestamp closesAt = currentTime().plus(CLOSING_WINDOW);
        agreement.state = State.Closing;
        agreement.isEndedByConsumer = isConsumer;
        agreement.closesAt = closesAt;
        agreement.accruesUntil = closesAt;
        emit Ended({agreement: id, by: msg.sender, closesAt: closesAt});
    }

    /// @inheritdoc IAgreements
    function terminate(AgreementId id) external {
        Agreement storage agreement = _in(id, State.Active);
        Timestamp paidUntil_ = _paidUntil(agreement);
        require(paidUntil_ < currentTime(), NotLapsed({agreement: id, paidUntil: paidUntil_}));
        agreement.state = State.Terminated;
        agreement.closesAt = currentTime().plus(CLOSING_WINDOW);
        agreement.accruesUntil = paidUntil_;
        emit Terminated({agreement: id, paidUntil: paidUntil_, closesAt: agreement.closesAt});
    }

    /// @inheritdoc IAgreements
    function finish(AgreementId id) external {
        Agreement storage agreement = _running(id);
        require(agreement.state != State.Active, WrongState({agreement: id, state: State.Active}));
        require(agreement.closesAt < currentTime(), StillClosing({agreement: id, closesAt: agreement.closesAt}));
        require(agreement.openDisputes == 0, DisputesOpen({agreement: id, count: agreement.openDisputes}));
        (uint128 toProducer, uint128 toConsumer) = _shareOut(id, agreement);
        agreement.state = State.Finished;
        emit Finished({agreement: id, toProducer: toProducer, toConsumer: toConsumer});
    }

    /// Empties the three pots.
    function _shareOut(AgreementId id, Agreement storage agreement)
        private
        returns (uint128 toProducer, uint128 toConsumer)
    {
        (address producer, address consumer) = (agreement.producer, agreement.consumer);
        uint128 rest = agreement.funded - agreement.paid;
        uint128 storageFee = Billing.payableNow({
            owed: _owedAt(agreement, agreement.accruesUntil), funded: agreement.funded, paid: agreement.paid
        });
        rest -= storageFee;
        uint128 collateral = agreement.collateral;
        uint128 forfeit = _forfeit(agreement, agreement.isEndedByConsumer ? collateral : rest);
        uint128 fromConsumer = agreement.isEndedByConsumer ? forfeit : 0;
        uint128 fromProducer = forfeit - fromConsumer;

        agreement.paid += storageFee + fromProducer;
        agreement.collateral = 0;
        uint128 egressFee = _payEgress(id, agreement);
        uint128 unused = agreement.allowance - agreement.redeemed;
        // As if what goes back had never been put in, so that both sums say what the consumer got.
        agreement.funded = agreement.paid;
        agreement.allowance = agreement.redeemed;
        _pay(Pots.held(id), consumer, storageFee + fromProducer);
        _pay(Pots.held(id), producer, rest - fromProducer);
        _pay(Pots.allowance(id), producer, unused);
        _pay(Pots.collateral(id), producer, fromConsumer);
        _pay(Pots.collateral(id), consumer, collateral - fromConsumer);
        toProducer = rest - fromProducer + unused + fromConsumer;
        toConsumer = storageFee + fromProducer + egressFee + collateral - fromConsumer;
    }

    /// What who ended before the earliest end owes the other: the price of the bytes for the rest of the time, up to `limit`.
    /// A termination is nobody's early end: the money was used up.
    function _forfeit(Agreement storage agreement, uint128 limit) private view returns (uint128) {
        Timestamp ended = agreement.closesAt;
        if (agreement.state != State.Closing || agreement.earliestEnd <= ended) return 0;
        uint128 covered = _owedBy(agreement, ended);
        // What the producer paid too much is a credit for this time.
        if (!agreement.isEndedByConsumer && covered < agreement.paid) covered = agreement.paid;
        uint128 owed = _owedBy(agreement, agreement.earliestEnd);
        uint128 rest = owed > covered ? owed - covered : 0;
        return rest < limit ? rest : limit;
    }

    /// What would be owed by then if the agreement had not ended.
    function _owedBy(Agreement storage agreement, Timestamp time) private view returns (uint128) {
        return Billing.owedAt(_bill(agreement), time);
    }
}
