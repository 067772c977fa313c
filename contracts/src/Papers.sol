// SPDX-License-Identifier: MIT OR Apache-2.0
// What the parties of an agreement sign (EIP-712, domain of the agreements).
pragma solidity 0.8.37;

import {AgreementId, BucketId, HoldingRoot, MandateId, OfferId, Timestamp} from "./Types.sol";

/// What both sign to open an agreement. Its digest is the agreement's id.
struct Terms {
    address producer;
    address consumer;
    OfferId offer;
    BucketId bucket;
    /// 0, or the mandate whose delegate signs for the producer.
    MandateId mandate;
    /// Wei for a GiB-month of storage and for a GiB of egress.
    uint128 storagePrice;
    uint128 egressPrice;
    /// Wei for a GiB; must be what the offer says.
    uint128 collateralPerGiB;
    /// No revision may hold more.
    uint64 capacityBytes;
    /// Taken from the producer's balance: for storage, and for egress.
    uint128 held;
    uint128 allowance;
    /// Who ends the agreement before pays the other for the rest of the time.
    Timestamp earliestEnd;
    /// It must be opened by then.
    Timestamp deadline;
    bytes32 salt;
}

/// The state of an agreement, signed by both. The highest number counts.
struct Revision {
    AgreementId agreement;
    /// From 1.
    uint64 number;
    HoldingRoot root;
    uint32 shardCount;
    uint64 storedBytes;
    /// Wei for a GiB-month of storage and for a GiB of egress.
    uint128 storagePrice;
    uint128 egressPrice;
    /// Up to `asOf`, `earned` wei were owed for storage in all. From then on `storedBytes` cost `storagePrice`.
    Timestamp asOf;
    uint128 earned;
}

/// Fewer bytes at the same price, signed by the producer alone.
struct Release {
    AgreementId agreement;
    uint64 number;
    uint64 storedBytes;
}

/// What the producer owes for egress in all, signed by the producer.
struct Voucher {
    AgreementId agreement;
    uint128 amount;
}
