// SPDX-License-Identifier: MIT OR Apache-2.0
// What others may ask of the vault.
pragma solidity 0.8.37;

import {PotId} from "./Types.sol";

/// @title The only contract that touches ether.
/// @notice Money belongs to an account (its balance: free, to withdraw at will) or to a pot of a market (held back for an
/// agreement, an offer, a dispute, ...). Anybody pays in, accounts withdraw, markets move.
interface IVault {
    /// Ether came in, and is free for the account.
    event Deposited(address indexed account, address indexed payer, uint256 amount);
    /// Ether went out of the account's balance.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    /// Money of the account went into a pot.
    event Held(address indexed market, PotId indexed pot, address indexed account, uint256 amount);
    /// Money of a pot went to the account's balance.
    event Paid(address indexed market, PotId indexed pot, address indexed account, uint256 amount);
    /// Money of a pot went into another one.
    event Shifted(address indexed market, PotId indexed pot, address indexed toMarket, PotId toPot, uint256 amount);

    /// Only the contracts that the vault was made with move money, and only between themselves.
    error NotMarket(address caller);
    /// The account has less than the call would take.
    error InsufficientBalance(address account, uint256 balance, uint256 asked);
    /// The pot holds less than the call would take.
    error InsufficientPot(PotId pot, uint256 content, uint256 asked);
    /// A deposit came without ether.
    error NothingDeposited();

    /// Adds the ether sent with the call to the account's balance. Anybody may pay for anybody.
    function deposit(address account) external payable;

    /// Sends ether out of the caller's own balance.
    function withdraw(uint256 amount, address payable to) external;

    /// From an account's balance into a pot of the calling market. Markets only.
    function hold(PotId pot, address account, uint256 amount) external;

    /// From a pot of the calling market to an account's balance. Markets only.
    function pay(PotId pot, address account, uint256 amount) external;

    /// From a pot of the calling market into one of a market. Markets only.
    function shift(PotId pot, address toMarket, PotId toPot, uint256 amount) external;

    /// What the account may withdraw now.
    function balanceOf(address account) external view returns (uint256);

    /// What the pot holds.
    function contentOf(address market, PotId pot) external view returns (uint256);

    /// The sum of all balances and pots.
    function claims() external view returns (uint256);

    /// Whether this contract may move money between balances and its pots.
    function isMarket(address caller) external view returns (bool);
}
