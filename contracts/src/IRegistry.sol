// SPDX-License-Identifier: MIT OR Apache-2.0
// Who takes part and what is offered.
pragma solidity 0.8.37;

import {OfferId, PotId, Timestamp} from "./Types.sol";

/// In what an account takes part; each is activated by itself.
enum Role {
    Producer,
    Consumer
}

/// A wish to take part, signed by the account (EIP-712, domain of the registry).
struct Activation {
    address account;
    /// The id under which peers know the owner of the account. Others check off-chain that this
    /// owner's certificate names the account: the chain shows only that the account names the id.
    bytes32 id;
    Role role;
    /// At least the minimum payment; comes from the account's balance in the vault.
    uint128 payment;
    Timestamp deadline;
}

/// What a consumer offers.
struct OfferTerms {
    /// Wei for a GiB-month of storage and for a GiB of egress. Agreements may say otherwise: both sign.
    uint128 storagePrice;
    uint128 egressPrice;
    /// What can still be had; opening an agreement takes from it.
    uint64 capacityBytes;
    /// Wei for a GiB. Held for the whole capacity, in the agreement after it is opened.
    uint128 collateralPerGiB;
    /// The consumer promises not to end an agreement before.
    Timestamp earliestEnd;
    /// Nothing is opened after.
    Timestamp expiry;
}

/// An offer as kept on the chain.
struct Offer {
    address consumer;
    bool isStanding;
    OfferTerms terms;
    /// What the pot of the offer holds.
    uint128 collateral;
}

/// @title Activation of producers and consumers, and offers.
interface IRegistry {
    /// The account paid for its role, which counts from then on.
    event ActivationPaid(
        address indexed account, Role indexed role, bytes32 indexed id, uint128 payment, Timestamp from
    );
    /// A pending activation was given up, and its payment went back.
    event ActivationWithdrawn(address indexed account, Role indexed role, uint128 payment);
    /// The payment of an activation that counts went to the treasury.
    event PaymentCollected(address indexed account, Role indexed role, uint128 payment);
    /// The addresses (libp2p multiaddresses as text) are kept in the log only.
    event OfferCreated(OfferId indexed offer, address indexed consumer, OfferTerms terms, string[] addresses);
    /// The offer is on other terms from now on; agreements keep theirs.
    event OfferChanged(OfferId indexed offer, address indexed consumer, OfferTerms terms, string[] addresses);
    /// The offer is over, and its collateral went back.
    event OfferCancelled(OfferId indexed offer, address indexed consumer);
    /// An agreement took capacity out of the offer, and its collateral with it.
    event OfferTaken(OfferId indexed offer, uint64 takenBytes, uint64 leftBytes, uint128 collateral);

    /// An account is activated once in a role.
    error AlreadyActivated(address account, Role role);
    /// This activation was paid for before; it takes another signature.
    error AlreadyUsed(bytes32 digest);
    /// An activation costs at least the minimum.
    error BelowMinimum(uint128 payment, uint128 minimum);
    /// What was signed, or would be offered, was good until then.
    error Expired(Timestamp deadline);
    /// The message was signed by another key, or other words were.
    error WrongSigner(address signer, address expected);
    /// There is no payment to have back, or none to collect.
    error NotPending(address account, Role role);
    /// Until then the account may have the payment back.
    error StillPending(Timestamp until);
    /// The account does not take part in the role by now.
    error NotActivated(address account, Role role);
    /// There is no such offer, or it is another consumer's.
    error NotYourOffer(OfferId offer, address caller);
    /// The offer was cancelled, or has expired.
    error NotStanding(OfferId offer);
    /// The offer has less space left.
    error CapacityExceeded(OfferId offer, uint64 leftBytes, uint64 asked);
    /// The offer says another collateral for a GiB than the terms.
    error CollateralDiffers(OfferId offer, uint128 perGiB);
    /// More addresses, or longer ones, than clients keep.
    error TooManyAddresses();
    /// Only the agreements take from an offer.
    error NotAgreements(address caller);

    /// Pays for an account to take part in a role. It counts after `activationWait`; until then the payment can be had back.
    /// Anybody may submit it; a signature works once.
    function activate(Activation calldata activation, bytes calldata signature) external;

    /// Gives the caller back what it paid while the activation is pending.
    function withdrawActivation(Role role) external;

    /// Moves the payment of an activation that is no longer pending to the treasury's balance. By anyone.
    function collect(address account, Role role) external;

    /// Puts up an offer of the caller, with collateral from its balance in the vault.
    function createOffer(OfferTerms calldata terms, string[] calldata addresses) external returns (OfferId);

    /// Replaces what is offered from now on. Collateral is taken or given back; agreements keep theirs.
    function changeOffer(OfferId offer, OfferTerms calldata terms, string[] calldata addresses) external;

    /// Ends the offer and gives its collateral back. Agreements keep theirs.
    function cancelOffer(OfferId offer) external;

    /// Takes capacity and its collateral out of an offer, into this pot of the agreements. Agreements only.
    function take(OfferId offer, address producer, address consumer, uint64 takenBytes, uint128 perGiB, PotId pot)
        external
        returns (uint128 collateral);

    /// Whether the account takes part in the role by now.
    function isActive(address account, Role role) external view returns (bool);

    /// What the account paid (0 once withdrawn or collected), under which id, and from when it counts (0: never activated).
    function activationOf(address account, Role role)
        external
        view
        returns (bytes32 id, uint128 payment, Timestamp from);

    /// The offer; all zero when there is none of this number.
    function offerOf(OfferId offer) external view returns (Offer memory);

    /// Offers are numbered 1 to this.
    function offerCount() external view returns (uint64);

    /// What the account signs.
    function hashActivation(Activation calldata activation) external view returns (bytes32);
}
