// SPDX-License-Identifier: MIT OR Apache-2.0
// The money of everybody, and nothing else.
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

import {IVault} from "./IVault.sol";
import {PotId} from "./Types.sol";

/// @title The only contract that touches ether.
/// @notice Its invariants:
///
/// 1. Conservation: the sum of all balances and pots is `claims()`, and the contract's ether is at least that. (It is more only
///    by ether that was forced upon it outside `deposit`; nobody has a claim on that.)
/// 2. Only `deposit` adds to the claims, only `withdraw` takes from them: by exactly the ether that moves.
/// 3. No balance and no pot is ever negative: a move of more than is there reverts.
/// 4. A pot changes only by calls of its own market, or is added to by another market. Balances shrink only by their own
///    account's `withdraw` or by a market's `hold`.
/// 5. The markets are fixed when the vault is made. There is no owner, no pause, no upgrade.
contract Vault is IVault {
    address private immutable REGISTRY;
    address private immutable AGREEMENTS;
    address private immutable DISPUTES;

    /// @inheritdoc IVault
    uint256 public claims;
    /// @inheritdoc IVault
    mapping(address account => uint256) public balanceOf;
    /// @inheritdoc IVault
    mapping(address market => mapping(PotId pot => uint256)) public contentOf;

    modifier onlyMarket() {
        require(isMarket(msg.sender), NotMarket(msg.sender));
        _;
    }

    constructor(address registry, address agreements, address disputes) {
        REGISTRY = registry;
        AGREEMENTS = agreements;
        DISPUTES = disputes;
    }

    /// @inheritdoc IVault
    function deposit(address account) external payable {
        require(msg.value > 0, NothingDeposited());
        claims += msg.value;
        balanceOf[account] += msg.value;
        emit Deposited({account: account, payer: msg.sender, amount: msg.value});
    }

    /// @inheritdoc IVault
    function withdraw(uint256 amount, address payable to) external {
        _takeFromBalance(msg.sender, amount);
        claims -= amount;
        emit Withdrawn({account: msg.sender, to: to, amount: amount});
        Address.sendValue(to, amount);
    }

    /// @inheritdoc IVault
    function hold(PotId pot, address account, uint256 amount) external onlyMarket {
        _takeFromBalance(account, amount);
        contentOf[msg.sender][pot] += amount;
        emit Held({market: msg.sender, pot: pot, account: account, amount: amount});
    }

    /// @inheritdoc IVault
    function pay(PotId pot, address account, uint256 amount) external onlyMarket {
        _takeFromPot(pot, amount);
        balanceOf[account] += amount;
        emit Paid({market: msg.sender, pot: pot, account: account, amount: amount});
    }

    /// @inheritdoc IVault
    function shift(PotId pot, address toMarket, PotId toPot, uint256 amount) external onlyMarket {
        require(isMarket(toMarket), NotMarket(toMarket));
        _takeFromPot(pot, amount);
        contentOf[toMarket][toPot] += amount;
        emit Shifted({market: msg.sender, pot: pot, toMarket: toMarket, toPot: toPot, amount: amount});
    }

    /// @inheritdoc IVault
    function isMarket(address caller) public view returns (bool) {
        return caller == REGISTRY || caller == AGREEMENTS || caller == DISPUTES;
    }

    function _takeFromBalance(address account, uint256 amount) private {
        uint256 balance = balanceOf[account];
        require(amount <= balance, InsufficientBalance({account: account, balance: balance, asked: amount}));
        balanceOf[account] = balance - amount;
    }

    function _takeFromPot(PotId pot, uint256 amount) private {
        uint256 content = contentOf[msg.sender][pot];
        require(amount <= content, InsufficientPot({pot: pot, content: content, asked: amount}));
        contentOf[msg.sender][pot] = content - amount;
    }
}
