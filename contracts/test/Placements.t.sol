// SPDX-License-Identifier: MIT OR Apache-2.0
// What a delegate may sign for, and what not.
pragma solidity 0.8.37;

import {IAgreements, State} from "../src/IAgreements.sol";
import {IMandates, Placement} from "../src/IMandates.sol";
import {Role} from "../src/IRegistry.sol";
import {Revision, Terms} from "../src/Papers.sol";
import {AgreementId, BucketId, HoldingRoot, ShardRoot} from "../src/Types.sol";
import {Repairs} from "./support/Repairs.sol";
import {vm} from "./support/Vm.sol";

contract PlacementsTest is Repairs {
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
        bytes memory refusal = abi.encodeWithSelector(IMandates.NotHeld.selector, placements[0].shard, other);
        _refusePlacing(revision, placements, delegate, refusal);
        // The same shards, and the same bucket of another producer.
        terms = _terms();
        terms.producer = stranger.account;
        _fund(stranger.account, 1 ether);
        _activate(stranger, Role.Producer);
        _pass(WAIT);
        terms.deadline = _now();
        other = _open(terms, stranger, consumer);
        _submitBy(_holding(other, 1, shards), stranger, consumer);
        placements[0].source = other;
        refusal = abi.encodeWithSelector(IMandates.NotHeld.selector, placements[0].shard, other);
        _refusePlacing(revision, placements, delegate, refusal);
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
        (revision,) = _placing(id, 1, 2);
        revision.egressPrice += 1;
        _refusePlacing(revision, placements, delegate, refusal);
        (revision,) = _placing(id, 1, 2);
        revision.shardCount += 1;
        _refusePlacing(revision, placements, delegate, refusal);
        (revision,) = _placing(id, 1, 2);
        revision.root = HoldingRoot.wrap("another");
        _refusePlacing(revision, placements, delegate, refusal);
        (revision,) = _placing(id, 1, 3);
        _refusePlacing(revision, placements, delegate, refusal);
    }

    function test_the_consumer_signs_a_placement_too() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        bytes memory signature = _sign(delegate, agreements.hashRevision(revision));
        vm.expectRevert(abi.encodeWithSelector(IAgreements.WrongSigner.selector, delegate.account, second.account));
        agreements.place(revision, placements, signature, signature);
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

    function test_a_delegate_does_not_sign_over_a_release_nor_in_a_closing_window() public {
        AgreementId id = _openAsDelegate(_repairTerms());
        (Revision memory revision, Placement[] memory placements) = _placing(id, 1, 2);
        _place(revision, placements, delegate);
        _release(id, 2, 0);
        (revision, placements) = _placing(id, 3, 2);
        _refusePlacing(
            revision,
            placements,
            delegate,
            abi.encodeWithSelector(IAgreements.ReleasePending.selector, id, _after(48 hours))
        );
        vm.prank(second.account);
        agreements.end(id);
        _refusePlacing(
            revision, placements, delegate, abi.encodeWithSelector(IAgreements.WrongState.selector, id, State.Closing)
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
}
