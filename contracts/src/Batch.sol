// SPDX-License-Identifier: MIT OR Apache-2.0
// Several calls in one transaction, of which some may fail.
pragma solidity 0.8.37;

/// @title Calls that stand and fall alone.
/// @notice The caller stays the caller, as nothing here takes ether with a call.
abstract contract Batch {
    /// The call at this place of a batch reverted, with this answer; the others stand.
    event ItemFailed(uint256 indexed index, bytes reason);

    /// Makes each call as the caller. One that fails undoes only itself and is reported.
    function batch(bytes[] calldata calls) external returns (bool[] memory successes) {
        successes = new bool[](calls.length);
        for (uint256 index = 0; index < calls.length; index++) {
            (bool isDone, bytes memory answer) = address(this).delegatecall(calls[index]);
            successes[index] = isDone;
            if (!isDone) emit ItemFailed({index: index, reason: answer});
        }
    }
}
