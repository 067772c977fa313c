// SPDX-License-Identifier: MIT OR Apache-2.0
// What the vault promises.
pragma solidity 0.8.37;

import {IVault} from "../src/IVault.sol";
import {PotId} from "../src/Types.sol";
import {Vault} from "../src/Vault.sol";
import {vm} from "./support/Vm.sol";

/// @dev An account that asks for its money once more while it is being paid.
contract Greedy {
    Vault private immutable VAULT;
    bool private _hasAsked;

    constructor(Vault vault) {
        VAULT = vault;
    }

    function take(uint256 amount) external {
        VAULT.withdraw(amount, payable(address(this)));
    }

    receive() external payable {
        if (_hasAsked) return;
        _hasAsked = true;
        try this.take(msg.value) {} catch {}
    }
}

contract VaultTest {
    PotId private constant POT = PotId.wrap("pot");
    PotId private constant OTHER_POT = PotId.wrap("other pot");

    address private registry = vm.addr(1);
    address private agreements = vm.addr(2);
    address private disputes = vm.addr(3);
    address private alice = vm.addr(4);
    address private bob = vm.addr(5);
    Vault private vault = new Vault(registry, agreements, disputes);

    function setUp() public {
        vm.deal(address(this), 10 ether);
        vault.deposit{value: 10}(alice);
    }

    function test_a_deposit_belongs_to_the_account_that_is_named() public {
        vm.expectEmit(address(vault));
        emit IVault.Deposited(bob, address(this), 5);
        vault.deposit{value: 5}(bob);
        vm.assertEq(vault.balanceOf(bob), 5, "balance");
        vm.assertEq(vault.balanceOf(address(this)), 0, "the payer's");
        vm.assertEq(vault.claims(), 15, "claims");
    }

    function test_a_deposit_of_nothing_is_refused() public {
        vm.expectRevert(IVault.NothingDeposited.selector);
        vault.deposit(bob);
    }

    function test_ether_that_is_just_sent_is_refused() public {
        (bool isSent,) = address(vault).call{value: 1}("");
        vm.assertFalse(isSent, "sent");
    }

    function test_an_account_withdraws_its_balance_to_where_it_likes() public {
        address fresh = vm.addr(77);
        vm.prank(alice);
        vault.withdraw(4, payable(fresh));
        vm.assertEq(fresh.balance, 4, "ether");
        vm.assertEq(vault.balanceOf(alice), 6, "balance");
        vm.assertEq(vault.claims(), 6, "claims");
        vm.assertEq(address(vault).balance, 6, "the vault's ether");
    }

    function test_nobody_withdraws_more_than_it_has() public {
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientBalance.selector, alice, 10, 11));
        vault.withdraw(11, payable(alice));
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientBalance.selector, bob, 0, 1));
        vault.withdraw(1, payable(bob));
    }

    function test_a_withdrawal_that_calls_back_gets_nothing_twice() public {
        Greedy greedy = new Greedy(vault);
        vault.deposit{value: 3}(address(greedy));
        greedy.take(3);
        vm.assertEq(address(greedy).balance, 3, "what it got");
        vm.assertEq(vault.balanceOf(address(greedy)), 0, "what it may still have");
        vm.assertEq(address(vault).balance, 10, "others' money");
    }

    function test_a_withdrawal_that_is_not_accepted_changes_nothing() public {
        vm.prank(alice);
        vm.expectRevert();
        vault.withdraw(1, payable(address(vault)));
        vm.assertEq(vault.balanceOf(alice), 10, "balance");
    }

    function test_only_markets_move_money() public {
        for (uint256 key = 4; key < 6; key++) {
            address caller = vm.addr(key);
            bytes memory refusal = abi.encodeWithSelector(IVault.NotMarket.selector, caller);
            vm.prank(caller);
            vm.expectRevert(refusal);
            vault.hold(POT, alice, 1);
            vm.prank(caller);
            vm.expectRevert(refusal);
            vault.pay(POT, alice, 1);
            vm.prank(caller);
            vm.expectRevert(refusal);
            vault.shift(POT, agreements, POT, 1);
        }
    }

    function test_a_market_holds_shifts_and_pays() public {
        vm.prank(registry);
        vault.hold(POT, alice, 10);
        vm.prank(registry);
        vault.shift(POT, agreements, OTHER_POT, 6);
        vm.prank(agreements);
        vault.pay(OTHER_POT, bob, 5);
        vm.assertEq(vault.balanceOf(alice), 0, "alice");
        vm.assertEq(vault.contentOf(registry, POT), 4, "first pot");
        vm.assertEq(vault.contentOf(agreements, OTHER_POT), 1, "second pot");
        vm.assertEq(vault.balanceOf(bob), 5, "bob");
        vm.assertEq(vault.claims(), 10, "claims");
    }

    function test_every_move_is_told() public {
        vm.expectEmit(address(vault));
        emit IVault.Held({market: registry, pot: POT, account: alice, amount: 8});
        vm.prank(registry);
        vault.hold(POT, alice, 8);
        vm.expectEmit(address(vault));
        emit IVault.Shifted({market: registry, pot: POT, toMarket: disputes, toPot: OTHER_POT, amount: 6});
        vm.prank(registry);
        vault.shift(POT, disputes, OTHER_POT, 6);
        vm.expectEmit(address(vault));
        emit IVault.Paid({market: disputes, pot: OTHER_POT, account: bob, amount: 5});
        vm.prank(disputes);
        vault.pay(OTHER_POT, bob, 5);
        vm.expectEmit(address(vault));
        emit IVault.Withdrawn({account: bob, to: alice, amount: 4});
        vm.prank(bob);
        vault.withdraw(4, payable(alice));
    }

    function test_a_market_cannot_reach_the_pot_of_another() public {
        vm.prank(registry);
        vault.hold(POT, alice, 10);
        vm.prank(disputes);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientPot.selector, POT, 0, 1));
        vault.pay(POT, bob, 1);
        vm.prank(agreements);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientPot.selector, POT, 0, 1));
        vault.shift(POT, agreements, POT, 1);
    }

    function test_money_is_shifted_to_markets_only() public {
        vm.prank(registry);
        vault.hold(POT, alice, 10);
        vm.prank(registry);
        vm.expectRevert(abi.encodeWithSelector(IVault.NotMarket.selector, bob));
        vault.shift(POT, bob, POT, 1);
    }

    function test_more_than_a_balance_or_a_pot_has_is_not_moved() public {
        vm.prank(registry);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientBalance.selector, alice, 10, 11));
        vault.hold(POT, alice, 11);
        vm.prank(registry);
        vault.hold(POT, alice, 10);
        vm.prank(registry);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientPot.selector, POT, 10, 11));
        vault.pay(POT, alice, 11);
    }

    function test_forced_ether_belongs_to_nobody() public {
        vm.deal(address(vault), 13);
        vm.assertEq(address(vault).balance, 13, "ether");
        vm.assertEq(vault.claims(), 10, "claims");
    }

    function testFuzz_whatever_moves_the_sum_of_the_claims_stays(uint96[6] memory amounts, uint8[6] memory kinds)
        public
    {
        uint256 total = 0;
        for (uint256 step = 0; step < 6; step++) {
            uint256 amount = uint256(amounts[step]) % 1 ether + 1;
            vm.deal(address(this), amount);
            vault.deposit{value: amount}(bob);
            total += amount;
            vm.prank(agreements);
            vault.hold(POT, bob, amount);
            if (kinds[step] % 3 == 0) {
                vm.prank(agreements);
                vault.pay(POT, alice, amount / 2);
            } else if (kinds[step] % 3 == 1) {
                vm.prank(agreements);
                vault.shift(POT, disputes, OTHER_POT, amount);
            }
            uint256 sum = vault.balanceOf(alice) + vault.balanceOf(bob) + vault.contentOf(agreements, POT)
                + vault.contentOf(disputes, OTHER_POT);
            vm.assertEq(sum, 10 + total, "sum");
            vm.assertEq(vault.claims(), sum, "claims");
            vm.assertEq(address(vault).balance, sum, "ether");
        }
    }
}
