// SPDX-License-Identifier: MIT OR Apache-2.0
// What a delegate may do, and what not.
pragma solidity 0.8.37;

import {IAgreements, Revision, State, Terms} from "../src/IAgreements.sol";
import {IMandates, Mandate, Placement} from "../src/IMandates.sol";
import {AgreementId, BucketId, MandateId, ShardRoot} from "../src/Types.sol";
import {Holdings} from "./support/Holdings.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";
import {Party} from "./support/World.sol";

contract MandatesTest is Holdings {
    using Trees for Shard[];

    AgreementId private source;
    MandateId private mandate;

    function setUp() public override {
        super.setUp();
        source = _activeOverShards();
        mandate = _accept(_mandate());
    }

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
        bytes32 digest = agreements.hashRevision(revision);
        agreements.submit(revision, _sign(producer, digest), _sign(second, digest));
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

    function test_a_delegate_places_only_what_is_held_elsewhere() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        placements[1].shard = ShardRoot.wrap("made up");
        _refusePlacing(
            revision,
            placements,
            delegate,
            abi.encodeWithSelector(IMandates.NotHeld.selector, placements[1].shard, source)
        );
    }

    function test_shards_of_another_bucket_or_producer_do_not_count_as_held() public {
        Terms memory terms = _terms();
        terms.bucket = BucketId.wrap("another");
        AgreementId other = _open(terms);
        _submit(_holding(other, 1, shards));
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        placements[0].source = other;
        _refusePlacing(
            revision,
            placements,
            delegate,
            abi.encodeWithSelector(IMandates.NotHeld.selector, placements[0].shard, other)
        );
    }

    function test_a_revision_must_be_that_of_its_placements() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        bytes memory refusal = abi.encodeWithSelector(IAgreements.WrongPlacements.selector, id);
        revision.storedBytes += 1;
        _refusePlacing(revision, placements, delegate, refusal);
        (revision,) = _placing(id, 1, 2);
        revision.storagePrice += 1;
        _refusePlacing(revision, placements, delegate, refusal);
        (revision,) = _placing(id, 1, 3);
        _refusePlacing(revision, placements, delegate, refusal);
    }

    function test_a_delegate_cannot_pay_a_consumer_for_nothing() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        revision.earned = 1;
        _refusePlacing(
            revision, placements, delegate, abi.encodeWithSelector(IAgreements.EarnedTooMuch.selector, id, 1, 0)
        );
    }

    function test_a_delegate_cannot_use_up_the_numbers() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        revision.number = type(uint64).max;
        _refusePlacing(
            revision,
            placements,
            delegate,
            abi.encodeWithSelector(IAgreements.NotNewer.selector, id, type(uint64).max, 0)
        );
    }

    function test_a_delegate_revises_only_agreements_under_its_mandate() public {
        (Revision memory revision, Placement[] memory placements) = _placing(source, 2, 2);
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(delegate, digest), _sign(consumer, digest));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotMandated.selector, source));
        agreements.place(revision, placements, a, b);
    }

    function test_a_delegate_signs_neither_revisions_nor_ends() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(delegate, digest), _sign(second, digest));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, delegate.account, producer.account));
        agreements.submit(revision, a, b);
        _place(revision, placements, delegate);
        vm.prank(delegate.account);
        vm.expectRevert(abi.encodeWithSelector(IAgreements.NotParty.selector, id, delegate.account));
        agreements.end(id);
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
    }

    /// Terms within the mandate: one GiB at the second consumer.
    function _repairTerms() private returns (Terms memory terms) {
        terms = _terms();
        (terms.consumer, terms.offer, terms.mandate) = (second.account, secondOffer, mandate);
        (terms.capacityBytes, terms.held, terms.allowance) = (GIB, 1000 * 30 days, 0);
    }

    function _openAsDelegate(Terms memory terms) private returns (AgreementId) {
        return _open(terms, delegate, second);
    }

    /// A revision over the first usual shards, with where they are held.
    function _placing(AgreementId id, uint64 number, uint256 count)
        private
        view
        returns (Revision memory revision, Placement[] memory placements)
    {
        placements = new Placement[](count);
        Shard[] memory held = new Shard[](count);
        uint64 leafSum = 0;
        for (uint256 index = 0; index < count; index++) {
            held[index] = shards[index];
            leafSum += shards[index].leafCount;
            placements[index] = Placement({
                shard: shards[index].root,
                leafCount: shards[index].leafCount,
                source: source,
                sourceIndex: uint32(index),
                sourcePath: _shards().pathOf(index)
            });
        }
        revision = _holding(id, number, held);
        revision.storedBytes = leafSum * 1024;
    }

    function _place(Revision memory revision, Placement[] memory placements, Party memory by) private {
        bytes32 digest = agreements.hashRevision(revision);
        agreements.place(revision, placements, _sign(by, digest), _sign(second, digest));
    }

    function _refusePlacing(
        Revision memory revision,
        Placement[] memory placements,
        Party memory by,
        bytes memory reason
    ) private {
        bytes32 digest = agreements.hashRevision(revision);
        (bytes memory a, bytes memory b) = (_sign(by, digest), _sign(second, digest));
        vm.expectRevert(reason);
        agreements.place(revision, placements, a, b);
    }

    function _refuseOpening(Terms memory terms, Party memory by, bytes memory reason) private {
        bytes32 digest = agreements.hashTerms(terms);
        (bytes memory a, bytes memory b) = (_sign(by, digest), _sign(second, digest));
        vm.expectRevert(reason);
        agreements.open(terms, a, b);
    }
}
