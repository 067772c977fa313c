// SPDX-License-Identifier: MIT OR Apache-2.0
// What is signed: EIP-712 type strings and hashes of structs.
pragma solidity 0.8.37;

import {Mandate} from "./IMandates.sol";
import {Activation} from "./IRegistry.sol";
import {Release, Revision, Terms, Voucher} from "./Papers.sol";

/// @title Struct hashes of the signed messages.
/// @notice The domain is `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)` with
/// name "OpenBucket" and version "1"; the verifying contract is the one that takes the message: `Registry` for an
/// Activation, `Mandates` for a Mandate, `Agreements` for the others. All members are static, so a struct's
/// encoding is that of `abi.encode`.
library Messages {
    string internal constant NAME = "OpenBucket";
    string internal constant VERSION = "1";

    bytes32 internal constant ACTIVATION =
        keccak256("Activation(address account,bytes32 id,uint8 role,uint128 payment,uint64 deadline)");
    bytes32 internal constant MANDATE = keccak256(
        "Mandate(address producer,address delegate,bytes32 bucket,uint128 storagePrice,uint64 capacityBytes,"
        "uint64 expiry,bytes32 salt)"
    );
    bytes32 internal constant TERMS = keccak256(
        "Terms(address producer,address consumer,uint64 offer,bytes32 bucket,bytes32 mandate,uint128 storagePrice,"
        "uint128 egressPrice,uint128 collateralPerGiB,uint64 capacityBytes,uint128 held,uint128 allowance,"
        "uint64 earliestEnd,uint64 deadline,bytes32 salt)"
    );
    bytes32 internal constant REVISION = keccak256(
        "Revision(bytes32 agreement,uint64 number,bytes32 root,uint32 shardCount,uint64 storedBytes,"
        "uint128 storagePrice,uint128 egressPrice,uint64 asOf,uint128 earned)"
    );
    bytes32 internal constant RELEASE = keccak256("Release(bytes32 agreement,uint64 number,uint64 storedBytes)");
    bytes32 internal constant VOUCHER = keccak256("Voucher(bytes32 agreement,uint128 amount)");

    function hash(Activation calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACTIVATION, message));
    }

    function hash(Mandate calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(MANDATE, message));
    }

    function hash(Terms calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(TERMS, message));
    }

    function hash(Revision calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(REVISION, message));
    }

    function hash(Release calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(RELEASE, message));
    }

    function hash(Voucher calldata message) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER, message));
    }
}
