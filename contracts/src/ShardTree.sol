// SPDX-License-Identifier: MIT OR Apache-2.0
// The Merkle tree over the bytes of a shard, as the clients compute it.
pragma solidity 0.8.37;

import {LEAF_BYTES, ShardRoot} from "./Types.sol";
import {TreePath} from "./TreePath.sol";

/// @title The root that is a shard's id.
/// @notice `|` concatenates, numbers are big-endian, H is SHA-256. Shards are whole leaves of 1024 bytes.
///
/// - leaf: `H(0x00 | 1024 bytes)`
/// - inner node: `H(0x01 | left | right)`, both 32 bytes
/// - root: `H(0x02 | leaf count, 4 bytes | top node)`
///
/// Each level pairs the nodes of the one below from the left; a last node without a partner moves up unchanged. A path
/// gives the siblings from the leaf upwards and skips levels on which the node has none.
library ShardTree {
    bytes1 internal constant LEAF = 0x00;
    bytes1 internal constant INNER = 0x01;
    bytes1 internal constant ROOT = 0x02;

    /// Whether these bytes are leaf `index` of the shard.
    function hasLeaf(ShardRoot root, uint32 leafCount, uint32 index, bytes calldata leaf, bytes32[] calldata path)
        internal
        pure
        returns (bool)
    {
        if (leaf.length != LEAF_BYTES) return false;
        (bool isPath, bytes32 top) = TreePath.climb(INNER, sha256(abi.encodePacked(LEAF, leaf)), index, leafCount, path);
        return isPath && ShardRoot.unwrap(root) == sha256(abi.encodePacked(ROOT, leafCount, top));
    }
}
