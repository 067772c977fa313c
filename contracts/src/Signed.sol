// SPDX-License-Identifier: MIT OR Apache-2.0
// Who signed a message.
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Messages} from "./Messages.sol";

/// @title A contract that takes signed messages, in the EIP-712 domain of this chain and this contract.
abstract contract Signed is EIP712 {
    constructor() EIP712(Messages.NAME, Messages.VERSION) {}

    /// What is signed for a struct hash.
    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return _hashTypedDataV4(structHash);
    }

    /// The account that signed. Reverts for what is no signature of 65 bytes, or not the canonical one of two.
    function _signer(bytes32 digest, bytes calldata signature) internal pure returns (address) {
        return ECDSA.recover(digest, signature);
    }
}
