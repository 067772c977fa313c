// SPDX-License-Identifier: MIT OR Apache-2.0
// Who takes part, and what consumers offer.
pragma solidity 0.8.37;

import {Billing} from "./Billing.sol";
import {Activation, IRegistry, Offer, OfferTerms, Role} from "./IRegistry.sol";
import {IVault} from "./IVault.sol";
import {Messages} from "./Messages.sol";
import {Pots} from "./Pots.sol";
import {Signed} from "./Signed.sol";
import {currentTime, Duration, NEVER, OfferId, PotId, Timestamp} from "./Types.sol";

/// @title Activation of producers and consumers, and offers.
/// @notice Its invariants:
///
/// 1. An activation's pot holds its payment until that is withdrawn (pending) or collected (no longer pending), not both.
/// 2. An offer's pot holds exactly `collateral`, which covers `capacityBytes`; the pot of a cancelled one is empty.
/// 3. What an agreement took from an offer is out of the offer's reach.
contract Registry is IRegistry, Signed {
    using Messages for Activation;

    /// What is kept of an activation.
    struct Member {
        bytes32 id;
        uint128 payment;
        /// When it counts; NEVER: there is no activation.
        Timestamp from;
    }

    /// As many and as long as a client keeps.
    uint256 private constant MAX_ADDRESSES = 16;
    uint256 private constant MAX_ADDRESS_BYTES = 256;

    IVault private immutable VAULT;
    address private immutable AGREEMENTS;

    /// Who gets the payments of activations.
    address public immutable treasury;
    /// What an activation costs at least.
    uint128 public immutable minimumPayment;
    /// How long an activation is pending.
    Duration public immutable activationWait;

    /// @inheritdoc IRegistry
    uint64 public offerCount;
    mapping(OfferId id => Offer) private _offers;
    mapping(address account => mapping(Role role => Member)) private _members;
    mapping(bytes32 digest => bool) private _isUsed;

    constructor(
        IVault vault,
        address agreements,
        address treasury_,
        uint128 minimumPayment_,
        Duration activationWait_
    ) {
        VAULT = vault;
        AGREEMENTS = agreements;
        treasury = treasury_;
        minimumPayment = minimumPayment_;
        activationWait = activationWait_;
    }

    /// @inheritdoc IRegistry
    function activate(Activation calldata activation, bytes calldata signature) external {
        (address account, Role role) = (activation.account, activation.role);
        bytes32 digest = hashActivation(activation);
        address signer = _signer(digest, signature);
        require(signer == account, WrongSigner({signer: signer, expected: account}));
        require(!_isUsed[digest], AlreadyUsed(digest));
        require(currentTime() <= activation.deadline, Expired(activation.deadline));
        require(
            activation.payment >= minimumPayment, BelowMinimum({payment: activation.payment, minimum: minimumPayment})
        );
        require(_members[account][role].from == NEVER, AlreadyActivated({account: account, role: role}));

        Timestamp from = currentTime().plus(activationWait);
        _isUsed[digest] = true;
        _members[account][role] = Member({id: activation.id, payment: activation.payment, from: from});
        VAULT.hold({pot: Pots.activation(account, role), account: account, amount: activation.payment});
        emit ActivationPaid({account: account, role: role, id: activation.id, payment: activation.payment, from: from});
    }

    /// @inheritdoc IRegistry
    function withdrawActivation(Role role) external {
        Member memory member = _members[msg.sender][role];
        require(currentTime() < member.from, NotPending({account: msg.sender, role: role}));
        delete _members[msg.sender][role];
        VAULT.pay({pot: Pots.activation(msg.sender, role), account: msg.sender, amount: member.payment});
        emit ActivationWithdrawn({account: msg.sender, role: role, payment: member.payment});
    }

    /// @inheritdoc IRegistry
    function collect(address account, Role role) external {
        Member storage member = _members[account][role];
        uint128 payment = member.payment;
        require(payment > 0, NotPending({account: account, role: role}));
        require(member.from <= currentTime(), StillPending(member.from));
        member.payment = 0;
        VAULT.pay({pot: Pots.activation(account, role), account: treasury, amount: payment});
        emit PaymentCollected({account: account, role: role, payment: payment});
    }

    /// @inheritdoc IRegistry
    function createOffer(OfferTerms calldata terms, string[] calldata addresses) external returns (OfferId id) {
        _requireActive(msg.sender, Role.Consumer);
        id = OfferId.wrap(++offerCount);
        Offer storage offer = _offers[id];
        offer.consumer = msg.sender;
        offer.isStanding = true;
        _write(id, offer, terms, addresses);
        emit OfferCreated({offer: id, consumer: msg.sender, terms: terms, addresses: addresses});
    }

    /// @inheritdoc IRegistry
    function changeOffer(OfferId id, OfferTerms calldata terms, string[] calldata addresses) external {
        _write(id, _own(id), terms, addresses);
        emit OfferChanged({offer: id, consumer: msg.sender, terms: terms, addresses: addresses});
    }

    /// @inheritdoc IRegistry
    function cancelOffer(OfferId id) external {
        Offer storage offer = _own(id);
        uint128 collateral = offer.collateral;
        offer.isStanding = false;
        offer.collateral = 0;
        offer.terms.capacityBytes = 0;
        VAULT.pay({pot: Pots.offer(id), account: msg.sender, amount: collateral});
        emit OfferCancelled({offer: id, consumer: msg.sender});
    }

    /// @inheritdoc IRegistry
    function take(OfferId id, address producer, address consumer, uint64 takenBytes, uint128 perGiB, PotId pot)
        external
        returns (uint128 collateral)
    {
        require(msg.sender == AGREEMENTS, NotAgreements(msg.sender));
        _requireActive(producer, Role.Producer);
        _requireActive(consumer, Role.Consumer);
        Offer storage offer = _offers[id];
        uint64 capacityBytes = offer.terms.capacityBytes;
        require(offer.consumer == consumer, NotYourOffer({offer: id, caller: consumer}));
        require(offer.isStanding && currentTime() <= offer.terms.expiry, NotStanding(id));
        require(perGiB == offer.terms.collateralPerGiB, CollateralDiffers({offer: id, perGiB: perGiB}));
        require(takenBytes <= capacityBytes, CapacityExceeded({offer: id, leftBytes: capacityBytes, asked: takenBytes}));

        // Rounded down, so what is left still covers what is left of the capacity.
        collateral = Billing.forBytes(takenBytes, perGiB);
        offer.terms.capacityBytes = capacityBytes - takenBytes;
        offer.collateral -= collateral;
        VAULT.shift({pot: Pots.offer(id), toMarket: AGREEMENTS, toPot: pot, amount: collateral});
        emit OfferTaken({
            offer: id, takenBytes: takenBytes, leftBytes: capacityBytes - takenBytes, collateral: collateral
        });
    }

    /// @inheritdoc IRegistry
    function isActive(address account, Role role) public view returns (bool) {
        Timestamp from = _members[account][role].from;
        return !(from == NEVER) && from <= currentTime();
    }

    /// @inheritdoc IRegistry
    function activationOf(address account, Role role)
        external
        view
        returns (bytes32 id, uint128 payment, Timestamp from)
    {
        Member storage member = _members[account][role];
        return (member.id, member.payment, member.from);
    }

    /// @inheritdoc IRegistry
    function offerOf(OfferId id) external view returns (Offer memory) {
        return _offers[id];
    }

    /// @inheritdoc IRegistry
    function hashActivation(Activation calldata activation) public view returns (bytes32) {
        return _digest(activation.hash());
    }

    function _requireActive(address account, Role role) private view {
        require(isActive(account, role), NotActivated({account: account, role: role}));
    }

    /// A standing offer of the caller.
    function _own(OfferId id) private view returns (Offer storage offer) {
        offer = _offers[id];
        require(offer.consumer == msg.sender, NotYourOffer({offer: id, caller: msg.sender}));
        require(offer.isStanding, NotStanding(id));
    }

    /// Stores the terms; takes collateral from the consumer's balance, or gives it back, until it covers the capacity.
    function _write(OfferId id, Offer storage offer, OfferTerms calldata terms, string[] calldata addresses) private {
        require(currentTime() <= terms.expiry, Expired(terms.expiry));
        require(addresses.length <= MAX_ADDRESSES, TooManyAddresses());
        for (uint256 index = 0; index < addresses.length; index++) {
            require(bytes(addresses[index]).length <= MAX_ADDRESS_BYTES, TooManyAddresses());
        }
        uint128 before = offer.collateral;
        uint128 collateral = Billing.forBytes(terms.capacityBytes, terms.collateralPerGiB);
        offer.terms = terms;
        offer.collateral = collateral;
        if (before < collateral) {
            VAULT.hold({pot: Pots.offer(id), account: msg.sender, amount: collateral - before});
        } else {
            VAULT.pay({pot: Pots.offer(id), account: msg.sender, amount: before - collateral});
        }
    }
}
