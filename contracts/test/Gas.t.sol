// SPDX-License-Identifier: MIT OR Apache-2.0
// What the calls cost that are made every day. Numbers are kept in .gas-snapshot.
pragma solidity 0.8.37;

import {IAgreements} from "../src/IAgreements.sol";
import {Challenge} from "../src/IDisputes.sol";
import {Revision, Terms, Voucher} from "../src/Papers.sol";
import {AgreementId, DisputeId} from "../src/Types.sol";
import {Holdings} from "./support/Holdings.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @dev Everything is signed and built beforehand, so that nearly only the call itself is counted.
contract GasTest is Holdings {
    using Trees for bytes;
    using Trees for Shard[];

    Terms private terms;
    Revision private revision;
    Voucher private voucher;
    Challenge private question;
    bytes private a;
    bytes private b;
    bytes private c;
    bytes private d;
    bytes private e;
    bytes32[] private path;
    bytes private leaf;
    bytes32[] private leafPath;
    AgreementId private id;
    DisputeId private dispute;
    bytes[] private settlements;

    function setUp() public override {
        super.setUp();
        id = _activeOverShards();
        terms = _terms();
        (a, b) = _both(agreements.hashTerms(terms));
        dispute = _dispute(id, 4, 6);
        (leaf, leafPath) = (data[4].leaf(6), data[4].pathOf(6));
        question = _challenge(id, 3, 2);
        path = _shards().pathOf(3);
        for (uint256 index = 0; index < 100; index++) {
            settlements.push(abi.encodeCall(IAgreements.settle, (_cheap())));
        }
        _pass(1000);
        revision = _holding(id, 2, shards);
        (c, d) = _both(agreements.hashRevision(revision));
        voucher = Voucher({agreement: id, amount: 10});
        e = _sign(producer, agreements.hashVoucher(voucher));
    }

    function test_gas_open() public {
        agreements.open(terms, a, b);
    }

    function test_gas_submit() public {
        agreements.submit(revision, c, d);
    }

    function test_gas_settle() public {
        agreements.settle(id);
    }

    function test_gas_settle_100_in_a_batch() public {
        agreements.batch(settlements);
    }

    function test_gas_redeem() public {
        agreements.redeem(voucher, e);
    }

    function test_gas_challenge() public {
        vm.prank(producer.account);
        disputes.challenge(question, path, NO_MANDATE);
    }

    function test_gas_answer() public {
        disputes.answer(dispute, leaf, leafPath);
    }

    /// A small agreement, so that the offer has room for many.
    function _cheap() private returns (AgreementId small) {
        Terms memory small_ = _terms();
        (small_.capacityBytes, small_.held) = (GIB / 8, 1000 * 1 days);
        small = _open(small_);
        Revision memory first = _revision(small, 1);
        first.storedBytes = GIB / 8;
        _submit(first);
    }

    function _both(bytes32 digest) private view returns (bytes memory, bytes memory) {
        return (_sign(producer, digest), _sign(consumer, digest));
    }
}
