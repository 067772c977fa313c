// SPDX-License-Identifier: MIT OR Apache-2.0
// The running contract of one producer with one consumer: what is kept, what can be called.
pragma solidity 0.8.37;

import {Placement} from "./IMandates.sol";
import {Release, Revision, Terms, Voucher} from "./Papers.sol";
import {AgreementId, BucketId, HoldingRoot, MandateId, PotId, Timestamp} from "./Types.sol";

/**
 * @notice
 * ```text
 *            open                first revision                 end, by either side
 *    None ---------> Pending ----------------------> Active --------------------------> Closing --+
 *                       |                             |  ^                                        | finish, after the
 *                cancel |          terminate, by      |  | topUp, before                          | window, with no
 *                       v          anyone, after      |  | paidUntil; submit,                     | dispute open
 *                   Cancelled      paidUntil          v  | if paid after all                      v
 *                                                 Terminated ---------------------------------> Finished
 * ```
 */
enum State {
    None,
    Pending,
    Active,
    Closing,
    Terminated,
    Cancelled,
    Finished
}

/// An agreement as kept on the chain.
struct Agreement {
    // who
    address producer;
    State state;
    bool isEndedByConsumer;
    /// In Closing and Terminated: `finish` works after this.
    Timestamp closesAt;
    address consumer;
    Timestamp earliestEnd;
    /// Who signed for the producer: itself or a delegate.
    address opener;
    uint64 capacityBytes;
    BucketId bucket;
    MandateId mandate;
    // money for storage and for egress: put in, less what went back at the end; paid to the consumer so far
    uint128 funded;
    uint128 paid;
    uint128 allowance;
    uint128 redeemed;
    /// The highest voucher seen.
    uint128 vouched;
    /// What is left of the collateral, and how much of it open disputes claim.
    uint128 collateral;
    uint128 claimed;
    uint128 collateralPerGiB;
    uint32 openDisputes;
    // the newest co-signed revision
    uint32 shardCount;
    /// Its number, or that of a later release that has become part of the basis.
    uint64 number;
    Timestamp asOf;
    uint128 earned;
    uint128 storagePrice;
    uint128 egressPrice;
    HoldingRoot root;
    // what storage costs: `basisOwed` up to `basisAt`, then `basisBytes` at `storagePrice`
    uint128 basisOwed;
    uint64 basisBytes;
    Timestamp basisAt;
    // a release after that revision (number 0: none): from `releasedFrom` only `releasedBytes` cost
    uint64 releaseNumber;
    uint64 releasedBytes;
    Timestamp releasedFrom;
    /// In Closing and Terminated storage costs nothing after this.
    Timestamp accruesUntil;
}

/// What disputes and repair need to know of an agreement.
struct Holding {
    address producer;
    address consumer;
    address opener;
    State state;
    /// Whether a release came after the newest co-signed revision.
    bool isReleased;
    BucketId bucket;
    uint64 number;
    uint32 shardCount;
    HoldingRoot root;
    uint128 collateralPerGiB;
}

