// SPDX-License-Identifier: MIT OR Apache-2.0
// Activations and offers.
pragma solidity 0.8.37;

import {Activation, IRegistry, Offer, OfferTerms, Role} from "../src/IRegistry.sol";
import {IVault} from "../src/IVault.sol";
import {Terms} from "../src/Papers.sol";
import {Pots} from "../src/Pots.sol";
import {OfferId, Timestamp} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {Party, World} from "./support/World.sol";

contract RegistryTest is World {
    function setUp() public override {
        super.setUp();
        _fund(stranger.account, 1 ether);
    }

    // Activation

    function test_an_activation_counts_after_the_wait() public {
        _activate(stranger, Role.Producer);
        vm.assertFalse(registry.isActive(stranger.account, Role.Producer), "at once");
        _pass(WAIT - 1);
        vm.assertFalse(registry.isActive(stranger.account, Role.Producer), "a second too early");
        _pass(1);
        vm.assertTrue(registry.isActive(stranger.account, Role.Producer), "after the wait");
        vm.assertFalse(registry.isActive(stranger.account, Role.Consumer), "in the other role");
    }

    function test_anybody_may_bring_an_activation_but_only_the_account_signs_it() public {
        Activation memory activation = _activation(stranger, Role.Consumer);
        bytes memory forged = _sign(producer, registry.hashActivation(activation));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.WrongSigner.selector, producer.account, stranger.account));
        registry.activate(activation, forged);
        bytes memory signature = _sign(stranger, registry.hashActivation(activation));
        vm.prank(consumer.account);
        registry.activate(activation, signature);
        (bytes32 id, uint128 payment,) = registry.activationOf(stranger.account, Role.Consumer);
        vm.assertEq(id, activation.id, "id");
        vm.assertEq(payment, MINIMUM, "payment");
    }

    function test_an_activation_is_bound_to_its_id_and_role() public {
        (Activation memory activation, bytes memory signature) = _signedActivation(stranger, Role.Consumer);
        activation.id = "another id";
        vm.expectRevert();
        registry.activate(activation, signature);
        activation = _activation(stranger, Role.Consumer);
        activation.role = Role.Producer;
        vm.expectRevert();
        registry.activate(activation, signature);
    }

    function test_less_than_the_minimum_does_not_activate() public {
        Activation memory activation = _activation(stranger, Role.Consumer);
        activation.payment = MINIMUM - 1;
        bytes memory signature = _sign(stranger, registry.hashActivation(activation));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BelowMinimum.selector, MINIMUM - 1, MINIMUM));
        registry.activate(activation, signature);
    }

    function test_an_activation_past_its_deadline_is_refused() public {
        (Activation memory activation, bytes memory signature) = _signedActivation(stranger, Role.Consumer);
        _pass(1 hours + 1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Expired.selector, activation.deadline));
        registry.activate(activation, signature);
        (activation, signature) = _signedActivation(stranger, Role.Consumer);
        _pass(1 hours);
        registry.activate(activation, signature);
    }

    function test_a_pending_activation_is_paid_back_in_full_and_its_signature_is_used_up() public {
        (Activation memory activation, bytes memory signature) = _signedActivation(stranger, Role.Consumer);
        registry.activate(activation, signature);
        vm.assertEq(vault.balanceOf(stranger.account), 1 ether - MINIMUM, "paid");
        vm.prank(stranger.account);
        registry.withdrawActivation(Role.Consumer);
        vm.assertEq(vault.balanceOf(stranger.account), 1 ether, "paid back");
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AlreadyUsed.selector, registry.hashActivation(activation)));
        registry.activate(activation, signature);
    }

    function test_after_the_wait_nothing_is_paid_back_and_the_treasury_gets_it_once() public {
        _activate(stranger, Role.Consumer);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.StillPending.selector, _after(WAIT)));
        registry.collect(stranger.account, Role.Consumer);
        _pass(WAIT);
        vm.prank(stranger.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotPending.selector, stranger.account, Role.Consumer));
        registry.withdrawActivation(Role.Consumer);
        registry.collect(stranger.account, Role.Consumer);
        vm.assertEq(vault.balanceOf(treasury), MINIMUM, "the treasury's");
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotPending.selector, stranger.account, Role.Consumer));
        registry.collect(stranger.account, Role.Consumer);
        vm.assertTrue(registry.isActive(stranger.account, Role.Consumer), "still active");
    }

    function test_an_account_is_activated_once_in_a_role() public {
        (Activation memory activation, bytes memory signature) = _signedActivation(consumer, Role.Consumer);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AlreadyActivated.selector, consumer.account, Role.Consumer));
        registry.activate(activation, signature);
    }

    // Offers

    function test_an_offer_holds_collateral_for_its_capacity() public view {
        uint256 expected = uint256(4 * CAPACITY / GIB) * COLLATERAL_PER_GIB;
        vm.assertEq(vault.contentOf(address(registry), Pots.offer(offer)), expected, "pot");
        vm.assertEq(registry.offerOf(offer).collateral, expected, "record");
        vm.assertEq(registry.offerCount(), 2, "offers");
    }

    function test_only_an_active_consumer_offers() public {
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotActivated.selector, producer.account, Role.Consumer));
        registry.createOffer(_offerTerms(), new string[](0));
    }

    function test_an_offer_without_the_collateral_is_refused() public {
        OfferTerms memory terms = _offerTerms();
        terms.collateralPerGiB = 1 ether;
        vm.prank(consumer.account);
        vm.expectRevert();
        registry.createOffer(terms, new string[](0));
    }

    function test_an_offer_that_is_over_or_has_too_many_addresses_is_refused() public {
        OfferTerms memory terms = _offerTerms();
        terms.expiry = Timestamp.wrap(uint64(block.timestamp - 1));
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Expired.selector, terms.expiry));
        registry.createOffer(terms, new string[](0));
        vm.prank(consumer.account);
        vm.expectRevert(IRegistry.TooManyAddresses.selector);
        registry.createOffer(_offerTerms(), new string[](17));
        string[] memory addresses = new string[](1);
        addresses[0] = string(new bytes(257));
        vm.prank(consumer.account);
        vm.expectRevert(IRegistry.TooManyAddresses.selector);
        registry.createOffer(_offerTerms(), addresses);
    }

    function test_an_offer_may_end_now_and_have_as_many_addresses_as_clients_keep() public {
        OfferTerms memory terms = _offerTerms();
        (terms.expiry, terms.capacityBytes) = (_now(), 0);
        string[] memory addresses = new string[](16);
        addresses[15] = string(new bytes(256));
        vm.prank(consumer.account);
        OfferId id = registry.createOffer(terms, addresses);
        vm.assertTrue(registry.offerOf(id).isStanding, "standing");
    }

    function test_a_cancelled_offer_has_nothing_left() public {
        vm.expectEmit(address(registry));
        emit IRegistry.OfferCancelled(offer, consumer.account);
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        Offer memory gone = registry.offerOf(offer);
        vm.assertFalse(gone.isStanding, "standing");
        vm.assertEq(gone.terms.capacityBytes, 0, "capacity");
        vm.assertEq(gone.collateral, 0, "collateral");
    }

    function test_a_change_takes_or_gives_back_the_difference() public {
        uint256 balance = vault.balanceOf(consumer.account);
        OfferTerms memory terms = _offerTerms();
        terms.capacityBytes = 5 * CAPACITY;
        vm.prank(consumer.account);
        registry.changeOffer(offer, terms, new string[](0));
        uint256 share = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;
        vm.assertEq(vault.balanceOf(consumer.account), balance - share, "more");
        terms.capacityBytes = 0;
        vm.prank(consumer.account);
        registry.changeOffer(offer, terms, new string[](0));
        vm.assertEq(vault.balanceOf(consumer.account), balance + 4 * share, "none");
    }

    function test_only_its_consumer_changes_or_cancels_an_offer_and_only_while_it_stands() public {
        bytes memory refusal = abi.encodeWithSelector(IRegistry.NotYourOffer.selector, offer, second.account);
        vm.prank(second.account);
        vm.expectRevert(refusal);
        registry.changeOffer(offer, _offerTerms(), new string[](0));
        vm.prank(second.account);
        vm.expectRevert(refusal);
        registry.cancelOffer(offer);
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotStanding.selector, offer));
        registry.cancelOffer(offer);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotStanding.selector, offer));
        registry.changeOffer(offer, _offerTerms(), new string[](0));
    }

    function test_a_running_agreement_keeps_its_collateral_when_its_offer_goes() public {
        uint256 before = vault.balanceOf(consumer.account);
        uint256 share = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;
        Terms memory terms = _terms();
        _open(terms);
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        vm.assertEq(vault.balanceOf(consumer.account), before + 3 * share, "only the rest comes back");
        vm.assertEq(vault.contentOf(address(registry), Pots.offer(offer)), 0, "pot of the offer");
    }

    function test_only_the_agreements_take_from_an_offer() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAgreements.selector, address(this)));
        registry.take(offer, producer.account, consumer.account, 1, COLLATERAL_PER_GIB, Pots.offer(offer));
    }

    function testFuzz_an_offer_always_covers_what_is_left_of_it(uint128 perGiB, uint64 capacity, uint64 a, uint64 b)
        public
    {
        perGiB = perGiB % 1e9;
        capacity = capacity % (1 << 55);
        OfferTerms memory terms = _offerTerms();
        (terms.collateralPerGiB, terms.capacityBytes) = (perGiB, capacity);
        vm.prank(consumer.account);
        OfferId id = registry.createOffer(terms, new string[](0));
        uint64[2] memory parts = [a % (capacity + 1), 0];
        parts[1] = b % (capacity - parts[0] + 1);
        for (uint256 part = 0; part < 2; part++) {
            vm.prank(address(agreements));
            registry.take(id, producer.account, consumer.account, parts[part], perGiB, Pots.offer(id));
        }
        uint256 left = capacity - parts[0] - parts[1];
        vm.assertEq(registry.offerOf(id).terms.capacityBytes, left, "capacity");
        vm.assertGe(registry.offerOf(id).collateral, left * perGiB / GIB, "collateral");
        vm.assertEq(
            vault.contentOf(address(registry), Pots.offer(id)), registry.offerOf(id).collateral, "pot and record"
        );
    }

    function test_a_promise_of_money_that_is_not_there_changes_nothing() public {
        Party memory poor = _party("poor", 0x9009);
        (Activation memory activation, bytes memory signature) = _signedActivation(poor, Role.Producer);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientBalance.selector, poor.account, 0, MINIMUM));
        registry.activate(activation, signature);
    }

    function _signedActivation(Party memory party, Role role)
        private
        view
        returns (Activation memory activation, bytes memory signature)
    {
        activation = _activation(party, role);
        signature = _sign(party, registry.hashActivation(activation));
    }
}
