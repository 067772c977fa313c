// SPDX-License-Identifier: MIT OR Apache-2.0
// Whatever everybody does in whatever order, the money is where the signed papers say.
pragma solidity 0.8.37;

import {vm} from "../support/Vm.sol";
import {DisputeActs} from "./DisputeActs.sol";

/// Which calls forge makes in a run; it reads this from `targetSelectors`.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

contract MoneyInvariantTest {
    /// forge looks for this in a test contract.
    bool public constant IS_TEST = true;

    DisputeActs private acts;
    bytes4[] private moves;

    function setUp() public {
        acts = new DisputeActs();
        acts.setUp();
        // What comes twice is done twice as often.
        moves = [
            acts.pass.selector,
            acts.pass.selector,
            acts.pass.selector,
            acts.deposit.selector,
            acts.withdraw.selector,
            acts.rob.selector,
            acts.reach.selector,
            acts.topUp.selector,
            acts.settle.selector,
            acts.batch.selector,
            acts.redeem.selector,
            acts.activate.selector,
            acts.changeOffer.selector,
            acts.open.selector,
            acts.open.selector,
            acts.cancel.selector,
            acts.revise.selector,
            acts.revise.selector,
            acts.revise.selector,
            acts.bring.selector,
            acts.bring.selector,
            acts.overpay.selector,
            acts.release.selector,
            acts.release.selector,
            acts.end.selector,
            acts.terminate.selector,
            acts.finish.selector,
            acts.finish.selector,
            acts.place.selector,
            acts.place.selector,
            acts.challenge.selector,
            acts.challenge.selector,
            acts.challenge.selector,
            acts.answer.selector,
            acts.supersede.selector,
            acts.reprove.selector,
            acts.expire.selector,
            acts.expire.selector,
            acts.claimRepair.selector,
            acts.claimRepair.selector,
            acts.lapseRepair.selector
        ];
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(acts);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(acts), selectors: moves});
    }

    function invariant_the_money_is_where_the_papers_say() external {
        acts.check();
    }

    function afterInvariant() external {
        _windUp();
    }

    /// Long runs with seeds of their own, in which everything must have happened that can.
    function test_the_handlers_reach_every_state() external {
        string[48] memory all = _everything();
        uint256[48] memory counts;
        for (uint256 run = 0; run < 24; run++) {
            setUp();
            _run(run);
            for (uint256 index = 0; index < all.length; index++) {
                counts[index] += acts.seen(all[index]);
            }
        }
        string memory missing = "";
        for (uint256 index = 0; index < all.length; index++) {
            if (counts[index] == 0) missing = string.concat(missing, all[index], "; ");
        }
        vm.assertTrue(bytes(missing).length == 0, string.concat("never seen: ", missing));
    }

    function _run(uint256 run) private {
        for (uint256 turn = 0; turn < 500; turn++) {
            uint256 seed = uint256(keccak256(abi.encode(run, turn)));
            (bool isDone, bytes memory answer) =
                address(acts).call(abi.encodeWithSelector(moves[seed % moves.length], seed >> 8));
            if (!isDone) {
                assembly {
                    revert(add(answer, 32), mload(answer))
                }
            }
            if (turn % 20 == 0) acts.check();
        }
        _windUp();
    }

    function _everything() private pure returns (string[48] memory) {
        return [
            "Pending",
            "Active",
            "Active, revised",
            "Active, in grace",
            "Active, lapsed",
            "Active, released",
            "Active, with a credit",
            "Closing",
            "Closing, in dispute",
            "Terminated",
            "Terminated, in dispute",
            "reinstated",
            "placed by a delegate",
            "paid for storage",
            "vouched more than allowed",
            "forfeit of a producer",
            "forfeit of a consumer",
            "forfeit less a credit",
            "forfeit in spite of a credit",
            "submit during a notice",
            "slashed",
            "dismissed",
            "dismissed by a release",
            "open",
            "open refused",
            "cancel",
            "submit",
            "submit refused",
            "place",
            "place refused",
            "release",
            "release refused",
            "top up",
            "top up refused",
            "redeem",
            "redeem refused",
            "terminate",
            "terminate refused",
            "finish",
            "finish refused",
            "challenge",
            "challenge refused",
            "answer",
            "answer refused",
            "reprove",
            "claim a repair",
            "lapse a repair",
            "rob refused"
        ];
    }

    function _windUp() private {
        acts.windUp();
        acts.check();
    }
}
