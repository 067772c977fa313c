// SPDX-License-Identifier: MIT OR Apache-2.0
// Both trees: against the vectors that the clients made, and against everything that is almost a proof.
pragma solidity 0.8.37;

import {HoldingTree} from "../src/HoldingTree.sol";
import {ShardTree} from "../src/ShardTree.sol";
import {HoldingRoot, ShardRoot} from "../src/Types.sol";
import {Shard, Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @dev The verifiers take calldata.
contract Verifier {
    function hasLeaf(ShardRoot root, uint32 leafCount, uint32 index, bytes calldata leaf, bytes32[] calldata path)
        external
        pure
        returns (bool)
    {
        return ShardTree.hasLeaf(root, leafCount, index, leaf, path);
    }

    function holds(HoldingRoot root, uint32 count, uint32 index, Shard calldata shard, bytes32[] calldata path)
        external
        pure
        returns (bool)
    {
        return HoldingTree.holds(root, count, index, shard.root, shard.leafCount, path);
    }
}

contract TreesTest {
    using Trees for bytes;
    using Trees for Shard[];

    bool public constant IS_TEST = true;

    Verifier private verifier = new Verifier();

    // The vectors

    function test_shards_of_the_clients_are_proven_here() public view {
        string memory json = vm.readFile("test/vectors/merkle.json");
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _at(".shards", count)); count++) {
            _checkShard(json, _at(".shards", count));
        }
        vm.assertGe(count, 5, "shards in the file");
    }

    function test_holdings_of_the_clients_are_proven_here() public view {
        string memory json = vm.readFile("test/vectors/merkle.json");
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _at(".holdings", count)); count++) {
            _checkHolding(json, _at(".holdings", count));
        }
        vm.assertGe(count, 5, "holdings in the file");
    }

    // What is almost a proof of a leaf

    function test_every_leaf_of_small_shards_is_proven_at_its_place_only() public view {
        for (uint32 count = 1; count <= 9; count++) {
            bytes memory data = Trees.pattern(uint256(count) * 1024, 0);
            Shard memory shard = data.shardOf();
            for (uint32 index = 0; index < count; index++) {
                bytes32[] memory path = data.pathOf(index);
                for (uint32 other = 0; other < count + 2; other++) {
                    bool isProven = verifier.hasLeaf(shard.root, count, other, data.leaf(index), path);
                    vm.assertTrue(isProven == (other == index), "place");
                }
            }
        }
    }

    function test_a_path_that_is_too_short_or_too_long_proves_nothing() public view {
        bytes memory data = Trees.pattern(5 * 1024, 0);
        Shard memory shard = data.shardOf();
        for (uint32 index = 0; index < 5; index++) {
            bytes32[] memory path = data.pathOf(index);
            bytes32[] memory longer = new bytes32[](path.length + 1);
            bytes32[] memory shorter = new bytes32[](path.length - 1);
            for (uint256 node = 0; node < path.length; node++) {
                longer[node] = path[node];
                if (node < shorter.length) shorter[node] = path[node];
            }
            vm.assertFalse(verifier.hasLeaf(shard.root, 5, index, data.leaf(index), longer), "longer");
            vm.assertFalse(verifier.hasLeaf(shard.root, 5, index, data.leaf(index), shorter), "shorter");
        }
    }

    function test_an_inner_node_does_not_pass_as_a_leaf() public view {
        bytes memory data = Trees.pattern(4 * 1024, 0);
        Shard memory shard = data.shardOf();
        bytes32[] memory level = Trees.above(hex"01", data.hashes());
        bytes memory pair = abi.encodePacked(level[0], level[1]);
        vm.assertFalse(verifier.hasLeaf(shard.root, 4, 0, pair, new bytes32[](0)), "with the real count");
        vm.assertFalse(verifier.hasLeaf(shard.root, 1, 0, pair, new bytes32[](0)), "as the only leaf");
        bytes32[] memory path = new bytes32[](1);
        path[0] = level[1];
        vm.assertFalse(
            verifier.hasLeaf(shard.root, 2, 0, abi.encodePacked(data.hashes()[0], data.hashes()[1]), path),
            "two leaves as one"
        );
    }

    function test_a_leaf_has_exactly_1024_bytes() public view {
        // Trees whose only leaf is shorter or longer: their roots exist, but no such shard does.
        uint256[4] memory lengths = [uint256(0), 1023, 1025, 2048];
        for (uint256 turn = 0; turn < 4; turn++) {
            bytes memory leaf = Trees.pattern(lengths[turn], 0);
            bytes32 top = sha256(abi.encodePacked(hex"00", leaf));
            ShardRoot root = ShardRoot.wrap(sha256(abi.encodePacked(hex"02", uint32(1), top)));
            vm.assertFalse(verifier.hasLeaf(root, 1, 0, leaf, new bytes32[](0)), "length");
        }
    }

    function test_another_count_proves_nothing() public view {
        bytes memory data = Trees.pattern(4 * 1024, 0);
        ShardRoot root = data.shardOf().root;
        for (uint32 count = 0; count < 10; count++) {
            bool isProven = verifier.hasLeaf(root, count, 1, data.leaf(1), data.pathOf(1));
            vm.assertTrue(isProven == (count == 4), "count");
        }
        vm.assertFalse(verifier.hasLeaf(root, type(uint32).max, 1, data.leaf(1), data.pathOf(1)), "greatest");
    }

    // What is almost a proof of a holding

    function test_a_shard_is_held_at_its_place_with_its_length_only() public view {
        for (uint32 count = 1; count <= 9; count++) {
            Shard[] memory held = _some(count);
            HoldingRoot root = held.holdingOf();
            for (uint32 index = 0; index < count; index++) {
                bytes32[] memory path = held.pathOf(index);
                for (uint32 other = 0; other < count + 2; other++) {
                    bool isHeld = verifier.holds(root, count, other, held[index], path);
                    vm.assertTrue(isHeld == (other == index), "place");
                }
                vm.assertFalse(verifier.holds(root, count + 1, index, held[index], path), "count");
                Shard memory longer = Shard(held[index].root, held[index].leafCount + 1);
                vm.assertFalse(verifier.holds(root, count, index, longer, path), "length");
            }
        }
    }

    function test_nothing_is_held_by_an_empty_agreement() public view {
        Shard[] memory none = new Shard[](0);
        Shard memory shard = Shard(ShardRoot.wrap(0), 0);
        vm.assertFalse(verifier.holds(none.holdingOf(), 0, 0, shard, new bytes32[](0)), "held");
        vm.assertFalse(verifier.holds(none.holdingOf(), 1, 0, shard, new bytes32[](0)), "as one");
    }

    function test_the_nodes_of_one_tree_do_not_pass_in_the_other() public view {
        bytes memory data = Trees.pattern(2 * 1024, 0);
        Shard memory shard = data.shardOf();
        HoldingRoot root = HoldingRoot.wrap(ShardRoot.unwrap(shard.root));
        vm.assertFalse(verifier.holds(root, 2, 0, shard, data.pathOf(0)), "a shard as a holding");
        Shard[] memory held = _some(2);
        ShardRoot other = ShardRoot.wrap(HoldingRoot.unwrap(held.holdingOf()));
        vm.assertFalse(verifier.hasLeaf(other, 2, 0, data.leaf(0), held.pathOf(0)), "a holding as a shard");
    }

    function test_the_root_over_a_list_is_the_root_of_its_paths() public pure {
        for (uint32 count = 0; count <= 17; count++) {
            Shard[] memory held = _some(count);
            HoldingRoot root = HoldingTree.rootOf(held.places());
            vm.assertEq(HoldingRoot.unwrap(root), HoldingRoot.unwrap(held.holdingOf()), "root");
        }
    }

    function _some(uint256 count) private pure returns (Shard[] memory held) {
        held = new Shard[](count);
        for (uint256 index = 0; index < count; index++) {
            held[index] = Shard(ShardRoot.wrap(keccak256(abi.encode(index))), uint32(index) * 7 + 1);
        }
    }

    function _checkShard(string memory json, string memory where) private view {
        uint256 leafCount = vm.parseJsonUint(json, _join(where, ".leafCount"));
        bytes memory data = Trees.pattern(leafCount * 1024, vm.parseJsonUint(json, _join(where, ".salt")));
        ShardRoot root = ShardRoot.wrap(vm.parseJsonBytes32(json, _join(where, ".root")));
        vm.assertEq(ShardRoot.unwrap(data.shardOf().root), ShardRoot.unwrap(root), "root");
        uint256 count = 0;
        for (; vm.keyExistsJson(json, _at(_join(where, ".proofs"), count)); count++) {
            string memory proof = _at(_join(where, ".proofs"), count);
            uint256 index = vm.parseJsonUint(json, _join(proof, ".leafIndex"));
            bytes32[] memory path = vm.parseJsonBytes32Array(json, _join(proof, ".path"));
            bool isProven = verifier.hasLeaf(root, uint32(leafCount), uint32(index), data.leaf(index), path);
            vm.assertTrue(isProven, "proof of a leaf");
        }
        vm.assertGe(count, 1, "proofs of a shard");
    }

    function _checkHolding(string memory json, string memory where) private view {
        HoldingRoot root = HoldingRoot.wrap(vm.parseJsonBytes32(json, _join(where, ".root")));
        uint256 shardCount = vm.parseJsonUint(json, _join(where, ".shardCount"));
        Shard[] memory held = new Shard[](shardCount);
        for (uint256 index = 0; index < shardCount; index++) {
            string memory entry = _at(_join(where, ".shards"), index);
            held[index] = Shard({
                root: ShardRoot.wrap(vm.parseJsonBytes32(json, _join(entry, ".root"))),
                leafCount: uint32(vm.parseJsonUint(json, _join(entry, ".leafCount")))
            });
            bytes32[] memory path = vm.parseJsonBytes32Array(json, _join(entry, ".path"));
            vm.assertTrue(
                verifier.holds(root, uint32(shardCount), uint32(index), held[index], path), "proof of a shard"
            );
        }
        vm.assertEq(HoldingRoot.unwrap(held.holdingOf()), HoldingRoot.unwrap(root), "root");
    }

    function _at(string memory list, uint256 index) private pure returns (string memory) {
        return string.concat(list, "[", vm.toString(index), "]");
    }

    function _join(string memory a, string memory b) private pure returns (string memory) {
        return string.concat(a, b);
    }
}
