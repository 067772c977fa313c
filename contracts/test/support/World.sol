// SPDX-License-Identifier: MIT OR Apache-2.0
// A small world in which everything is deployed and everybody is activated: what tests start from.
pragma solidity 0.8.37;

import {Agreements} from "../../src/Agreements.sol";
import {Disputes} from "../../src/Disputes.sol";
import {Agreement, State} from "../../src/IAgreements.sol";
import {Mandate} from "../../src/IMandates.sol";
import {Activation, OfferTerms, Role} from "../../src/IRegistry.sol";
import {Mandates} from "../../src/Mandates.sol";
import {Release, Revision, Terms, Voucher} from "../../src/Papers.sol";
import {Registry} from "../../src/Registry.sol";
import {AgreementId, BucketId, Duration, HoldingRoot, MandateId, OfferId, PotId, Timestamp} from "../../src/Types.sol";
import {Vault} from "../../src/Vault.sol";
import {Deployment, Settings, Suite} from "../../script/Deployment.sol";
import {vm} from "./Vm.sol";

struct Party {
    address account;
    uint256 key;
}

abstract contract World {
    /// forge looks for this in a test contract.
    bool public constant IS_TEST = true;

    uint64 internal constant GIB = 1 << 30;
    uint256 internal constant START = 1_800_000_000;
    /// A GiB costs 1000 wei a second.
    uint128 internal constant PRICE = 1000 * 30 days;
    uint128 internal constant EGRESS_PRICE = 500;
    /// A shard of an odd number of leaves has an odd share.
    uint128 internal constant COLLATERAL_PER_GIB = (1 << 40) + (1 << 20);
    uint64 internal constant CAPACITY = 16 * GIB;
    /// What the usual revision stores costs 4000 wei a second, so the usual sum lasts 30 days.
    uint64 internal constant STORED = 4 * GIB;
    uint128 internal constant HELD = 4000 * 30 days;
    uint128 internal constant ALLOWANCE = 10_000;
    uint128 internal constant BOND = 7777;
    uint128 internal constant MINIMUM = 100;
    uint256 internal constant WAIT = 2 days;
    BucketId internal constant BUCKET = BucketId.wrap("photos");
    MandateId internal constant NO_MANDATE = MandateId.wrap(0);

    Vault internal vault;
    Registry internal registry;
    Mandates internal mandates;
    Agreements internal agreements;
    Disputes internal disputes;

    Party internal producer = _party("producer", 0xA11CE);
    Party internal consumer = _party("consumer", 0xB0B);
    Party internal second = _party("second consumer", 0xCA7);
    Party internal delegate = _party("delegate", 0xDE1);
    Party internal stranger = _party("stranger", 0x5A1);
    address internal treasury = vm.addr(0x7EA);

    OfferId internal offer;
    OfferId internal secondOffer;
    uint256 private _salt;

    function setUp() public virtual {
        vm.warp(START);
        Suite memory suite = Deployment.deploy(
            address(this),
            Settings({
                treasury: treasury, minimumPayment: MINIMUM, activationWait: Duration.wrap(uint64(WAIT)), bond: BOND
            })
        );
        (vault, registry, mandates, agreements, disputes) =
        (suite.vault, suite.registry, suite.mandates, suite.agreements, suite.disputes);
        _fund(producer.account, 1 ether);
        _fund(consumer.account, 1 ether);
        _fund(second.account, 1 ether);
        _fund(delegate.account, 1 ether);
        _activate(producer, Role.Producer);
        _activate(consumer, Role.Consumer);
        _activate(second, Role.Consumer);
        _pass(WAIT);
        offer = _offer(consumer);
        secondOffer = _offer(second);
    }

    // Time and people

    function _party(string memory name, uint256 key) internal returns (Party memory party) {
        party = Party({account: vm.addr(key), key: key});
        vm.label(party.account, name);
    }

    function _now() internal view returns (Timestamp) {
        return Timestamp.wrap(uint64(block.timestamp));
    }

    function _after(uint256 wait) internal view returns (Timestamp) {
        return Timestamp.wrap(uint64(block.timestamp + wait));
    }

    function _pass(uint256 wait) internal {
        vm.warp(block.timestamp + wait);
    }

    function _fund(address account, uint256 amount) internal {
        vm.deal(address(this), address(this).balance + amount);
        vault.deposit{value: amount}(account);
    }

    function _sign(Party memory party, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(party.key, digest);
        return abi.encodePacked(r, s, v);
    }

    // The registry

    function _activation(Party memory party, Role role) internal view returns (Activation memory) {
        return Activation({
            account: party.account,
            id: keccak256(abi.encode("id of", party.account)),
            role: role,
            payment: MINIMUM,
            deadline: _after(1 hours)
        });
    }

    function _activate(Party memory party, Role role) internal {
        Activation memory activation = _activation(party, role);
        registry.activate(activation, _sign(party, registry.hashActivation(activation)));
    }

    function _offerTerms() internal view returns (OfferTerms memory) {
        return OfferTerms({
            storagePrice: PRICE,
            egressPrice: EGRESS_PRICE,
            capacityBytes: 4 * CAPACITY,
            collateralPerGiB: COLLATERAL_PER_GIB,
            earliestEnd: _now(),
            expiry: _after(365 days)
        });
    }

    function _offer(Party memory party) internal returns (OfferId) {
        vm.prank(party.account);
        return registry.createOffer(_offerTerms(), new string[](0));
    }

    // Agreements

    /// Usual terms, each with another salt.
    function _terms() internal returns (Terms memory) {
        return Terms({
            producer: producer.account,
            consumer: consumer.account,
            offer: offer,
            bucket: BUCKET,
            mandate: NO_MANDATE,
            storagePrice: PRICE,
            egressPrice: EGRESS_PRICE,
            collateralPerGiB: COLLATERAL_PER_GIB,
            capacityBytes: CAPACITY,
            held: HELD,
            allowance: ALLOWANCE,
            earliestEnd: _now(),
            deadline: _after(1 hours),
            salt: bytes32(++_salt)
        });
    }

    function _open(Terms memory terms, Party memory a, Party memory b) internal returns (AgreementId) {
        bytes32 digest = agreements.hashTerms(terms);
        return agreements.open(terms, _sign(a, digest), _sign(b, digest));
    }

    function _open(Terms memory terms) internal returns (AgreementId) {
        return _open(terms, producer, consumer);
    }

    /// A pending agreement with somebody else than the usual consumer.
    function _openWith(Party memory other, OfferId theirOffer) internal returns (AgreementId) {
        Terms memory terms = _terms();
        (terms.consumer, terms.offer) = (other.account, theirOffer);
        return _open(terms, producer, other);
    }

    /// An agreement that is active since now, with the usual revision.
    function _active() internal returns (AgreementId id) {
        id = _open(_terms());
        _submit(_revision(id, 1));
    }

    /// The usual revision, from now on.
    function _revision(AgreementId id, uint64 number) internal view returns (Revision memory) {
        return Revision({
            agreement: id,
            number: number,
            root: HoldingRoot.wrap(keccak256(abi.encode("root", number))),
            shardCount: 1,
            storedBytes: STORED,
            storagePrice: PRICE,
            egressPrice: EGRESS_PRICE,
            asOf: _now(),
            earned: agreements.owedAt(id, _now())
        });
    }

    /// A revision by which so many bytes are stored from a later time on, and the usual ones until then.
    function _laterRevision(AgreementId id, uint64 number, uint256 wait, uint64 storedBytes)
        internal
        view
        returns (Revision memory revision)
    {
        revision = _revision(id, number);
        revision.asOf = _after(wait);
        revision.earned = agreements.owedAt(id, revision.asOf);
        revision.storedBytes = storedBytes;
    }

    function _submit(Revision memory revision) internal {
        _submitBy(revision, producer, consumer);
    }

    function _submitBy(Revision memory revision, Party memory a, Party memory b) internal {
        bytes32 digest = agreements.hashRevision(revision);
        agreements.submit(revision, _sign(a, digest), _sign(b, digest));
    }

    function _end(AgreementId id, Party memory by) internal {
        vm.prank(by.account);
        agreements.end(id);
    }

    /// Ends an agreement, waits, and finishes it.
    function _endAndFinish(AgreementId id, Party memory by) internal {
        _end(id, by);
        _pass(48 hours + 1);
        agreements.finish(id);
    }

    function _release(AgreementId id, uint64 number, uint64 storedBytes) internal {
        Release memory release = Release({agreement: id, number: number, storedBytes: storedBytes});
        agreements.release(release, _sign(producer, agreements.hashRelease(release)));
    }

    function _redeem(AgreementId id, uint128 amount) internal {
        Voucher memory voucher = Voucher({agreement: id, amount: amount});
        agreements.redeem(voucher, _sign(producer, agreements.hashVoucher(voucher)));
    }

    function _mandate() internal view returns (Mandate memory) {
        return Mandate({
            producer: producer.account,
            delegate: delegate.account,
            bucket: BUCKET,
            storagePrice: PRICE,
            capacityBytes: CAPACITY,
            expiry: _after(60 days),
            salt: "mandate"
        });
    }

    function _accept(Mandate memory mandate) internal returns (MandateId) {
        return mandates.accept(mandate, _sign(producer, mandates.hashMandate(mandate)));
    }

    function _stateOf(AgreementId id) internal view returns (State) {
        return agreements.agreementOf(id).state;
    }

    // What is expected

    function _assertState(AgreementId id, State expected) internal view {
        vm.assertEq(uint256(_stateOf(id)), uint256(expected), "state");
    }

    function _assertPot(PotId pot, uint256 expected, string memory what) internal view {
        vm.assertEq(vault.contentOf(address(agreements), pot), expected, what);
    }

    /// A record and its pots say the same.
    function _assertBooksAgree(AgreementId id, PotId held, PotId allowance, PotId collateral) internal view {
        Agreement memory agreement = agreements.agreementOf(id);
        _assertPot(held, agreement.funded - agreement.paid, "held");
        _assertPot(allowance, agreement.allowance - agreement.redeemed, "allowance");
        _assertPot(collateral, agreement.collateral, "collateral");
    }
}