/// @title Agreements: revisions, settlement, grace, closing.
/// @notice Whoever calls, only signatures and time decide. Calls that say "the parties only" look at the caller.
///
/// Storage: at time t, `owed(t) = basisOwed + floor(bytes * price * (t - basisAt) / (GiB * month))` has been owed in all.
/// Each settlement pays `min(owed(now) - paid, funded - paid)`, or nothing while more is paid than owed (a later revision
/// corrects by credit). Divisions round down, so fractions of a wei stay with the producer, and since sums are cumulative, no
/// fraction is lost twice.
interface IAgreements {
    /// Both signed; money and collateral are held. Whose root comes first activates it.
    event Opened(AgreementId indexed agreement, address indexed producer, address indexed consumer, Terms terms);
    /// It came to nothing, and everything went back.
    event Cancelled(AgreementId indexed agreement, address indexed by);
    /// This revision is the newest on chain.
    event Revised(AgreementId indexed agreement, uint64 indexed number, Revision revision);
    /// From then on fewer bytes cost; from now on nothing is disputed.
    event Released(AgreementId indexed agreement, uint64 indexed number, uint64 storedBytes, Timestamp from);
    /// The producer put in more, and storage is paid until then.
    event ToppedUp(AgreementId indexed agreement, uint128 held, uint128 allowance, Timestamp paidUntil);
    /// The consumer was paid for storage until then, as far as held.
    event Settled(AgreementId indexed agreement, address indexed consumer, uint128 amount, Timestamp until);
    /// The producer owes so much for egress in all.
    event Vouched(AgreementId indexed agreement, uint128 amount);
    /// The consumer was paid for egress, as far as the allowance goes.
    event Redeemed(AgreementId indexed agreement, address indexed consumer, uint128 amount);
    /// One side ended it. Until then newer revisions, vouchers and disputes are taken, and no money moves.
    event Ended(AgreementId indexed agreement, address indexed by, Timestamp closesAt);
    /// The money was used up at the first time; newer papers are taken until the second.
    event Terminated(AgreementId indexed agreement, Timestamp paidUntil, Timestamp closesAt);
    /// By a newer revision the money was not used up at the termination, so the agreement goes on.
    event Reinstated(AgreementId indexed agreement, Timestamp paidUntil);
    /// What each got at the end beyond what was settled: collateral and the rest of held money included.
    event Finished(AgreementId indexed agreement, uint128 toProducer, uint128 toConsumer);
    /// A dispute took a part of the collateral.
    event Slashed(AgreementId indexed agreement, uint128 toProducer, uint128 toRepair);

    /// Terms open one agreement, for ever.
    error AlreadyUsed(AgreementId agreement);
    /// The terms had to be opened by then.
    error Expired(Timestamp deadline);
    /// Nobody is both sides, nor the delegate of the other.
    error SameParty(address party);
    /// The zero address signs nothing.
    error NoParty();
    /// The message was signed by another key, or other words were.
    error WrongSigner(address signer, address expected);
    /// The agreement is not in a state in which this can be called; None: there is no such agreement.
    error WrongState(AgreementId agreement, State state);
    /// Only the parties call this, or the producer alone.
    error NotParty(AgreementId agreement, address caller);
    /// Only the disputes touch collateral.
    error NotDisputes(address caller);
    /// The number has to be above that of what counts already; a delegate's, the next.
    error NotNewer(AgreementId agreement, uint64 number, uint64 current);
    /// A revision says what is, not what will be.
    error FromTheFuture(Timestamp asOf);
    /// `asOf` or `earned` are below those of an earlier revision, or `asOf` is before the opening.
    error GoesBackwards(AgreementId agreement);
    /// More bytes than the terms allow.
    error CapacityExceeded(AgreementId agreement, uint64 storedBytes);
    /// A release keeps no more bytes than cost already.
    error ReleaseIncreases(AgreementId agreement, uint64 storedBytes, uint64 current);
    /// A release counts from then on; until then there is no other, and no placement over it.
    error ReleasePending(AgreementId agreement, Timestamp from);
    /// A voucher has to be above all before, or to be still unpaid in part.
    error VoucherNotNewer(AgreementId agreement, uint128 amount, uint128 current);
    /// The money was used up then; nothing restores it.
    error Lapsed(AgreementId agreement, Timestamp paidUntil);
    /// The money lasts until then.
    error NotLapsed(AgreementId agreement, Timestamp paidUntil);
    /// The window is open until then.
    error StillClosing(AgreementId agreement, Timestamp closesAt);
    /// So many disputes are open, and have to end first.
    error DisputesOpen(AgreementId agreement, uint32 count);
    /// The consumer need not keep the shards, or a release came after the revision.
    error NotDisputable(AgreementId agreement);
    /// Open disputes claim all of the collateral already.
    error CollateralExhausted(AgreementId agreement);
    /// A delegate may not grant an allowance or a minimum term.
    error OutsideMandate();
    /// The producer itself opened the agreement, so no delegate signs for it.
    error NotMandated(AgreementId agreement);
    /// A delegate may not state that more is owed than the chain counts.
    error EarnedTooMuch(AgreementId agreement, uint128 earned, uint128 owed);
    /// The revision is not that of its placements at the prices of the agreement.
    error WrongPlacements(AgreementId agreement);

