// SPDX-License-Identifier: MIT OR Apache-2.0
// Many calls in one transaction.
pragma solidity 0.8.37;

import {Batch} from "../src/Batch.sol";
import {IAgreements, State} from "../src/IAgreements.sol";
import {DisputeState, IDisputes} from "../src/IDisputes.sol";
import {Voucher} from "../src/Papers.sol";
import {AgreementId, DisputeId} from "../src/Types.sol";
import {Holdings} from "./support/Holdings.sol";
import {vm} from "./support/Vm.sol";

contract BatchTest is Holdings {
    function test_hundreds_are_settled_at_once_and_a_bad_one_does_no_harm() public {
        bytes[] memory calls = new bytes[](200);
        AgreementId[] memory ids = new AgreementId[](3);
        for (uint256 index = 0; index < 3; index++) {
            ids[index] = _active();
        }
        for (uint256 index = 0; index < 200; index++) {
            AgreementId id = index == 7 ? AgreementId.wrap("unknown") : ids[index % 3];
            calls[index] = abi.encodeCall(IAgreements.settle, (id));
        }
        _pass(100);
        uint256 before = vault.balanceOf(consumer.account);
        vm.prank(stranger.account);
        bool[] memory successes = agreements.batch(calls);
        for (uint256 index = 0; index < 200; index++) {
            vm.assertTrue(successes[index] == (index != 7), "success");
        }
        vm.assertEq(vault.balanceOf(consumer.account), before + 3 * 4000 * 100, "paid");
    }

    function test_what_failed_is_reported_with_its_reason() public {
        bytes[] memory calls = new bytes[](1);
        AgreementId unknown = AgreementId.wrap("unknown");
        calls[0] = abi.encodeCall(IAgreements.settle, (unknown));
        vm.expectEmit(address(agreements));
        emit Batch.ItemFailed(0, abi.encodeWithSelector(IAgreements.WrongState.selector, unknown, State.None));
        agreements.batch(calls);
    }

    function test_a_batch_gives_no_rights() public {
        AgreementId id = _active();
        bytes[] memory calls = new bytes[](4);
        calls[0] = abi.encodeCall(IAgreements.end, (id));
        calls[1] = abi.encodeCall(IAgreements.topUp, (id, 1, 1));
        calls[2] = abi.encodeCall(IAgreements.claim, (id, 1));
        calls[3] = hex"deadbeef";
        vm.prank(stranger.account);
        bool[] memory successes = agreements.batch(calls);
        for (uint256 index = 0; index < 4; index++) {
            vm.assertFalse(successes[index], "success");
        }
        vm.prank(producer.account);
        successes = agreements.batch(calls);
        vm.assertTrue(successes[0], "a party ends its own");
        vm.assertFalse(successes[2], "no claims");
        _assertState(id, State.Closing);
    }

    function test_disputes_expire_together() public {
        AgreementId id = _activeOverShards();
        DisputeId[3] memory ids = [_dispute(id, 2, 0), _dispute(id, 3, 0), _dispute(id, 4, 0)];
        _answer(ids[1], 3, 0);
        bytes[] memory calls = new bytes[](3);
        for (uint256 index = 0; index < 3; index++) {
            calls[index] = abi.encodeCall(IDisputes.expire, (ids[index]));
        }
        _pass(24 hours + 1);
        vm.prank(stranger.account);
        bool[] memory successes = disputes.batch(calls);
        vm.assertTrue(successes[0] && !successes[1] && successes[2], "successes");
        _assertDispute(ids[0], DisputeState.Slashed);
        _assertDispute(ids[2], DisputeState.Slashed);
    }

    function test_vouchers_and_settlements_mix() public {
        AgreementId id = _active();
        Voucher memory voucher = Voucher({agreement: id, amount: 70});
        bytes memory signature = _sign(producer, agreements.hashVoucher(voucher));
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(IAgreements.redeem, (voucher, signature));
        calls[1] = abi.encodeCall(IAgreements.redeem, (voucher, signature));
        calls[2] = abi.encodeCall(IAgreements.settle, (id));
        _pass(10);
        uint256 before = vault.balanceOf(consumer.account);
        bool[] memory successes = agreements.batch(calls);
        vm.assertTrue(successes[0] && !successes[1] && successes[2], "successes");
        vm.assertEq(vault.balanceOf(consumer.account), before + 70 + 40_000, "paid");
    }
}
