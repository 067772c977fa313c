// SPDX-License-Identifier: MIT OR Apache-2.0
// The order in which the contracts are made, so that each knows the others from the first moment.
pragma solidity 0.8.37;

import {Agreements} from "../src/Agreements.sol";
import {Disputes} from "../src/Disputes.sol";
import {Mandates} from "../src/Mandates.sol";
import {Registry} from "../src/Registry.sol";
import {Duration} from "../src/Types.sol";
import {Vault} from "../src/Vault.sol";
import {vm} from "../test/support/Vm.sol";

struct Settings {
    address treasury;
    uint128 minimumPayment;
    Duration activationWait;
    uint128 bond;
}

struct Suite {
    Vault vault;
    Registry registry;
    Mandates mandates;
    Agreements agreements;
    Disputes disputes;
}

library Deployment {
    error DeployedElsewhere(address contractAddress, address expected);

    /// Makes all five, as `deployer`, in transactions that follow each other.
    function deploy(address deployer, Settings memory settings) internal returns (Suite memory suite) {
        uint256 nonce = vm.getNonce(deployer);
        Vault vault = Vault(vm.computeCreateAddress(deployer, nonce));
        Registry registry = Registry(vm.computeCreateAddress(deployer, nonce + 1));
        Mandates mandates = Mandates(vm.computeCreateAddress(deployer, nonce + 2));
        Agreements agreements = Agreements(vm.computeCreateAddress(deployer, nonce + 3));
        Disputes disputes = Disputes(vm.computeCreateAddress(deployer, nonce + 4));

        suite.vault =
            new Vault({registry: address(registry), agreements: address(agreements), disputes: address(disputes)});
        suite.registry = new Registry({
            vault: vault,
            agreements: address(agreements),
            treasury_: settings.treasury,
            minimumPayment_: settings.minimumPayment,
            activationWait_: settings.activationWait
        });
        suite.mandates = new Mandates({agreements: agreements});
        suite.agreements =
            new Agreements({vault: vault, registry: registry, mandates: mandates, disputes: address(disputes)});
        suite.disputes = new Disputes({vault: vault, agreements: agreements, mandates: mandates, bond_: settings.bond});

        _requireAt(address(suite.vault), address(vault));
        _requireAt(address(suite.registry), address(registry));
        _requireAt(address(suite.mandates), address(mandates));
        _requireAt(address(suite.agreements), address(agreements));
        _requireAt(address(suite.disputes), address(disputes));
    }

    function _requireAt(address contractAddress, address expected) private pure {
        require(contractAddress == expected, DeployedElsewhere(contractAddress, expected));
    }
}
