// SPDX-License-Identifier: MIT OR Apache-2.0
// Agreements, put together from their parts.
pragma solidity 0.8.37;

import {AgreementsBase} from "./agreements/AgreementsBase.sol";
import {Ending} from "./agreements/Ending.sol";
import {Opening} from "./agreements/Opening.sol";
import {Revising} from "./agreements/Revising.sol";
import {Staking} from "./agreements/Staking.sol";
import {Batch} from "./Batch.sol";
import {IMandates} from "./IMandates.sol";
import {IRegistry} from "./IRegistry.sol";
import {IVault} from "./IVault.sol";

/// @title The running contracts of producers with consumers.
/// @notice Its invariants, for each agreement:
///
/// 1. `paid <= funded`, `redeemed <= allowance`, `claimed <= collateral`; its pots in the vault hold exactly
///    `funded - paid`, `allowance - redeemed` and `collateral`.
/// 2. An id is used once; Cancelled and Finished are for ever, and their pots are empty.
/// 3. `number` never falls, and no revision is replaced by one with a lower number.
/// 4. `paid` never exceeds what is owed by the revision that was newest on chain at a settlement, nor what was funded.
/// 5. While disputes are open, `collateral` does not shrink but by their own slashes, and nothing finishes.
contract Agreements is Opening, Revising, Ending, Staking, Batch {
    constructor(IVault vault, IRegistry registry, IMandates mandates, address disputes)
        AgreementsBase(vault, registry, mandates, disputes)
    {}
}
