// SPDX-License-Identifier: MIT OR Apache-2.0
// What is stored: revisions of both parties, placements of a delegate, releases of the producer.
pragma solidity 0.8.37;

import {Billing} from "../Billing.sol";
import {Agreement, IAgreements, State} from "../IAgreements.sol";
import {Placement} from "../IMandates.sol";
import {Release, Revision} from "../Papers.sol";
import {AgreementId, CLOSING_WINDOW, currentTime, HoldingRoot, NEVER, RELEASE_NOTICE, Timestamp} from "../Types.sol";
import {Paying} from "./Paying.sol";

/// @title The part of the agreements that revises and releases.
abstract contract Revising is Paying {
    /// @inheritdoc IAgreements
    function submit(Revision calldata revision, bytes calldata producerSignature, bytes calldata consumerSignature)
        external
    {
        Agreement storage agreement = _revisable(revision.agreement);
        bytes32 digest = hashRevision(revision);
        _requireSigner(digest, producerSignature, agreement.producer);
        _requireSigner(digest, consumerSignature, agreement.consumer);
        _revise(agreement, revision);
    }

    /// @inheritdoc IAgreements
    function place(
        Revision calldata revision,
        Placement[] calldata placements,
        bytes calldata delegateSignature,
        bytes calldata consumerSignature
    ) external {
        Agreement storage agreement = _at(revision.agreement);
        State state = agreement.state;
        require(
            state == State.Pending || state == State.Active, WrongState({agreement: revision.agreement, state: state})
        );
        require(!agreement.mandate.isNone(), NotMandated(revision.agreement));
        // Who released is back: nobody signs over its head.
        require(
            agreement.releaseNumber == 0, ReleasePending({agreement: revision.agreement, from: agreement.releasedFrom})
        );
        // A delegate takes no shard out of a dispute.
        require(
            agreement.openDisputes == 0, DisputesOpen({agreement: revision.agreement, count: agreement.openDisputes})
        );
        address delegate =
            MANDATES.delegateOf({mandate: agreement.mandate, producer: agreement.producer, bucket: agreement.bucket});
        bytes32 digest = hashRevision(revision);
        _requireSigner(digest, delegateSignature, delegate);
        _requireSigner(digest, consumerSignature, agreement.consumer);

        // A delegate takes one number at a time, so that it cannot use them up.
        require(
            revision.number == agreement.number + 1,
            NotNewer({agreement: revision.agreement, number: revision.number, current: agreement.number})
        );
        uint128 owed = _owedAt(agreement, revision.asOf);
        require(
            revision.earned <= owed, EarnedTooMuch({agreement: revision.agreement, earned: revision.earned, owed: owed})
        );
        (HoldingRoot root, uint64 storedBytes) = MANDATES.check({mandate: agreement.mandate, placements: placements});
        require(
            HoldingRoot.unwrap(root) == HoldingRoot.unwrap(revision.root) && revision.shardCount == placements.length
                && revision.storedBytes == storedBytes && revision.storagePrice == agreement.storagePrice
                && revision.egressPrice == agreement.egressPrice,
            WrongPlacements(revision.agreement)
        );
        _revise(agreement, revision);
    }

    /// @inheritdoc IAgreements
    function release(Release calldata release_, bytes calldata producerSignature) external {
        AgreementId id = release_.agreement;
        Agreement storage agreement = _running(id);
        _requireSigner(hashRelease(release_), producerSignature, agreement.producer);
        uint64 newest = _newestNumber(agreement);
        require(release_.number > newest, NotNewer({agreement: id, number: release_.number, current: newest}));

        _foldRelease(id, agreement);
        require(
            release_.storedBytes <= agreement.basisBytes,
            ReleaseIncreases({agreement: id, storedBytes: release_.storedBytes, current: agreement.basisBytes})
        );
        agreement.releaseNumber = release_.number;
        agreement.releasedBytes = release_.storedBytes;
        agreement.releasedFrom = currentTime().plus(RELEASE_NOTICE);
        emit Released({
            agreement: id, number: release_.number, storedBytes: release_.storedBytes, from: agreement.releasedFrom
        });
    }

    /// The record of an agreement that still takes revisions.
    function _revisable(AgreementId id) private view returns (Agreement storage agreement) {
        return _at(id).state == State.Pending ? _at(id) : _running(id);
    }

    function _revise(Agreement storage agreement, Revision calldata revision) private {
        AgreementId id = revision.agreement;
        _requireNewer(id, agreement, revision.number);
        require(revision.asOf <= currentTime(), FromTheFuture(revision.asOf));
        require(agreement.asOf <= revision.asOf && agreement.earned <= revision.earned, GoesBackwards(id));
        require(
            revision.storedBytes <= agreement.capacityBytes,
            CapacityExceeded({agreement: id, storedBytes: revision.storedBytes})
        );

        if (agreement.state == State.Pending) agreement.state = State.Active;
        agreement.number = revision.number;
        agreement.root = revision.root;
        agreement.shardCount = revision.shardCount;
        agreement.storagePrice = revision.storagePrice;
        agreement.egressPrice = revision.egressPrice;
        agreement.asOf = revision.asOf;
        agreement.earned = revision.earned;
        agreement.basisAt = revision.asOf;
        agreement.basisOwed = revision.earned;
        agreement.basisBytes = revision.storedBytes;
        if (agreement.releaseNumber < revision.number) {
            _forgetRelease(agreement);
        } else if (revision.storedBytes < agreement.releasedBytes) {
            agreement.releasedBytes = revision.storedBytes;
        }
        emit Revised({agreement: id, number: revision.number, revision: revision});
        if (agreement.state == State.Terminated) _reviewTermination(id, agreement);
        if (agreement.state == State.Active) _settle(id, agreement);
    }

    /// Who terminated may have had an older revision on chain. If by the newer one the money was not used up then, the
    /// termination does not stand; otherwise it was used up when the newer one says.
    function _reviewTermination(AgreementId id, Agreement storage agreement) private {
        Timestamp until = _paidUntil(agreement);
        if (until < agreement.closesAt.minus(CLOSING_WINDOW)) {
            agreement.accruesUntil = until;
            return;
        }
        agreement.state = State.Active;
        agreement.closesAt = NEVER;
        agreement.accruesUntil = NEVER;
        emit Reinstated({agreement: id, paidUntil: until});
    }

    /// A higher number than that of the newest revision. A release stands in the way only once its notice is over: until then,
    /// revisions that were signed before it come to their right, also one whose number the producer gave to the release.
    function _requireNewer(AgreementId id, Agreement storage agreement, uint64 number) private view {
        uint64 newest = agreement.number;
        bool isNoticeOver = agreement.releasedFrom <= currentTime();
        if (agreement.releaseNumber != 0 && isNoticeOver) newest = agreement.releaseNumber;
        require(number > newest, NotNewer({agreement: id, number: number, current: newest}));
    }

    /// Makes a release that counts by now part of what later ones start from. One that does not count yet forbids another,
    /// one that would count after the end changes nothing. Its number stays used either way.
    function _foldRelease(AgreementId id, Agreement storage agreement) private {
        if (agreement.releaseNumber == 0) return;
        require(agreement.releasedFrom <= currentTime(), ReleasePending({agreement: id, from: agreement.releasedFrom}));
        agreement.number = agreement.releaseNumber;
        if (agreement.accruesUntil == NEVER || agreement.releasedFrom <= agreement.accruesUntil) {
            agreement.basisOwed = Billing.owedAt(_bill(agreement), agreement.releasedFrom);
            agreement.basisAt = agreement.releasedFrom;
            agreement.basisBytes = agreement.releasedBytes;
        }
        _forgetRelease(agreement);
    }

    function _forgetRelease(Agreement storage agreement) private {
        agreement.releaseNumber = 0;
        agreement.releasedBytes = 0;
        agreement.releasedFrom = NEVER;
    }
}
