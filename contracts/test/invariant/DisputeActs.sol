// SPDX-License-Identifier: MIT OR Apache-2.0
// Challenges, answers, slashes, money for repair, and the end of everything.
pragma solidity 0.8.37;

import {IAgreements, State} from "../../src/IAgreements.sol";
import {Challenge, DisputeState, IDisputes} from "../../src/IDisputes.sol";
import {IVault} from "../../src/IVault.sol";
import {DisputeId, MandateId, Timestamp} from "../../src/Types.sol";
import {Shard, Trees} from "../support/Trees.sol";
import {vm} from "../support/Vm.sol";
import {Quarrel} from "./Books.sol";
import {PaperActs} from "./PaperActs.sol";
import {Shadow, Shadows} from "./Shadow.sol";

contract DisputeActs is PaperActs {
    using Shadows for Shadow;
    using Trees for bytes;
    using Trees for Shard[];

    function challenge(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow storage s = book[index];
        uint256 shard = (seed >> 64) % 5;
        bool isDelegate = (seed >> 72) % 4 == 0;
        address by = isDelegate ? delegate.account : producer.account;
        if ((seed >> 80) % 16 == 0) by = _consumerOf(s).account;
        uint256 leaf = (seed >> 88) % 32 == 0 ? shards[shard].leafCount : (seed >> 88) % shards[shard].leafCount;
        uint256 number = s.number - ((seed >> 96) % 16 == 0 && s.number > 0 ? 1 : 0);
        uint256 claim = _claimOf(s, shard);
        bool should =
            (by == producer.account && !isDelegate) || (by == delegate.account && isDelegate && clock <= mandateEnd);
        should = should && leaf < shards[shard].leafCount && number == s.number && _has(s, shard) && claim > 0
            && openQuarrel[index][shard] == 0 && slashedNumber[index][shard] < number && s.isDisputable(clock)
            && free[by] >= BOND;
        bytes memory call = abi.encodeCall(
            IDisputes.challenge, (_asked(s, shard, leaf, number), _pathIn(s, shard), isDelegate ? mandate : NO_MANDATE)
        );
        if (!_try(by, address(disputes), call, should, "challenge")) return;
        free[by] -= BOND;
        s.claimed += claim;
        s.openDisputes += 1;
        quarrels.push(
            Quarrel({
                id: DisputeId.wrap(disputes.disputeCount()),
                about: index,
                shard: shard,
                leaf: uint32(leaf),
                number: number,
                deadline: clock + 24 hours,
                claim: claim,
                repair: 0,
                challenger: by,
                state: DisputeState.Open
            })
        );
        openQuarrel[index][shard] = quarrels.length;
    }

    function answer(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length == 0) return;
        Quarrel storage q = quarrels[_recent(seed)];
        bool isWrong = seed % 3 > 0;
        bytes memory bytes_ = data[q.shard].leaf(q.leaf);
        if (isWrong) bytes_[(seed >> 64) % 1024] ^= 0x01;
        bytes memory call = abi.encodeCall(IDisputes.answer, (q.id, bytes_, data[q.shard].pathOf(q.leaf)));
        bool should = !isWrong && q.state == DisputeState.Open && clock <= q.deadline;
        if (_try(_someone(seed >> 32), address(disputes), call, should, "answer")) _cleared(q, DisputeState.Answered);
    }

    function supersede(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length == 0) return;
        Quarrel storage q = quarrels[_recent(seed)];
        Shadow memory s = book[q.about];
        bool should = q.state == DisputeState.Open && clock <= q.deadline && s.newest() > q.number;
        bytes memory call = abi.encodeCall(IDisputes.supersede, (q.id));
        if (!_try(_someone(seed >> 32), address(disputes), call, should, "supersede")) return;
        if (s.releaseNumber > 0) {
            _cleared(q, DisputeState.Dismissed);
            _see("dismissed by a release");
        } else {
            q.state = DisputeState.Superseded;
            q.deadline = clock + 24 hours;
        }
    }

    function reprove(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length == 0) return;
        Quarrel storage q = quarrels[_recent(seed)];
        Shadow memory s = book[q.about];
        bool should =
            q.state == DisputeState.Superseded && clock <= q.deadline && s.releaseNumber == 0 && _has(s, q.shard);
        uint32 place_ = _has(s, q.shard) ? uint32(q.shard - s.low) : 0;
        bytes memory call = abi.encodeCall(IDisputes.reprove, (q.id, place_, _pathIn(s, q.shard)));
        if (!_try(_someone(seed >> 32), address(disputes), call, should, "reprove")) return;
        q.state = DisputeState.Open;
        q.deadline = clock + 24 hours;
        q.number = s.number;
    }

    function expire(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length > 0) _expireOne(_recent(seed), _someone(seed >> 32));
    }

    function claimRepair(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length == 0) return;
        Quarrel storage q = quarrels[_recent(seed)];
        Shadow memory lost = book[q.about];
        Shadow memory found = book[_pick(seed >> 16)];
        uint32 place_ = _has(found, q.shard) ? uint32(q.shard - found.low) : 0;
        bool should = q.repair > 0 && clock <= q.deadline && found.state == State.Active && found.releaseNumber == 0
            && found.isSecond != lost.isSecond && _has(found, q.shard);
        bytes memory call = abi.encodeCall(IDisputes.claimRepair, (q.id, found.id, place_, _pathIn(found, q.shard)));
        if (!_try(_someone(seed >> 32), address(disputes), call, should, "claim a repair")) return;
        free[_opener(found)] += q.repair;
        q.repair = 0;
    }

    function lapseRepair(uint256 any) external inTime {
        uint256 seed = _mix(any);
        if (quarrels.length == 0) return;
        _lapseOne(_recent(seed));
    }

    /// Everybody goes home: what is left to do is done, and everybody takes out what is theirs.
    function windUp() external {
        vm.warp(clock);
        for (uint256 index = 0; index < book.length; index++) {
            Shadow storage s = book[index];
            if (s.state == State.Pending) {
                bytes memory cancelling = abi.encodeCall(IAgreements.cancel, (s.id));
                _try(_consumerOf(s).account, address(agreements), cancelling, true, "cancel at the end");
                _cancelled(index);
            }
            if (s.state == State.Active) {
                bytes memory ending = abi.encodeCall(IAgreements.end, (s.id));
                _try(producer.account, address(agreements), ending, true, "end at the end");
                _ended(index, false);
            }
        }
        clock += 48 hours + 1;
        vm.warp(clock);
        for (uint256 index = 0; index < quarrels.length; index++) {
            _expireOne(index, stranger.account);
        }
        for (uint256 index = 0; index < book.length; index++) {
            _finishOne(index, stranger.account);
        }
        clock += 181 days;
        vm.warp(clock);
        for (uint256 index = 0; index < quarrels.length; index++) {
            _lapseOne(index);
        }
        for (uint256 index = 0; index < book.length; index++) {
            State state = book[index].state;
            vm.assertTrue(state == State.Finished || state == State.Cancelled, "all is over");
        }
        for (uint256 index = 0; index < people.length; index++) {
            address account = people[index];
            bytes memory call = abi.encodeCall(IVault.withdraw, (free[account], payable(account)));
            _try(account, address(vault), call, true, "withdraw at the end");
            (paidOut[account], free[account]) = (paidOut[account] + free[account], 0);
        }
    }

    // Parts

    function _claimOf(Shadow memory s, uint256 shard) private view returns (uint256) {
        uint256 full = uint256(shards[shard].leafCount) * 1024 * COLLATERAL_PER_GIB / GIB;
        uint256 left = s.collateral - s.claimed;
        return full < left ? full : left;
    }

    function _asked(Shadow memory s, uint256 shard, uint256 leaf, uint256 number)
        private
        view
        returns (Challenge memory)
    {
        return Challenge({
            agreement: s.id,
            number: uint64(number),
            shard: shards[shard].root,
            leafCount: shards[shard].leafCount,
            shardIndex: _has(s, shard) ? uint32(shard - s.low) : 0,
            leafIndex: uint32(leaf)
        });
    }

    function _pathIn(Shadow memory s, uint256 shard) private view returns (bytes32[] memory) {
        return _has(s, shard) ? _range(s.low, s.high).pathOf(shard - s.low) : new bytes32[](0);
    }

    function _expireOne(uint256 index, address by) private {
        Quarrel storage q = quarrels[index];
        Shadow storage s = book[q.about];
        bytes memory call = abi.encodeCall(IDisputes.expire, (q.id));
        if (!_try(by, address(disputes), call, _isOpen(q) && clock > q.deadline, "expire")) return;
        if (q.state == DisputeState.Superseded) {
            _cleared(q, DisputeState.Dismissed);
            _see("dismissed");
            return;
        }
        openQuarrel[q.about][q.shard] = 0;
        slashedNumber[q.about][q.shard] = q.number;
        s.openDisputes -= 1;
        s.claimed -= q.claim;
        s.collateral -= q.claim;
        free[producer.account] += q.claim / 2;
        free[q.challenger] += BOND;
        q.state = DisputeState.Slashed;
        q.repair = q.claim - q.claim / 2;
        q.deadline = clock + 180 days;
        _see("slashed");
    }

    function _lapseOne(uint256 index) private {
        Quarrel storage q = quarrels[index];
        bytes memory call = abi.encodeCall(IDisputes.lapseRepair, (q.id));
        if (!_try(stranger.account, address(disputes), call, q.repair > 0 && clock > q.deadline, "lapse a repair")) {
            return;
        }
        free[producer.account] += q.repair;
        q.repair = 0;
    }

    function _cleared(Quarrel storage q, DisputeState state) private {
        Shadow storage s = book[q.about];
        openQuarrel[q.about][q.shard] = 0;
        s.openDisputes -= 1;
        s.claimed -= q.claim;
        free[_consumerOf(s).account] += BOND;
        q.state = state;
    }
}
