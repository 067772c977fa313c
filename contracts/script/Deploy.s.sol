// SPDX-License-Identifier: MIT OR Apache-2.0
// Deploys everything: forge script script/Deploy.s.sol --broadcast --rpc-url ... --private-key ...
pragma solidity 0.8.37;

import {Duration} from "../src/Types.sol";
import {vm} from "../test/support/Vm.sol";
import {Deployment, Settings, Suite} from "./Deployment.sol";

/// @notice Settings come from the environment: OPENBUCKET_TREASURY, OPENBUCKET_MINIMUM_PAYMENT_WEI,
/// OPENBUCKET_ACTIVATION_WAIT_SECONDS, OPENBUCKET_BOND_WEI.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    function run() external returns (Suite memory suite) {
        Settings memory settings = Settings({
            treasury: vm.envOr("OPENBUCKET_TREASURY", msg.sender),
            minimumPayment: uint128(vm.envOr("OPENBUCKET_MINIMUM_PAYMENT_WEI", uint256(0.001 ether))),
            activationWait: Duration.wrap(uint64(vm.envOr("OPENBUCKET_ACTIVATION_WAIT_SECONDS", uint256(2 days)))),
            bond: uint128(vm.envOr("OPENBUCKET_BOND_WEI", uint256(0.001 ether)))
        });
        vm.startBroadcast();
        suite = Deployment.deploy(msg.sender, settings);
        vm.stopBroadcast();
    }
}
