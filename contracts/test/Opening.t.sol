// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements begin, or come to nothing.
pragma solidity 0.8.37;

import {Agreement, IAgreements, State} from "../src/IAgreements.sol";
import {IRegistry, OfferTerms, Role} from "../src/IRegistry.sol";
import {IVault} from "../src/IVault.sol";
import {Revision, Terms} from "../src/Papers.sol";
import {Pots} from "../src/Pots.sol";
import {AgreementId, BucketId, OfferId, Timestamp} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

contract OpeningTest is World {
    uint256 private constant COLLATERAL = uint256(CAPACITY / GIB) * COLLATERAL_PER_GIB;

    function test_opening_takes_the_money_of_one_and_the_collateral_of_the_other() public {
        uint256 before = vault.balanceOf(producer.account);
        AgreementId id = _open(_terms());
        _assertState(id, State.Pending);
        vm.assertEq(vault.balanceOf(producer.account), before - HELD - ALLOWANCE, "the producer's balance");
        _assertPot(Pots.held(id), HELD, "held");
        _assertPot(Pots.allowance(id), ALLOWANCE, "allowance");
        _assertPot(Pots.collateral(id), COLLATERAL, "collateral");
        vm.assertEq(registry.offerOf(offer).terms.capacityBytes, 3 * CAPACITY, "what the offer has left");
    }

    function test_the_id_is_the_hash_of_all_terms() public {
        Terms memory terms = _terms();
        AgreementId id = _open(terms);
        vm.assertEq(AgreementId.unwrap(id), agreements.hashTerms(terms), "id");
    }

    function test_terms_open_one_agreement_for_ever() public {
        Terms memory terms = _terms();
        AgreementId id = _open(terms);
        bytes memory a = _sign(producer, agreements.hashTerms(terms));
        bytes memory b = _sign(consumer, agreements.hashTerms(terms));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.AlreadyUsed.selector, id));
        agreements.open(terms, a, b);
        vm.prank(producer.account);
        agreements.cancel(id);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.AlreadyUsed.selector, id));
        agreements.open(terms, a, b);
    }

    function test_both_must_have_signed_these_terms() public {
        Terms memory terms = _terms();
        bytes32 digest = agreements.hashTerms(terms);
        bytes memory a = _sign(producer, digest);
        bytes memory b = _sign(consumer, digest);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, consumer.account, producer.account));
        agreements.open(terms, b, b);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, producer.account, consumer.account));
        agreements.open(terms, a, a);
        terms.held += 1;
        vm.expectRevert();
        agreements.open(terms, a, b);
    }

    function test_one_key_cannot_be_both_parties() public {
        _fund(consumer.account, 1 ether);
        _activate(consumer, Role.Producer);
        _pass(WAIT);
        Terms memory terms = _terms();
        terms.producer = consumer.account;
        bytes memory signature = _sign(consumer, agreements.hashTerms(terms));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.SameParty.selector, consumer.account));
        agreements.open(terms, signature, signature);
    }

    function test_nobody_is_no_party() public {
        Terms memory terms = _terms();
        terms.producer = address(0);
        bytes memory signature = _sign(consumer, agreements.hashTerms(terms));
        vm.expectRevert(IAgreements.NoParty.selector);
        agreements.open(terms, new bytes(65), signature);
    }

    function test_after_the_deadline_nothing_is_opened() public {
        Terms memory terms = _terms();
        bytes memory a = _sign(producer, agreements.hashTerms(terms));
        bytes memory b = _sign(consumer, agreements.hashTerms(terms));
        _pass(1 hours + 1);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.Expired.selector, terms.deadline));
        agreements.open(terms, a, b);
    }

    function test_at_the_deadline_it_is_still_opened() public {
        Terms memory terms = _terms();
        _pass(1 hours);
        _assertState(_open(terms), State.Pending);
    }

    function test_what_the_offer_no_longer_offers_is_not_opened() public {
        OfferTerms memory short = _offerTerms();
        short.expiry = _after(1 hours);
        vm.prank(consumer.account);
        registry.changeOffer(offer, short, new string[](0));
        _pass(1 hours);
        _open(_terms());
        _pass(1);
        _expectRefused(_terms(), abi.encodeWithSelector(IRegistry.NotStanding.selector, offer));
    }

    function test_before_the_first_revision_the_producer_may_put_in_more() public {
        AgreementId id = _open(_terms());
        vm.prank(producer.account);
        agreements.topUp(id, 5, 6);
        _assertPot(Pots.held(id), HELD + 5, "held");
        _assertPot(Pots.allowance(id), ALLOWANCE + 6, "allowance");
    }

    function test_the_offer_must_be_the_consumers_and_stand_and_have_room() public {
        Terms memory terms = _terms();
        terms.offer = secondOffer;
        _expectRefused(terms, abi.encodeWithSelector(IRegistry.NotYourOffer.selector, secondOffer, consumer.account));
        terms = _terms();
        terms.offer = OfferId.wrap(99);
        _expectRefused(terms, abi.encodeWithSelector(IRegistry.NotYourOffer.selector, terms.offer, consumer.account));
        terms = _terms();
        terms.capacityBytes = 4 * CAPACITY + 1;
        _expectRefused(
            terms, abi.encodeWithSelector(IRegistry.CapacityExceeded.selector, offer, 4 * CAPACITY, 4 * CAPACITY + 1)
        );
        terms = _terms();
        vm.prank(consumer.account);
        registry.cancelOffer(offer);
        _expectRefused(terms, abi.encodeWithSelector(IRegistry.NotStanding.selector, offer));
    }

    function test_a_consumer_cannot_lower_the_collateral_under_a_signed_agreement() public {
        Terms memory terms = _terms();
        OfferTerms memory changed = _offerTerms();
        changed.collateralPerGiB = 1;
        vm.prank(consumer.account);
        registry.changeOffer(offer, changed, new string[](0));
        _expectRefused(terms, abi.encodeWithSelector(IRegistry.CollateralDiffers.selector, offer, COLLATERAL_PER_GIB));
    }

    function test_who_is_not_activated_opens_nothing() public {
        _fund(stranger.account, 1 ether);
        Terms memory terms = _terms();
        terms.producer = stranger.account;
        bytes memory a = _sign(stranger, agreements.hashTerms(terms));
        bytes memory b = _sign(consumer, agreements.hashTerms(terms));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotActivated.selector, stranger.account, Role.Producer));
        agreements.open(terms, a, b);
    }

    function test_what_the_producer_has_not_is_not_held() public {
        Terms memory terms = _terms();
        terms.held = 2 ether;
        uint256 balance = vault.balanceOf(producer.account);
        _expectRefused(
            terms, abi.encodeWithSelector(IVault.InsufficientBalance.selector, producer.account, balance, 2 ether)
        );
    }

    function test_before_the_first_revision_either_side_cancels_and_all_money_goes_back() public {
        for (uint256 turn = 0; turn < 2; turn++) {
            uint256 ours = vault.balanceOf(producer.account);
            uint256 theirs = vault.balanceOf(consumer.account);
            AgreementId id = _open(_terms());
            vm.prank(turn == 0 ? producer.account : consumer.account);
            agreements.cancel(id);
            _assertState(id, State.Cancelled);
            vm.assertEq(vault.balanceOf(producer.account), ours, "the producer's");
            vm.assertEq(vault.balanceOf(consumer.account), theirs + COLLATERAL, "the collateral, out of the offer");
            _assertPot(Pots.held(id), 0, "held");
            _assertPot(Pots.allowance(id), 0, "allowance");
            _assertPot(Pots.collateral(id), 0, "collateral");
        }
    }

    function test_only_a_party_cancels_and_only_once() public {
        AgreementId id = _open(_terms());
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotParty.selector, id, address(this)));
        agreements.cancel(id);
        vm.prank(producer.account);
        agreements.cancel(id);
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Cancelled));
        agreements.cancel(id);
    }

    function test_the_first_revision_activates_and_then_nobody_cancels() public {
        AgreementId id = _open(_terms());
        _submit(_revision(id, 1));
        _assertState(id, State.Active);
        vm.prank(producer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Active));
        agreements.cancel(id);
    }

    function test_roots_that_differ_do_not_activate() public {
        AgreementId id = _open(_terms());
        Revision memory ours = _revision(id, 1);
        Revision memory theirs = _revision(id, 1);
        theirs.storedBytes += 1;
        bytes memory a = _sign(producer, agreements.hashRevision(ours));
        bytes memory b = _sign(consumer, agreements.hashRevision(theirs));
        vm.expectRevert();
        agreements.submit(ours, a, b);
        _assertState(id, State.Pending);
    }

    function test_a_pending_agreement_pays_nobody() public {
        AgreementId id = _open(_terms());
        _pass(30 days);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Pending));
        agreements.settle(id);
        vm.prank(consumer.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Pending));
        agreements.end(id);
    }

    function test_zero_everything_is_an_ordinary_agreement() public {
        OfferTerms memory free = _offerTerms();
        (free.storagePrice, free.egressPrice, free.collateralPerGiB) = (0, 0, 0);
        vm.prank(consumer.account);
        OfferId freeOffer = registry.createOffer(free, new string[](0));
        Terms memory terms = _terms();
        (terms.offer, terms.storagePrice, terms.egressPrice, terms.collateralPerGiB, terms.held, terms.allowance) =
        (freeOffer, 0, 0, 0, 0, 0);
        AgreementId id = _open(terms);
        Revision memory revision = _revision(id, 1);
        revision.storagePrice = 0;
        _submit(revision);
        _pass(1000 days);
        agreements.settle(id);
        vm.assertEq(Timestamp.unwrap(agreements.paidUntil(id)), type(uint64).max, "paid for ever");
        _endAndFinish(id, producer);
        _assertState(id, State.Finished);
    }

    function test_the_record_says_what_was_signed() public {
        Terms memory terms = _terms();
        Agreement memory agreement = agreements.agreementOf(_open(terms));
        vm.assertEq(agreement.producer, terms.producer, "producer");
        vm.assertEq(agreement.consumer, terms.consumer, "consumer");
        vm.assertEq(agreement.opener, terms.producer, "opener");
        vm.assertEq(agreement.capacityBytes, terms.capacityBytes, "capacity");
        vm.assertEq(agreement.funded, terms.held, "funded");
        vm.assertEq(agreement.allowance, terms.allowance, "allowance");
        vm.assertEq(agreement.collateral, COLLATERAL, "collateral");
        vm.assertEq(agreement.storagePrice, terms.storagePrice, "price");
        vm.assertEq(agreement.egressPrice, terms.egressPrice, "egress price");
        vm.assertEq(agreement.collateralPerGiB, terms.collateralPerGiB, "collateral per GiB");
        vm.assertEq(BucketId.unwrap(agreement.bucket), BucketId.unwrap(terms.bucket), "bucket");
        vm.assertEq(Timestamp.unwrap(agreement.earliestEnd), Timestamp.unwrap(terms.earliestEnd), "earliest end");
        vm.assertEq(Timestamp.unwrap(agreement.asOf), block.timestamp, "as of");
        vm.assertEq(Timestamp.unwrap(agreement.basisAt), block.timestamp, "counted from");
    }

    function _expectRefused(Terms memory terms, bytes memory reason) private {
        bytes32 digest = agreements.hashTerms(terms);
        (bytes memory a, bytes memory b) = (_sign(producer, digest), _sign(consumer, digest));
        vm.expectRevert(reason);
        agreements.open(terms, a, b);
    }
}
