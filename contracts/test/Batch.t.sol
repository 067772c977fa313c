// SPDX-License-Identifier: MIT OR Apache-2.0
// Many calls in one transaction.
pragma solidity 0.8.37;

import {Batch} from "../src/Batch.sol";
import {IAgreements, State, Voucher} from "../src/IAgreements.sol";
import {AgreementId} from "../src/Types.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

contract BatchTest is World {
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
