// SPDX-License-Identifier: MIT OR Apache-2.0
// The trees a second time, from their description: built whole, level by level.
pragma solidity 0.8.37;

import {HoldingRoot, ShardRoot} from "../../src/Types.sol";

struct Shard {
    ShardRoot root;
    uint32 leafCount;
}

library Trees {
    /// The bytes (i * 7 + i / 1024 * 13 + salt) mod 251.
    function pattern(uint256 length, uint256 salt) internal pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 place = 0; place < length; place++) {
            data[place] = bytes1(uint8((place * 7 + place / 1024 * 13 + salt) % 251));
        }
    }

    function leaf(bytes memory data, uint256 index) internal pure returns (bytes memory part) {
        part = new bytes(1024);
        for (uint256 place = 0; place < 1024; place++) {
            part[place] = data[index * 1024 + place];
        }
    }

    function shardOf(bytes memory data) internal pure returns (Shard memory) {
        bytes32[] memory leaves = hashes(data);
        uint32 count = uint32(leaves.length);
        return Shard(ShardRoot.wrap(sha256(abi.encodePacked(hex"02", count, topOf(hex"01", leaves)))), count);
    }

    /// The path of a leaf of a shard.
    function pathOf(bytes memory data, uint256 index) internal pure returns (bytes32[] memory) {
        return path(hex"01", hashes(data), index);
    }

    function holdingOf(Shard[] memory shards) internal pure returns (HoldingRoot) {
        bytes32 top = shards.length == 0 ? bytes32(0) : topOf(hex"04", places(shards));
        return HoldingRoot.wrap(sha256(abi.encodePacked(hex"05", uint32(shards.length), top)));
    }

    /// The path of a shard of an agreement.
    function pathOf(Shard[] memory shards, uint256 index) internal pure returns (bytes32[] memory) {
        return path(hex"04", places(shards), index);
    }

    function hashes(bytes memory data) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](data.length / 1024);
        for (uint256 index = 0; index < leaves.length; index++) {
            leaves[index] = sha256(abi.encodePacked(hex"00", leaf(data, index)));
        }
    }

    function places(Shard[] memory shards) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](shards.length);
        for (uint256 index = 0; index < leaves.length; index++) {
            leaves[index] =
                sha256(abi.encodePacked(hex"03", uint32(index), shards[index].root, shards[index].leafCount));
        }
    }

    function above(bytes1 domain, bytes32[] memory level) internal pure returns (bytes32[] memory next) {
        next = new bytes32[]((level.length + 1) / 2);
        for (uint256 place = 0; place < next.length; place++) {
            next[place] = 2 * place + 1 < level.length
                ? sha256(abi.encodePacked(domain, level[2 * place], level[2 * place + 1]))
                : level[2 * place];
        }
    }

    function topOf(bytes1 domain, bytes32[] memory level) internal pure returns (bytes32) {
        while (level.length > 1) level = above(domain, level);
        return level[0];
    }

    function path(bytes1 domain, bytes32[] memory level, uint256 index) internal pure returns (bytes32[] memory nodes) {
        bytes32[] memory found = new bytes32[](32);
        uint256 count = 0;
        while (level.length > 1) {
            uint256 sibling = index % 2 == 1 ? index - 1 : index + 1;
            if (sibling < level.length) found[count++] = level[sibling];
            level = above(domain, level);
            index /= 2;
        }
        nodes = new bytes32[](count);
        for (uint256 place = 0; place < count; place++) {
            nodes[place] = found[place];
        }
    }
}
