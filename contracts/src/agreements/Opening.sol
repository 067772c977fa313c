// SPDX-License-Identifier: MIT OR Apache-2.0
// How agreements begin, or come to nothing.
pragma solidity 0.8.37;

import {Agreement, IAgreements, State} from "../IAgreements.sol";
import {Terms} from "../Papers.sol";
import {Pots} from "../Pots.sol";
import {AgreementId, currentTime} from "../Types.sol";
import {AgreementsBase} from "./AgreementsBase.sol";

/// @title The part of the agreements that opens and cancels.
abstract contract Opening is AgreementsBase {
    /// @inheritdoc IAgreements
    function open(Terms calldata terms, bytes calldata producerSignature, bytes calldata consumerSignature)
        external
        returns (AgreementId id)
    {
        bytes32 digest = hashTerms(terms);
        id = AgreementId.wrap(digest);
        Agreement storage agreement = _at(id);
        require(agreement.state == State.None, AlreadyUsed(id));
        require(currentTime() <= terms.deadline, Expired(terms.deadline));

        address opener = _takeMandate(terms);
        require(terms.producer != address(0) && terms.consumer != address(0), NoParty());
        require(terms.producer != terms.consumer && opener != terms.consumer, SameParty(terms.consumer));
        _requireSigner(digest, producerSignature, opener);
        _requireSigner(digest, consumerSignature, terms.consumer);

        agreement.state = State.Pending;
        agreement.opener = opener;
        _write(agreement, terms);
        _hold(Pots.held(id), terms.producer, terms.held);
        _hold(Pots.allowance(id), terms.producer, terms.allowance);
        agreement.collateral = REGISTRY.take({
            offer: terms.offer,
            producer: terms.producer,
            consumer: terms.consumer,
            takenBytes: terms.capacityBytes,
            perGiB: terms.collateralPerGiB,
            pot: Pots.collateral(id)
        });
        emit Opened({agreement: id, producer: terms.producer, consumer: terms.consumer, terms: terms});
    }

    /// @inheritdoc IAgreements
    function cancel(AgreementId id) external {
        Agreement storage agreement = _in(id, State.Pending);
        (address producer, address consumer) = (agreement.producer, agreement.consumer);
        require(
            msg.sender == producer || msg.sender == consumer || msg.sender == agreement.opener,
            NotParty({agreement: id, caller: msg.sender})
        );
        agreement.state = State.Cancelled;
        (uint128 held, uint128 allowance, uint128 collateral) =
            (agreement.funded, agreement.allowance, agreement.collateral);
        (agreement.funded, agreement.allowance, agreement.collateral) = (0, 0, 0);
        if (!agreement.mandate.isNone()) {
            MANDATES.giveBack({mandate: agreement.mandate, capacityBytes: agreement.capacityBytes});
        }
        _pay(Pots.held(id), producer, held);
        _pay(Pots.allowance(id), producer, allowance);
        _pay(Pots.collateral(id), consumer, collateral);
        emit Cancelled({agreement: id, by: msg.sender});
    }

    /// Who must sign for the producer: itself, or the delegate of a mandate that covers these terms. A delegate may promise
    /// nothing but storage: no egress, no minimum term.
    function _takeMandate(Terms calldata terms) private returns (address) {
        if (terms.mandate.isNone()) return terms.producer;
        require(terms.allowance == 0 && terms.earliestEnd <= currentTime(), OutsideMandate());
        return MANDATES.take({
            mandate: terms.mandate,
            producer: terms.producer,
            bucket: terms.bucket,
            storagePrice: terms.storagePrice,
            capacityBytes: terms.capacityBytes,
            held: terms.held
        });
    }

    function _write(Agreement storage agreement, Terms calldata terms) private {
        agreement.producer = terms.producer;
        agreement.consumer = terms.consumer;
        agreement.earliestEnd = terms.earliestEnd;
        agreement.capacityBytes = terms.capacityBytes;
        agreement.bucket = terms.bucket;
        agreement.mandate = terms.mandate;
        agreement.funded = terms.held;
        agreement.allowance = terms.allowance;
        agreement.collateralPerGiB = terms.collateralPerGiB;
        agreement.storagePrice = terms.storagePrice;
        agreement.egressPrice = terms.egressPrice;
        // No revision is older than the agreement.
        agreement.asOf = currentTime();
        agreement.basisAt = currentTime();
    }
}
