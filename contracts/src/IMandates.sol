// SPDX-License-Identifier: MIT OR Apache-2.0
// Repair while the producer is away.
pragma solidity 0.8.37;

import {AgreementId, BucketId, HoldingRoot, MandateId, ShardRoot, Timestamp} from "./Types.sol";

/// A producer lets a delegate re-place shards of a bucket (EIP-712, domain of the mandates).
struct Mandate {
    address producer;
    address delegate;
    BucketId bucket;
    /// Wei for a GiB-month, at most.
    uint128 storagePrice;
    /// All agreements under the mandate together, at most.
    uint64 capacityBytes;
    Timestamp expiry;
    bytes32 salt;
}

/// A shard that a delegate places, and where it is already held.
struct Placement {
    ShardRoot shard;
    uint32 leafCount;
    /// An agreement of the same producer and bucket whose newest co-signed root has the shard ...
    AgreementId source;
    /// ... at this index, by this path.
    uint32 sourceIndex;
    bytes32[] sourcePath;
}

/// @title Mandates: what a delegate may do for a producer.
/// @notice A delegate opens agreements within the mandate and signs revisions that list existing shards only. It signs no
/// vouchers, ends nothing, and is paid nothing. What a mandate can cost is at most
/// `capacityBytes * storagePrice * (expiry - now)`.
interface IMandates {
    /// The mandate is known, and counts until it expires or is revoked.
    event MandateAccepted(MandateId indexed mandate, address indexed producer, address indexed delegate, Mandate terms);
    /// The delegate opens and places nothing more under it.
    event MandateRevoked(MandateId indexed mandate);
    /// So many of its bytes are in agreements now: one was opened, or cancelled.
    event MandateUsed(MandateId indexed mandate, uint64 usedBytes);

    /// Nobody brought this mandate.
    error UnknownMandate(MandateId mandate);
    /// A mandate is accepted once, for ever, also when it is over.
    error AlreadyAccepted(MandateId mandate);
    /// The message was signed by another key, or other words were.
    error WrongSigner(address signer, address expected);
    /// The mandate has expired, or was revoked.
    error MandateOver(MandateId mandate);
    /// Only its producer revokes a mandate.
    error NotProducer(address caller);
    /// Only the agreements use a mandate.
    error NotAgreements(address caller);
    /// Another producer or bucket, a higher price, more bytes, or more money than it can cost.
    error OutsideMandate(MandateId mandate);
    /// A delegate lists no more shards at once than a chunk may have.
    error TooManyPlacements(uint256 count);
    /// The source's newest co-signed root does not have the shard there, or is not of this producer and bucket.
    error NotHeld(ShardRoot shard, AgreementId source);

    /// Makes a signed mandate known. Anybody may submit it; once for ever.
    function accept(Mandate calldata mandate, bytes calldata signature) external returns (MandateId);

    /// Ends a mandate. Only its producer; agreements opened under it go on.
    function revoke(MandateId mandate) external;

    /// Checks that these terms are within the mandate, and takes the bytes from it. Agreements only.
    /// @return delegate who must have signed for the producer.
    function take(
        MandateId mandate,
        address producer,
        BucketId bucket,
        uint128 storagePrice,
        uint64 capacityBytes,
        uint128 held
    ) external returns (address delegate);

    /// Gives the bytes of a cancelled agreement back. Agreements only.
    function giveBack(MandateId mandate, uint64 capacityBytes) external;

    /// The root and bytes of a list of placements. Reverts unless each shard is held by its source.
    function check(MandateId mandate, Placement[] calldata placements)
        external
        view
        returns (HoldingRoot root, uint64 storedBytes);

    /// The delegate of a mandate that counts now. Reverts when it is unknown, expired or revoked.
    function delegateOf(MandateId mandate, address producer, BucketId bucket) external view returns (address);

    /// A mandate, how much of it is used, and whether it was revoked; all zero when it is unknown.
    function mandateOf(MandateId mandate) external view returns (Mandate memory terms, uint64 usedBytes, bool isRevoked);

    /// What the producer signs; also the id.
    function hashMandate(Mandate calldata mandate) external view returns (bytes32);
}