    /// Opens an agreement that both signed: takes `held` and `allowance` from the producer's balance and the collateral
    /// from the offer. By anyone, before the deadline, once for ever.
    function open(Terms calldata terms, bytes calldata producerSignature, bytes calldata consumerSignature)
        external
        returns (AgreementId);

    /// Before the first revision: gives everything back. The parties only (or the delegate that opened).
    function cancel(AgreementId agreement) external;

    /// Brings a newer revision on chain; the first one activates. Then settles. By anyone, until the agreement is finished.
    function submit(Revision calldata revision, bytes calldata producerSignature, bytes calldata consumerSignature)
        external;

    /// A revision that the delegate of the agreement's mandate signs in place of the producer: its root must be that of the
    /// placements, each held elsewhere, and it may not state more earned than the chain counts. Not while a dispute is open.
    function place(
        Revision calldata revision,
        Placement[] calldata placements,
        bytes calldata delegateSignature,
        bytes calldata consumerSignature
    ) external;

    /// Gives notice that fewer bytes are kept. Until the notice is over, newer co-signed revisions still come before it.
    /// No disputes from now until a co-signed revision with a higher number. By anyone; one notice at a time.
    function release(Release calldata release_, bytes calldata producerSignature) external;

    /// Adds money from the producer's balance. Producer only, and not after `paidUntil`.
    function topUp(AgreementId agreement, uint128 held, uint128 allowance) external;

    /// Pays the consumer what is owed for storage until now, as far as held. By anyone.
    function settle(AgreementId agreement) external;

    /// Pays the consumer what a newer voucher adds, as far as the allowance goes; in the closing window, notes it. By anyone.
    function redeem(Voucher calldata voucher, bytes calldata producerSignature) external;

    /// Begins the closing window. The parties only.
    function end(AgreementId agreement) external;

    /// After `paidUntil`, ends the agreement: nothing more is owed for storage, vouchers and revisions are taken for
    /// another closing window. If one of those shows that it was paid after all, the agreement goes on. By anyone.
    function terminate(AgreementId agreement) external;

    /// After the window, with no dispute open: pays what is owed and gives the rest back, which the record then no longer
    /// counts as put in. By anyone.
    function finish(AgreementId agreement) external;

    /// Claims a part of the collateral for a dispute. Disputes only.
    /// @return granted what is claimed: at most `asked`, at most what is unclaimed, never 0.
    function claim(AgreementId agreement, uint128 asked) external returns (uint128 granted);

    /// Ends a claim that did not succeed. Disputes only.
    function unclaim(AgreementId agreement, uint128 amount) external;

    /// Ends a claim that succeeded: half to the producer, half (rounded up) into this pot of the disputes. Disputes only.
    function slash(AgreementId agreement, uint128 amount, PotId repairPot) external;

    /// The whole record.
    function agreementOf(AgreementId agreement) external view returns (Agreement memory);

    /// The part of the record that is about shards.
    function holdingOf(AgreementId agreement) external view returns (Holding memory);

    /// What has been owed for storage in all by then.
    function owedAt(AgreementId agreement, Timestamp time) external view returns (uint128);

    /// Until when the money held pays for storage: a pure function of the record. ENDLESS when nothing is charged.
    function paidUntil(AgreementId agreement) external view returns (Timestamp);

    /// Whether the last 48 h before `paidUntil` have begun, and are not over.
    function isInGrace(AgreementId agreement) external view returns (bool);

    /// What vouchers can still draw.
    function allowanceLeft(AgreementId agreement) external view returns (uint128);

    /// The number that a newer revision must exceed: of the newest revision or of a release after it.
    function newestNumber(AgreementId agreement) external view returns (uint64);

    /// Whether a dispute may begin now.
    function isDisputable(AgreementId agreement) external view returns (bool);

    /// What both sign to open; also the id of the agreement.
    function hashTerms(Terms calldata terms) external view returns (bytes32);
    /// What both sign, or the delegate and the consumer.
    function hashRevision(Revision calldata revision) external view returns (bytes32);
    /// What the producer signs.
    function hashRelease(Release calldata release_) external view returns (bytes32);
    /// What the producer signs.
    function hashVoucher(Voucher calldata voucher) external view returns (bytes32);
}
