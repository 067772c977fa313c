// SPDX-License-Identifier: MIT OR Apache-2.0
// What all parts of the agreements share: the records, their views, moves of money.
pragma solidity 0.8.37;

import {Bill, Billing} from "../Billing.sol";
import {Agreement, Holding, IAgreements, State} from "../IAgreements.sol";
import {IMandates} from "../IMandates.sol";
import {IRegistry} from "../IRegistry.sol";
import {IVault} from "../IVault.sol";
import {Messages} from "../Messages.sol";
import {Release, Revision, Terms, Voucher} from "../Papers.sol";
import {Signed} from "../Signed.sol";
import {AgreementId, currentTime, earlierOf, GRACE, NEVER, PotId, Timestamp} from "../Types.sol";

/// @title What all parts of the agreements share.
abstract contract AgreementsBase is IAgreements, Signed {
    using Messages for Terms;
    using Messages for Revision;
    using Messages for Release;
    using Messages for Voucher;

    IVault internal immutable VAULT;
    IRegistry internal immutable REGISTRY;
    IMandates internal immutable MANDATES;
    address internal immutable DISPUTES;

    mapping(AgreementId id => Agreement) private _agreements;

    constructor(IVault vault, IRegistry registry, IMandates mandates, address disputes) {
        VAULT = vault;
        REGISTRY = registry;
        MANDATES = mandates;
        DISPUTES = disputes;
    }

    /// @inheritdoc IAgreements
    function agreementOf(AgreementId id) external view returns (Agreement memory) {
        return _agreements[id];
    }

    /// @inheritdoc IAgreements
    function holdingOf(AgreementId id) external view returns (Holding memory) {
        Agreement storage agreement = _agreements[id];
        return Holding({
            producer: agreement.producer,
            consumer: agreement.consumer,
            opener: agreement.opener,
            state: agreement.state,
            isReleased: agreement.releaseNumber != 0,
            bucket: agreement.bucket,
            number: agreement.number,
            shardCount: agreement.shardCount,
            root: agreement.root,
            collateralPerGiB: agreement.collateralPerGiB
        });
    }

    /// @inheritdoc IAgreements
    function owedAt(AgreementId id, Timestamp time) external view returns (uint128) {
        return _owedAt(_agreements[id], time);
    }

    /// @inheritdoc IAgreements
    function paidUntil(AgreementId id) external view returns (Timestamp) {
        return _paidUntil(_agreements[id]);
    }

    /// @inheritdoc IAgreements
    function isInGrace(AgreementId id) external view returns (bool) {
        Agreement storage agreement = _agreements[id];
        if (agreement.state != State.Active) return false;
        Timestamp until = _paidUntil(agreement);
        return currentTime() <= until && until <= currentTime().plus(GRACE);
    }

    /// @inheritdoc IAgreements
    function allowanceLeft(AgreementId id) external view returns (uint128) {
        Agreement storage agreement = _agreements[id];
        return Billing.payableNow({
            owed: agreement.allowance,
            funded: agreement.allowance,
            paid: agreement.vouched > agreement.redeemed ? agreement.vouched : agreement.redeemed
        });
    }

    /// @inheritdoc IAgreements
    function newestNumber(AgreementId id) external view returns (uint64) {
        return _newestNumber(_agreements[id]);
    }

    /// @inheritdoc IAgreements
    function isDisputable(AgreementId id) external view returns (bool) {
        return _isDisputable(_agreements[id]);
    }

    /// @inheritdoc IAgreements
    function hashTerms(Terms calldata terms) public view returns (bytes32) {
        return _digest(terms.hash());
    }

    /// @inheritdoc IAgreements
    function hashRevision(Revision calldata revision) public view returns (bytes32) {
        return _digest(revision.hash());
    }

    /// @inheritdoc IAgreements
    function hashRelease(Release calldata release_) public view returns (bytes32) {
        return _digest(release_.hash());
    }

    /// @inheritdoc IAgreements
    function hashVoucher(Voucher calldata voucher) public view returns (bytes32) {
        return _digest(voucher.hash());
    }

    /// The record, which must be in one of the states in which things still change.
    function _running(AgreementId id) internal view returns (Agreement storage agreement) {
        agreement = _agreements[id];
        State state = agreement.state;
        require(
            state == State.Active || state == State.Closing || state == State.Terminated,
            WrongState({agreement: id, state: state})
        );
    }

    /// The record, which must be in this state.
    function _in(AgreementId id, State state) internal view returns (Agreement storage agreement) {
        agreement = _agreements[id];
        require(agreement.state == state, WrongState({agreement: id, state: agreement.state}));
    }

    /// The record in any state.
    function _at(AgreementId id) internal view returns (Agreement storage) {
        return _agreements[id];
    }

    function _requireSigner(bytes32 digest, bytes calldata signature, address expected) internal pure {
        address signer = _signer(digest, signature);
        require(signer == expected, WrongSigner({signer: signer, expected: expected}));
    }

    function _bill(Agreement storage agreement) internal view returns (Bill memory) {
        return Bill({
            owed: agreement.basisOwed,
            asOf: agreement.basisAt,
            storedBytes: agreement.basisBytes,
            price: agreement.storagePrice,
            hasRelease: agreement.releaseNumber != 0,
            releasedFrom: agreement.releasedFrom,
            releasedBytes: agreement.releasedBytes
        });
    }

    /// What is owed for storage in all; after an end, nothing is added.
    function _owedAt(Agreement storage agreement, Timestamp time) internal view returns (uint128) {
        Timestamp last = agreement.accruesUntil;
        return Billing.owedAt(_bill(agreement), last == NEVER ? time : earlierOf(time, last));
    }

    function _paidUntil(Agreement storage agreement) internal view returns (Timestamp) {
        return Billing.paidUntil(_bill(agreement), agreement.funded);
    }

    /// Whether the money is used up: from then on the consumer need not keep anything.
    function _isLapsed(Agreement storage agreement) internal view returns (bool) {
        return _paidUntil(agreement) < currentTime();
    }

    function _newestNumber(Agreement storage agreement) internal view returns (uint64) {
        return agreement.releaseNumber != 0 ? agreement.releaseNumber : agreement.number;
    }

    function _isDisputable(Agreement storage agreement) internal view returns (bool) {
        State state = agreement.state;
        bool isKept = state == State.Active || (state == State.Closing && currentTime() <= agreement.closesAt);
        return isKept && agreement.releaseNumber == 0 && !_isLapsed(agreement);
    }

    function _pay(PotId pot, address account, uint128 amount) internal {
        if (amount > 0) VAULT.pay({pot: pot, account: account, amount: amount});
    }

    function _hold(PotId pot, address account, uint128 amount) internal {
        if (amount > 0) VAULT.hold({pot: pot, account: account, amount: amount});
    }
}
