// SPDX-License-Identifier: MIT OR Apache-2.0
// The Merkle tree over the shards that an agreement holds.
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {HoldingRoot, ShardRoot} from "./Types.sol";
import {TreePath} from "./TreePath.sol";

/// @title The root that both parties sign.
/// @notice `|` concatenates, numbers are big-endian, H is SHA-256. The shards of an agreement have an order, which the parties
/// choose; shard number `index` is the one at place `index`, from 0.
///
/// - leaf: `H(0x03 | index, 4 bytes | root of the shard, 32 bytes | leaves of the shard, 4 bytes)`
/// - inner node: `H(0x04 | left | right)`, both 32 bytes
/// - root: `H(0x05 | count of shards, 4 bytes | top node)`
///
/// The shape is that of the tree of a shard (`ShardTree`): each level pairs the nodes of the one below from the left, a last
/// node without a partner moves up unchanged, the top node is the only node of the last level. Without a shard, the top
/// node is 32 zero bytes. A path gives the siblings from the leaf upwards and skips levels on which the node has none.
///
/// The domains 0x03 to 0x05 are not those of a shard (0x00 to 0x02), so neither tree's nodes pass for the other's. Index and
/// count are hashed, so a path of another place, height or size does not verify.
library HoldingTree {
    bytes1 internal constant LEAF = 0x03;
    bytes1 internal constant INNER = 0x04;
    bytes1 internal constant ROOT = 0x05;

    /// Whether the shard is at this place of the root.
    function holds(
        HoldingRoot root,
        uint32 shardCount,
        uint32 index,
        ShardRoot shard,
        uint32 leafCount,
        bytes32[] calldata path
    ) internal pure returns (bool) {
        (bool isPath, bytes32 top) = TreePath.climb(INNER, leafOf(index, shard, leafCount), index, shardCount, path);
        return isPath && HoldingRoot.unwrap(root) == HoldingRoot.unwrap(seal(shardCount, top));
    }

    /// The leaf of a shard.
    function leafOf(uint32 index, ShardRoot shard, uint32 leafCount) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(LEAF, index, shard, leafCount));
    }

    /// The root over leaves. They are overwritten.
    function rootOf(bytes32[] memory leaves) internal pure returns (HoldingRoot) {
        uint256 count = leaves.length;
        if (count == 0) return seal(0, bytes32(0));
        for (uint256 level = count; level > 1; level = (level + 1) / 2) {
            for (uint256 pair = 0; pair < level / 2; pair++) {
                leaves[pair] = sha256(abi.encodePacked(INNER, leaves[2 * pair], leaves[2 * pair + 1]));
            }
            if (level % 2 == 1) leaves[level / 2] = leaves[level - 1];
        }
        return seal(SafeCast.toUint32(count), leaves[0]);
    }

    function seal(uint32 count, bytes32 top) internal pure returns (HoldingRoot) {
        return HoldingRoot.wrap(sha256(abi.encodePacked(ROOT, count, top)));
    }
}
