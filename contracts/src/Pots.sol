// SPDX-License-Identifier: MIT OR Apache-2.0
// The names of the sums in the vault. Each market has its own, so equal names of two markets are different pots.
pragma solidity 0.8.37;

import {Role} from "./IRegistry.sol";
import {AgreementId, DisputeId, OfferId, PotId} from "./Types.sol";

/// @title What each sum in the vault is for.
library Pots {
    // Of the agreements: money for storage, money for egress, the consumer's collateral.

    function held(AgreementId agreement) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("held", agreement)));
    }

    function allowance(AgreementId agreement) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("allowance", agreement)));
    }

    function collateral(AgreementId agreement) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("collateral", agreement)));
    }

    // Of the registry.

    function activation(address account, Role role) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("activation", account, role)));
    }

    function offer(OfferId id) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("offer", id)));
    }

    // Of the disputes: the challenger's bond, what a slash leaves for repair.

    function bond(DisputeId dispute) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("bond", dispute)));
    }

    function repair(DisputeId dispute) internal pure returns (PotId) {
        return PotId.wrap(keccak256(abi.encode("repair", dispute)));
    }
}
