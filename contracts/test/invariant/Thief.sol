// SPDX-License-Identifier: MIT OR Apache-2.0
// An account that calls back while it is paid.
pragma solidity 0.8.37;

import {Vault} from "../../src/Vault.sol";

contract Thief {
    Vault private immutable VAULT;
    uint256 private _amount;
    uint256 private _rounds;
    address private _target;
    bytes private _call;
    /// Whether the call to somebody else's money worked.
    bool public hasStolen;

    constructor(Vault vault) {
        VAULT = vault;
    }

    /// Withdraws, again from within, up to so many times in all; and once makes this call.
    function rob(uint256 amount, uint256 rounds, address target, bytes calldata call) external returns (bool isDone) {
        (_amount, _rounds, _target, _call) = (amount, rounds, target, call);
        (isDone,) = address(VAULT).call(abi.encodeCall(Vault.withdraw, (amount, payable(this))));
    }

    receive() external payable {
        if (_call.length > 0) {
            bytes memory call = _call;
            delete _call;
            (bool isDone,) = _target.call(call);
            hasStolen = hasStolen || isDone;
        }
        if (_rounds < 2) return;
        _rounds -= 1;
        (bool isPaid,) = address(VAULT).call(abi.encodeCall(Vault.withdraw, (_amount, payable(this))));
        // Not to fail is the point: what was got so far stays.
        if (!isPaid) _rounds = 0;
    }
}
