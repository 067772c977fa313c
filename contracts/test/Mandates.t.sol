// SPDX-License-Identifier: MIT OR Apache-2.0
// What a delegate may open, and what not.
pragma solidity 0.8.37;

import {IAgreements, State} from "../src/IAgreements.sol";
import {IMandates, Mandate, Placement} from "../src/IMandates.sol";
import {Role} from "../src/IRegistry.sol";
import {Revision, Terms} from "../src/Papers.sol";
import {AgreementId, BucketId, MandateId} from "../src/Types.sol";
import {Repairs} from "./support/Repairs.sol";
import {vm} from "./support/Vm.sol";

contract MandatesTest is Repairs {
    function test_a_mandate_is_signed_by_its_producer_and_accepted_once() public {
        Mandate memory terms = _mandate();
        terms.salt = "another";
        bytes memory forged = _sign(delegate, mandates.hashMandate(terms));
        vm.expectRevert(abi.encodeWithSelector(IMandates.WrongSigner.selector, delegate.account, producer.account));
        mandates.accept(terms, forged);
        terms = _mandate();
        bytes memory signature = _sign(producer, mandates.hashMandate(terms));
        vm.expectRevert(abi.encodeWithSelector(IMandates.AlreadyAccepted.selector, mandate));
        mandates.accept(terms, signature);
    }

    function test_a_delegate_opens_and_places_existing_shards() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        vm.assertEq(agreements.agreementOf(id).opener, delegate.account, "opener");
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        _place(revision, placements, delegate);
        _assertState(id, State.Active);
        (, uint64 usedBytes,) = mandates.mandateOf(mandate);
        vm.assertEq(usedBytes, GIB, "used");
    }

    function test_the_producer_takes_over_when_it_is_back() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        _place(revision, placements, delegate);
        revision = _revision(id, 2);
        revision.storedBytes = 0;
        _submitBy(revision, producer, second);
        vm.assertEq(agreements.newestNumber(id), 2, "number");
    }

    function test_a_delegate_stays_within_price_bytes_and_bucket() public {
        bytes memory refusal = abi.encodeWithSelector(IMandates.OutsideMandate.selector, mandate);
        Terms memory terms = _repairTerms();
        terms.storagePrice = PRICE + 1;
        _refuseOpening(terms, delegate, refusal);
        terms = _repairTerms();
        terms.capacityBytes = CAPACITY + 1;
        _refuseOpening(terms, delegate, refusal);
        terms = _repairTerms();
        terms.bucket = BucketId.wrap("another");
        _refuseOpening(terms, delegate, refusal);
        terms = _repairTerms();
        terms.mandate = MandateId.wrap("unknown");
        _refuseOpening(terms, delegate, abi.encodeWithSelector(IMandates.UnknownMandate.selector, terms.mandate));
    }

    function test_a_delegate_acts_for_its_producer_only() public {
        _fund(stranger.account, 1 ether);
        _activate(stranger, Role.Producer);
        _pass(WAIT);
        Terms memory terms = _repairTerms();
        terms.producer = stranger.account;
        _refuseOpening(terms, delegate, abi.encodeWithSelector(IMandates.OutsideMandate.selector, mandate));
    }

    function test_at_its_expiry_a_mandate_still_counts() public {
        _pass(60 days);
        Terms memory terms = _repairTerms();
        terms.held = 0;
        _openAsDelegate(terms);
    }

    function test_a_delegate_holds_no_more_money_than_the_mandate_lasts() public {
        Terms memory terms = _repairTerms();
        terms.held = 1000 * 60 days + 1;
        _refuseOpening(terms, delegate, abi.encodeWithSelector(IMandates.OutsideMandate.selector, mandate));
        terms.held = 1000 * 60 days;
        _openAsDelegate(terms);
    }

    function test_all_agreements_under_a_mandate_share_its_bytes() public {
        Terms memory terms = _repairTerms();
        terms.capacityBytes = CAPACITY - GIB + 1;
        _openAsDelegate(terms);
        _refuseOpening(_repairTerms(), delegate, abi.encodeWithSelector(IMandates.OutsideMandate.selector, mandate));
    }

    function test_a_cancelled_agreement_gives_its_bytes_back() public {
        Terms memory terms = _repairTerms();
        terms.capacityBytes = CAPACITY;
        AgreementId id = _openAsDelegate(terms);
        vm.prank(delegate.account);
        agreements.cancel(id);
        (, uint64 usedBytes,) = mandates.mandateOf(mandate);
        vm.assertEq(usedBytes, 0, "used");
    }

    function test_a_delegate_grants_no_egress_and_no_term() public {
        bytes memory refusal = abi.encodeWithSelector(IAgreements.OutsideMandate.selector);
        Terms memory terms = _repairTerms();
        terms.allowance = 1;
        _refuseOpening(terms, delegate, refusal);
        terms = _repairTerms();
        terms.earliestEnd = _after(1);
        _refuseOpening(terms, delegate, refusal);
    }

    function test_only_the_delegate_signs_under_its_mandate() public {
        _refuseOpening(
            _repairTerms(),
            stranger,
            abi.encodeWithSelector(IAgreements.WrongSigner.selector, stranger.account, delegate.account)
        );
    }

    function test_a_consumer_is_not_its_own_delegate() public {
        Mandate memory terms = _mandate();
        terms.delegate = second.account;
        MandateId own = _accept(terms);
        Terms memory repair = _repairTerms();
        repair.mandate = own;
        _refuseOpening(repair, second, abi.encodeWithSelector(IAgreements.SameParty.selector, second.account));
    }

    function test_an_expired_or_revoked_mandate_is_over() public {
        bytes memory refusal = abi.encodeWithSelector(IMandates.MandateOver.selector, mandate);
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        vm.prank(producer.account);
        mandates.revoke(mandate);
        _refuseOpening(_repairTerms(), delegate, refusal);
        _refusePlacing(revision, placements, delegate, refusal);
        Mandate memory short = _mandate();
        (short.expiry, short.salt) = (_after(1 hours), "short");
        MandateId over = _accept(short);
        _pass(1 hours + 1);
        Terms memory terms = _repairTerms();
        terms.mandate = over;
        _refuseOpening(terms, delegate, abi.encodeWithSelector(IMandates.MandateOver.selector, over));
    }

    function test_only_the_producer_revokes() public {
        vm.prank(delegate.account);
        vm.expectRevert(abi.encodeWithSelector(IMandates.NotProducer.selector, delegate.account));
        mandates.revoke(mandate);
    }

    function test_only_the_agreements_use_a_mandate() public {
        bytes memory refusal = abi.encodeWithSelector(IMandates.NotAgreements.selector, address(this));
        vm.expectRevert(refusal);
        mandates.take(mandate, producer.account, BUCKET, PRICE, 1, 0);
        vm.expectRevert(refusal);
        mandates.giveBack(mandate, 0);
    }

    function test_the_list_of_placements_is_bounded() public {
        vm.expectRevert(abi.encodeWithSelector(IMandates.TooManyPlacements.selector, 65));
        mandates.check(mandate, new Placement[](65));
        vm.expectRevert(abi.encodeWithSelector(IMandates.NotHeld.selector, bytes32(0), bytes32(0)));
        mandates.check(mandate, new Placement[](64));
    }
}
