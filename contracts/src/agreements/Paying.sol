// SPDX-License-Identifier: MIT OR Apache-2.0
// What is paid while an agreement runs: storage by time, egress by vouchers.
pragma solidity 0.8.37;

import {Billing} from "../Billing.sol";
import {Agreement, IAgreements, State} from "../IAgreements.sol";
import {Voucher} from "../Papers.sol";
import {Pots} from "../Pots.sol";
import {AgreementId, currentTime} from "../Types.sol";
import {AgreementsBase} from "./AgreementsBase.sol";

/// @title The part of the agreements that settles, tops up and redeems.
abstract contract Paying is AgreementsBase {
    /// @inheritdoc IAgreements
    function settle(AgreementId id) external {
        _settle(id, _in(id, State.Active));
    }

    /// @inheritdoc IAgreements
    function topUp(AgreementId id, uint128 held, uint128 allowance) external {
        Agreement storage agreement = _at(id);
        require(
            agreement.state == State.Pending || agreement.state == State.Active,
            WrongState({agreement: id, state: agreement.state})
        );
        require(msg.sender == agreement.producer, NotParty({agreement: id, caller: msg.sender}));
        require(!_isLapsed(agreement), Lapsed({agreement: id, paidUntil: _paidUntil(agreement)}));
        agreement.funded += held;
        agreement.allowance += allowance;
        _hold(Pots.held(id), msg.sender, held);
        _hold(Pots.allowance(id), msg.sender, allowance);
        emit ToppedUp({agreement: id, held: held, allowance: allowance, paidUntil: _paidUntil(agreement)});
    }

    /// @inheritdoc IAgreements
    function redeem(Voucher calldata voucher, bytes calldata producerSignature) external {
        AgreementId id = voucher.agreement;
        Agreement storage agreement = _running(id);
        _requireSigner(hashVoucher(voucher), producerSignature, agreement.producer);

        uint128 vouched = agreement.vouched;
        bool isActive = agreement.state == State.Active;
        // A voucher that the allowance did not cover works again after a top-up.
        bool isOwed = isActive && voucher.amount == vouched && _egressOwed(agreement) > 0;
        require(
            voucher.amount > vouched || isOwed,
            VoucherNotNewer({agreement: id, amount: voucher.amount, current: vouched})
        );
        agreement.vouched = voucher.amount;
        emit Vouched({agreement: id, amount: voucher.amount});
        if (isActive) _payEgress(id, agreement);
    }

    /// Pays what is owed for storage until now, as far as held.
    function _settle(AgreementId id, Agreement storage agreement) internal {
        uint128 amount = Billing.payableNow({
            owed: _owedAt(agreement, currentTime()), funded: agreement.funded, paid: agreement.paid
        });
        if (amount == 0) return;
        agreement.paid += amount;
        _pay(Pots.held(id), agreement.consumer, amount);
        emit Settled({agreement: id, consumer: agreement.consumer, amount: amount, until: currentTime()});
    }

    /// Pays what vouchers say, as far as the allowance goes.
    function _payEgress(AgreementId id, Agreement storage agreement) internal returns (uint128 amount) {
        amount = _egressOwed(agreement);
        if (amount == 0) return 0;
        agreement.redeemed += amount;
        _pay(Pots.allowance(id), agreement.consumer, amount);
        emit Redeemed({agreement: id, consumer: agreement.consumer, amount: amount});
    }

    function _egressOwed(Agreement storage agreement) private view returns (uint128) {
        return Billing.payableNow({owed: agreement.vouched, funded: agreement.allowance, paid: agreement.redeemed});
    }
}
