// SPDX-License-Identifier: MIT OR Apache-2.0
// What disputes do to the collateral of an agreement.
pragma solidity 0.8.37;

import {Agreement, IAgreements} from "../IAgreements.sol";
import {Pots} from "../Pots.sol";
import {AgreementId, PotId} from "../Types.sol";
import {AgreementsBase} from "./AgreementsBase.sol";

/// @title The part of the agreements that disputes use.
/// @notice `claimed` is the sum of the claims of open disputes, and never more than `collateral`.
abstract contract Staking is AgreementsBase {
    modifier onlyDisputes() {
        require(msg.sender == DISPUTES, NotDisputes(msg.sender));
        _;
    }

    /// @inheritdoc IAgreements
    function claim(AgreementId id, uint128 asked) external onlyDisputes returns (uint128 granted) {
        Agreement storage agreement = _at(id);
        require(_isDisputable(agreement), NotDisputable(id));
        uint128 unclaimed = agreement.collateral - agreement.claimed;
        granted = asked < unclaimed ? asked : unclaimed;
        require(granted > 0, CollateralExhausted(id));
        agreement.claimed += granted;
        agreement.openDisputes += 1;
    }

    /// @inheritdoc IAgreements
    function unclaim(AgreementId id, uint128 amount) external onlyDisputes {
        Agreement storage agreement = _at(id);
        agreement.claimed -= amount;
        agreement.openDisputes -= 1;
    }

    /// @inheritdoc IAgreements
    function slash(AgreementId id, uint128 amount, PotId repairPot) external onlyDisputes {
        Agreement storage agreement = _at(id);
        agreement.claimed -= amount;
        agreement.openDisputes -= 1;
        agreement.collateral -= amount;
        uint128 toProducer = amount / 2;
        uint128 toRepair = amount - toProducer;
        _pay(Pots.collateral(id), agreement.producer, toProducer);
        VAULT.shift({pot: Pots.collateral(id), toMarket: DISPUTES, toPot: repairPot, amount: toRepair});
        emit Slashed({agreement: id, toProducer: toProducer, toRepair: toRepair});
    }
}
