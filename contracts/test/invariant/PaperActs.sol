// SPDX-License-Identifier: MIT OR Apache-2.0
// What is done with signed papers: revise, release, place; and how agreements end.
pragma solidity 0.8.37;

import {IAgreements, State} from "../../src/IAgreements.sol";
import {Placement} from "../../src/IMandates.sol";
import {Release, Revision} from "../../src/Papers.sol";
import {Timestamp} from "../../src/Types.sol";
import {Shard, Trees} from "../support/Trees.sol";
import {vm} from "../support/Vm.sol";
import {Party} from "../support/World.sol";
import {Paper} from "./Books.sol";
import {OpenActs} from "./OpenActs.sol";
import {Shadow, Shadows} from "./Shadow.sol";

abstract contract PaperActs is OpenActs {
    using Shadows for Shadow;
    using Trees for Shard[];

    function setUp() public virtual override {
        super.setUp();
        // The source of repairs, and one more to begin with.
        _openOne(FIRST);
        _reviseOne(0, FIRST, 0);
        _openOne(FIRST + (1000 << 40));
        vm.assertEq(book.length, 2, "the first two are open");
    }

    function revise(uint256 any) external inTime {
        uint256 seed = _mix(any);
        _reviseOne(_pick(seed), seed >> 64, seed % 4);
    }

    /// Somebody brings a paper from before: of whatever age, or the last that may still count.
    function bring(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 count = papers.length;
        if (seed % 4 == 0) return _submitPaper(papers[(seed >> 8) % count], false);
        for (uint256 back = 1; back <= count && back < 30; back++) {
            Paper memory paper = papers[count - back];
            Shadow memory s = book[paper.about];
            bool isNewer = paper.revision.number > s.number;
            // Half of the time only one that a release came before.
            if (seed % 2 == 1 && paper.revision.number > s.releaseNumber) isNewer = false;
            if (s.isRunning() && isNewer) return _submitPaper(paper, false);
        }
    }

    /// An agreement is settled, and then a revision says that nearly all has been gone since the one before: what was paid
    /// since is a credit. Most of the time one side ends it then.
    function overpay(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        // Half of the time one before its earliest end.
        for (uint256 other = 1; other < book.length && (seed >> 96) % 2 == 0; other++) {
            if (book[other].state == State.Active && book[other].term > clock + Shadows.WINDOW) index = other;
        }
        Shadow memory s = book[index];
        if (s.state != State.Active || s.asOf > clock) return;
        _settleOne(index, stranger.account);
        Revision memory r = _revision(s.id, uint64(s.newest() + 1));
        (r.asOf, r.earned) = (Timestamp.wrap(uint64(s.asOf)), uint128(s.earned));
        (r.storedBytes, r.storagePrice) = (uint64(s.capacity / 1000), uint128(s.price));
        (r.root, r.shardCount) = (_range(0, 5).holdingOf(), 5);
        Paper memory paper = Paper({about: index, low: 0, high: 5, revision: r});
        papers.push(paper);
        _submitPaper(paper, false);
        bool isConsumer = (seed >> 104) % 2 == 0;
        if (index == 0 || (seed >> 112) % 4 == 0) return;
        address by = isConsumer ? _consumerOf(s).account : producer.account;
        if (_try(by, address(agreements), abi.encodeCall(IAgreements.end, (s.id)), true, "end")) {
            _ended(index, isConsumer);
        }
    }

    function release(uint256 any) external inTime {
        uint256 seed = _mix(any);
        Shadow storage s = book[_pick(seed)];
        uint256 number = s.newest() + (seed >> 64) % 3;
        uint256 stored = seed % 8 == 0 ? s.stored + 1 : (seed >> 80) % (s.stored + 1);
        bool isFolded = _isFolded(s);
        bool should = s.isRunning() && number > s.newest() && (s.releaseNumber == 0 || clock >= s.releaseFrom)
            && stored <= (isFolded ? s.releaseBytes : s.stored);
        bytes memory call = _signedRelease(s, number, stored);
        if (!_try(_someone(seed >> 32), address(agreements), call, should, "release")) return;
        if (isFolded) {
            s.owed = s.owedBy(s.releaseFrom);
            s.since = s.releaseFrom;
            s.stored = s.releaseBytes;
        }
        if (s.releaseNumber > 0) s.number = s.releaseNumber;
        s.releaseNumber = number;
        s.releaseBytes = stored;
        s.releaseFrom = clock + 48 hours;
    }

    function end(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow memory s = book[index];
        address[3] memory callers = [producer.account, _consumerOf(s).account, _someone(seed >> 64)];
        address by = callers[(seed >> 80) % 3];
        bool isConsumer = by == _consumerOf(s).account;
        bool should = s.state == State.Active && (isConsumer || by == producer.account);
        // The source of repairs stays for a while.
        if (should && (seed % 2 == 0 || (index == 0 && seed % 16 != 1))) return;
        if (_try(by, address(agreements), abi.encodeCall(IAgreements.end, (s.id)), should, "end")) {
            _ended(index, isConsumer);
        }
    }

    function terminate(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        // Half of the time one that can be terminated.
        for (uint256 other = 0; other < book.length && (seed >> 96) % 2 == 0; other++) {
            if (book[other].state == State.Active && book[other].isLapsed(clock)) index = other;
        }
        Shadow storage s = book[index];
        // At the last moment that is paid it is still too early.
        if ((seed >> 104) % 4 == 0 && s.state == State.Active && !s.isLapsed(clock) && s.isLapsed(clock + 60 days)) {
            clock = s.lastPaid(clock + 60 days);
            vm.warp(clock);
        }
        bool should = s.state == State.Active && s.isLapsed(clock);
        bytes memory call = abi.encodeCall(IAgreements.terminate, (s.id));
        if (!_try(_someone(seed >> 64), address(agreements), call, should, "terminate")) return;
        s.state = State.Terminated;
        s.closesAt = clock + 48 hours;
        s.stopsAt = s.lastPaid(clock);
    }

    function finish(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        // At the last moment of the window it is still too early.
        if ((seed >> 96) % 4 == 0 && book[index].closesAt > clock) {
            clock = book[index].closesAt;
            vm.warp(clock);
        }
        _finishOne(index, _someone(seed >> 64));
    }

    /// The delegate opens for the producer, or places what the first agreement holds.
    function place(uint256 any) external inTime {
        uint256 seed = _mix(any);
        uint256 index = _pick(seed);
        Shadow memory s = book[index];
        if (!s.isMandated && seed % 4 > 0) {
            if (book.length < MOST_AGREEMENTS) _openOne((seed >> 2) * 4 + 1);
            return;
        }
        uint256 count = (seed >> 64) % 6;
        (Revision memory r, Placement[] memory placements) = _placingOf(index, count, seed >> 80);
        bytes memory call = _signedPlacing(s, r, placements);
        bool isHeld = count == 0 || (book[0].number > 0 && book[0].low == 0 && count <= book[0].high);
        bool should = s.isMandated && (s.state == State.Pending || s.state == State.Active) && s.releaseNumber == 0
            && s.openDisputes == 0 && clock <= mandateEnd && r.number == s.number + 1 && isHeld
            && r.earned <= s.owedAt(Timestamp.unwrap(r.asOf)) && _takes(s, r);
        if (_try(_someone(seed >> 32), address(agreements), call, should, "place")) _revised(index, r, 0, count);
    }

    // Parts

    /// Whether a release that is there counts for what is owed.
    function _isFolded(Shadow memory s) private view returns (bool) {
        return s.releaseNumber > 0 && clock >= s.releaseFrom && (s.stopsAt == 0 || s.releaseFrom <= s.stopsAt);
    }

    function _signedRelease(Shadow memory s, uint256 number, uint256 stored) private view returns (bytes memory) {
        Release memory paper = Release({agreement: s.id, number: uint64(number), storedBytes: uint64(stored)});
        return abi.encodeCall(IAgreements.release, (paper, _sign(producer, agreements.hashRelease(paper))));
    }

    function _finishOne(uint256 index, address by) internal {
        Shadow storage s = book[index];
        bool isEnding = s.state == State.Closing || s.state == State.Terminated;
        bool should = isEnding && clock > s.closesAt && s.openDisputes == 0;
        bytes memory call = abi.encodeCall(IAgreements.finish, (s.id));
        if (_try(by, address(agreements), call, should, "finish")) _finished(index);
    }

    /// Both sign a revision; it is brought at once (kinds 0 and 1), or kept.
    function _reviseOne(uint256 index, uint256 seed, uint256 kind) internal {
        Shadow memory s = book[index];
        uint256 low = index > 0 && seed % 3 == 0 ? 1 : 0;
        Revision memory r = _revision(s.id, uint64(s.newest() + 1 + seed % 2));
        uint256 back = (clock - s.asOf) / (1 + (seed >> 8) % 4);
        if (s.asOf > clock || (seed >> 16) % 2 == 0) back = 0;
        r.asOf = Timestamp.wrap(uint64(clock - back + ((seed >> 24) % 32 == 1 ? 1 : 0)));
        uint256 owed = s.owedAt(Timestamp.unwrap(r.asOf));
        if ((seed >> 32) % 4 == 0) owed = owed / 2;
        r.earned = uint128(owed < s.earned && (seed >> 40) % 8 > 0 ? s.earned : owed);
        r.storedBytes = uint64((seed >> 48) % 32 == 1 ? s.capacity + 1 : (seed >> 56) % (s.capacity + 1));
        r.storagePrice = uint128((seed >> 128) % 8 == 0 ? s.price / 2 : s.price);
        (r.root, r.shardCount) = (_range(low, 5).holdingOf(), uint32(5 - low));
        Paper memory paper = Paper({about: index, low: low, high: 5, revision: r});
        papers.push(paper);
        if (kind < 2) _submitPaper(paper, (seed >> 144) % 16 == 0);
    }

    function _submitPaper(Paper memory paper, bool isForged) private {
        Shadow memory s = book[paper.about];
        Revision memory r = paper.revision;
        bytes32 digest = agreements.hashRevision(r);
        Party memory second_ = isForged ? stranger : _consumerOf(s);
        bytes memory call = abi.encodeCall(IAgreements.submit, (r, _sign(producer, digest), _sign(second_, digest)));
        bool should = !isForged && _takes(s, r);
        if (!_try(stranger.account, address(agreements), call, should, "submit")) return;
        if (r.number <= s.newest()) _see("submit during a notice");
        _revised(paper.about, r, paper.low, paper.high);
    }

    function _takes(Shadow memory s, Revision memory r) private view returns (bool) {
        return s.takes(r.number, Timestamp.unwrap(r.asOf), r.earned, r.storedBytes, clock);
    }

    function _placingOf(uint256 index, uint256 count, uint256 seed)
        private
        view
        returns (Revision memory r, Placement[] memory placements)
    {
        Shadow memory s = book[index];
        placements = new Placement[](count);
        uint256 leaves = 0;
        for (uint256 place_ = 0; place_ < count; place_++) {
            leaves += shards[place_].leafCount;
            placements[place_] = Placement({
                shard: shards[place_].root,
                leafCount: shards[place_].leafCount,
                source: _idOf(0),
                sourceIndex: uint32(place_),
                sourcePath: _range(0, 5).pathOf(place_)
            });
        }
        r = _revision(s.id, uint64(s.number + 1 + (seed % 8 == 1 ? 1 : 0)));
        (r.root, r.shardCount, r.storedBytes) = (_range(0, count).holdingOf(), uint32(count), uint64(leaves * 1024));
        r.storagePrice = uint128(s.price);
        r.earned = uint128(s.owedAt(clock) + ((seed >> 8) % 8 == 1 ? 1 : 0));
    }

    function _signedPlacing(Shadow memory s, Revision memory r, Placement[] memory placements)
        private
        view
        returns (bytes memory)
    {
        bytes32 digest = agreements.hashRevision(r);
        return
            abi.encodeCall(IAgreements.place, (r, placements, _sign(delegate, digest), _sign(_consumerOf(s), digest)));
    }
}
