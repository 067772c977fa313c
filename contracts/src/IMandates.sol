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
    event MandateAccepted(MandateId indexed mandate, address indexed producer, address indexed delegate, Mandate terms);
    event MandateRevoked(MandateId indexed mandate);
    event MandateUsed(MandateId indexed mandate, uint64 usedBytes);

    error UnknownMandate(MandateId mandate);
    error AlreadyAccepted(MandateId mandate);
    error WrongSigner(address signer, address expected);
    error MandateOver(MandateId mandate);
    error NotProducer(address caller);
    error NotAgreements(address caller);
    error OutsideMandate(MandateId mandate);
    error TooManyPlacements(uint256 count);
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

    function mandateOf(MandateId mandate) external view returns (Mandate memory terms, uint64 usedBytes, bool isRevoked);

    /// What the producer signs; also the id.
    function hashMandate(Mandate calldata mandate) external view returns (bytes32);
}
