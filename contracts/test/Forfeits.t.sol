// SPDX-License-Identifier: MIT OR Apache-2.0
// What it costs to end before the earliest end.
pragma solidity 0.8.37;

import {IAgreements} from "../src/IAgreements.sol";
import {Endings} from "./support/Endings.sol";
import {vm} from "./support/Vm.sol";

contract ForfeitsTest is Endings {
    function test_a_producer_that_ends_early_pays_for_the_rest_of_the_term() public {
        _openFor(20 days);
        _endAndFinish(id, producer);
        uint256 fee = 4000 * 20 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_a_producer_that_ends_early_pays_no_more_than_is_held() public {
        _openFor(500 days);
        _endAndFinish(id, producer);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
    }

    function test_a_consumer_that_ends_early_pays_for_the_rest_of_the_term_with_its_collateral() public {
        _openFor(20 days);
        _endAndFinish(id, consumer);
        (uint256 fee, uint256 rest) = (4000 * 2 days, 4000 * 18 days);
        _assertGot(HELD - fee + ALLOWANCE + rest, fee + COLLATERAL - rest);
    }

    function test_a_consumer_that_ends_early_pays_no_more_than_its_collateral() public {
        _openFor(100_000 days);
        _endAndFinish(id, consumer);
        _assertGot(HELD - 4000 * 2 days + ALLOWANCE + COLLATERAL, 4000 * 2 days);
    }

    function test_who_ends_in_time_forfeits_nothing() public {
        _openFor(20 days);
        _pass(18 days);
        _endAndFinish(id, consumer);
        uint256 fee = 4000 * 20 days;
        _assertGot(HELD - fee + ALLOWANCE, fee + COLLATERAL);
    }

    function test_a_termination_is_nobodys_early_end() public {
        _openFor(500 days);
        _pass(31 days);
        agreements.terminate(id);
        _pass(48 hours + 1);
        agreements.finish(id);
        _assertGot(ALLOWANCE, HELD + COLLATERAL);
    }

    function test_what_a_producer_forfeits_was_paid_too() public {
        _openFor(20 days);
        _endAndFinish(id, producer);
        vm.assertEq(agreements.agreementOf(id).paid, 4000 * 20 days, "paid");
    }

    function test_what_a_consumer_forfeits_was_not_paid() public {
        _openFor(20 days);
        (uint128 fee, uint128 rest) = (4000 * 2 days, 4000 * 18 days);
        _end(id, consumer);
        _pass(48 hours + 1);
        vm.expectEmit(address(agreements));
        emit IAgreements.Finished({
            agreement: id, toProducer: HELD - fee + ALLOWANCE + rest, toConsumer: fee + uint128(COLLATERAL) - rest
        });
        agreements.finish(id);
        vm.assertEq(agreements.agreementOf(id).paid, fee, "paid");
    }
}
