// SPDX-License-Identifier: MIT OR Apache-2.0
// From a leaf to the top of a tree in which a lone last node moves up.
pragma solidity 0.8.37;

/// @title The climb that both trees share.
library TreePath {
    /// The top node that a leaf and its path lead to.
    /// @return isPath false when there is no such index, or the path has a node too few or too many.
    function climb(bytes1 inner, bytes32 leaf, uint32 index, uint32 count, bytes32[] calldata path)
        internal
        pure
        returns (bool isPath, bytes32 top)
    {
        if (index >= count) return (false, 0);
        uint256 used = 0;
        top = leaf;
        for (uint256 level = count; level > 1; level = (level + 1) / 2) {
            bool isRight = index % 2 == 1;
            if (isRight || uint256(index) + 1 < level) {
                if (used == path.length) return (false, 0);
                bytes32 sibling = path[used++];
                top = sha256(isRight ? abi.encodePacked(inner, sibling, top) : abi.encodePacked(inner, top, sibling));
            }
            index /= 2;
        }
        return (used == path.length, top);
    }
}
