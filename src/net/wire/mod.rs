//! The wire: the specification of `/openbucket/shard/1` and `/openbucket/tracker/1`.
//!
//! # Streams
//!
//! Both protocols run on reliable two-way byte streams between two peers whose Ed25519 keys are proven
//! by the handshake below (libp2p: TLS or noise over TCP, or QUIC), negotiated by the protocol's name. Over
//! TCP a peer must take noise, and may offer TLS before it. The *client* opened the stream, the *server*
//! accepted it. One request runs at a time; a stream may carry many requests, one after another. Either
//! side closes at any time between requests. A side that sees the other break these rules closes the stream.
//!
//! # Frames
//!
//! A *frame* is a length (4 bytes, big-endian) and so many bytes: one [postcard] value. The length is at
//! least 1 and at most 262144 ([`limits::FRAME_BYTES`]). A value must use the whole frame. In postcard an
//! enum is its variant's number, an `Option` is 0 or 1 and the value, unsigned numbers above 8 bits are
//! LEB128 varints, 32-byte ids and hashes are their bytes, `Vec` and text are a varint length and the
//! items. *Raw data* is bytes without any framing; its length was announced by the frame before it.
//!
//! # Hello
//!
//! The client's first frame is a [`Hello`] with its certificate; it need not wait for the answer before
//! it sends its first request. The server's first frame is a [`HelloAnswer`]: its own certificate
//! (variant 1), or a refusal (variant 0), after which it closes. Each side checks that
//! the certificate's signature holds, that its peer is the one of the stream, and its role. Shards are
//! served by a consumer to a producer; a tracker serves anybody, but registers consumers only.
//! A [`Certificate`] is owner (32 bytes), peer (32), role (0 producer, 1 consumer, 2 tracker), issued
//! (Unix milliseconds, varint) and a signature (length 64, bytes), specified at its type.
//!
//! # Refusals
//!
//! Every answer may be variant 0, [`Refused`]: a code (1 byte) and a text for people of at most
//! [`limits::REFUSAL_BYTES`] bytes. Control characters are not shown. The codes:
//!
//! | code | kind | | code | kind |
//! |---|---|---|---|---|
//! | 1 | not found | | 6 | unavailable |
//! | 2 | exists | | 7 | corrupt |
//! | 3 | invalid | | 8 | unpaid |
//! | 4 | denied | | 9 | closed |
//! | 5 | full | | 10 | internal error |
//!
//! A code that is not known is read as 6. After a refusal the stream goes on, unless it refuses a hello
//! or a frame that did not decode (code 3): these are followed by a close.
//!
//! # `/openbucket/shard/1`
//!
//! Shards belong to the owner in the client's certificate; other owners' shards are *not found*.
//! A shard's id is the Merkle root over its leaves of 1024 bytes ([`crate::coding::merkle`]). Lengths are
//! in bytes, at most [`limits::SHARD_BYTES`] (4195328), at least 1. The requests are [`ShardRequest`], the answers
//! [`ShardAnswer`]:
//!
//! ```text
//! client                          server
//! Put{shard, bytes}          ->   Ready | Held(receipt) | Refused
//!   (after Ready) raw data   ->   Stored(receipt) | Refused          data that does not verify: code 7
//! Get{shard}                 ->   Data{bytes}, raw data | Refused
//! GetRange{shard,first,end}  ->   Range{bytes, leaves, proof}, raw data | Refused
//! Stat{shard}                ->   Stat{shard, bytes} | Refused
//! Delete{shard}              ->   Deleted | Refused                  not found: code 1
//! List{after}                ->   Page{shards, is_last} | Refused
//! GetLeaves{shard,first,end} ->   Data{bytes}, raw data | Refused
//! ```
//!
//! The numbers of the variants and their fields, in the order of the bytes (`u32` and lengths as varints):
//!
//! | request | fields | | answer | fields |
//! |---|---|---|---|---|
//! | 0 Put | shard 32, bytes u32 | | 0 Refused | code 1, text |
//! | 1 Get | shard 32 | | 1 Ready | |
//! | 2 GetRange | shard 32, first u32, end u32 | | 2 Held | receipt |
//! | 3 Stat | shard 32 | | 3 Stored | receipt |
//! | 4 Delete | shard 32 | | 4 Data | bytes u32 |
//! | 5 List | after: 0, or 1 and 32 | | 5 Range | bytes u32, leaves u32, proof: count, 32 each |
//! | 6 GetLeaves | shard 32, first u32, end u32 | | 6 Stat | shard 32, bytes u32 |
//! | | | | 7 Deleted | |
//! | | | | 8 Page | count, (shard 32, bytes u32) each, is_last 1 |
//!
//! - **Put.** The client sends data only after `Ready`: the server has then set space aside, and what a
//!   client that gave up has left behind in the network is no shard (see Delete). After `Ready`
//!   the server reads all data before it answers. `Held` means that the server has this shard already,
//!   intact; no data follows. After `Ready` only a receipt says where the shard is: when the put is
//!   refused then, or its stream ends, the server may have the shard, or come to have it (a flush that
//!   failed may yet reach the disk). Who does not want it there deletes it.
//! - **Delete.** `Deleted` and *not found* (code 1) are final: of the puts that the server answered with
//!   `Ready` before, nothing comes any more, nor does what a restart of the server finds on its disk.
//!   One that is still on its way is refused (code 6). So a client first gives up its own puts of a shard,
//!   closing their streams, then deletes: what it has not sent by then it never sends. After any other
//!   answer, or none, the client asks again, until one of the two has come; it puts the shard to this
//!   server again only after that.
//! - **Receipt.** `shard` (32), `owner` (32), `consumer` (32, the server's peer), `bytes` (varint), `at`
//!   (Unix milliseconds, varint), signature (64): the server's word that the shard is on its disk,
//!   flushed. The signature is its peer key's Ed25519 over: the text `openbucket receipt 1` and a zero
//!   byte, shard, owner, consumer, bytes (4, big-endian), at (8, big-endian).
//! - **GetRange.** Leaves `first..end` of the shard, not empty, not past its end. The raw data are these
//!   leaves' bytes (the shard's last leaf may be short); `proof` is the Merkle range proof for them in
//!   a tree of `leaves` leaves, at most [`limits::PROOF_HASHES`] hashes.
//! - **GetLeaves.** The same leaves without a proof, and maybe not looked at by the server: for a client that can tell by
//!   something else whether they are right. When they are not, it asks with GetRange.
//! - **List.** The client's owner's shards with ids above `after` (all, when absent), ascending, at most
//!   [`limits::LIST_PAGE`]; ask on with the last id until `is_last`. A page that is not last is not empty.
//!
//! # `/openbucket/tracker/1`
//!
//! The requests are [`TrackerRequest`], the answers [`TrackerAnswer`]:
//!
//! ```text
//! Register(registration)     ->   Done | Refused         consumers only
//! Beat{free_bytes}           ->   Done | Refused         code 1 asks to register
//! Leave                      ->   Done | Refused
//! Candidates(query)          ->   Candidates(list) | Refused
//! Find(peers)                ->   Candidates(list) | Refused
//! ```
//!
//! | request | fields | | answer | fields |
//! |---|---|---|---|---|
//! | 0 Register | addresses: count, text each; limit_bytes, free_bytes u64; version text | | 0 Refused | code 1, text |
//! | 1 Beat | free_bytes u64 | | 1 Done | |
//! | 2 Leave | | | 2 Candidates | count, candidate each |
//! | 3 Candidates | count u16, free_bytes u64, exclude: count, peer 32 each | | | |
//! | 4 Find | count, peer 32 each | | | |
//!
//! A candidate is peer (32), addresses (count, text each), owner (32), limit_bytes u64, free_bytes u64,
//! last_beat (Unix milliseconds, u64), uptime_permille u16, is_online (1). All numbers are varints.
//! A query with `count` 0 asks for every known consumer, online or not; when they are more than [`limits::CANDIDATES`], for so
//! many of those online, chosen anew each time. Find asks for at most as many by name. Trackers of before answer it with a
//! refusal.
//!
//! A registration has 1 to [`limits::ADDRESSES`] addresses of at most [`limits::ADDRESS_BYTES`] bytes. A
//! query asks for at most [`limits::CANDIDATES`] and excludes at most [`limits::EXCLUDED_PEERS`]; the
//! answer may be shorter, also to fit its frame.
//!
//! # Deadlines
//!
//! A server waits [`limits::CONNECT_TIMEOUT`] (5 s) for the hello, [`limits::IDLE_TIMEOUT`] (60 s) for a
//! request, and [`limits::REQUEST_TIMEOUT`] (20 s) from a request to the end of its answer, data
//! included. A client gives each request [`limits::REQUEST_TIMEOUT`] and uses no stream again that was
//! idle for [`limits::STREAM_REUSE`]. After a deadline the stream is closed.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format
//! [`limits::FRAME_BYTES`]: crate::base::limits::FRAME_BYTES
//! [`limits::REFUSAL_BYTES`]: crate::base::limits::REFUSAL_BYTES
//! [`limits::SHARD_BYTES`]: crate::base::limits::SHARD_BYTES
//! [`limits::PROOF_HASHES`]: crate::base::limits::PROOF_HASHES
//! [`limits::LIST_PAGE`]: crate::base::limits::LIST_PAGE
//! [`limits::ADDRESSES`]: crate::base::limits::ADDRESSES
//! [`limits::ADDRESS_BYTES`]: crate::base::limits::ADDRESS_BYTES
//! [`limits::CANDIDATES`]: crate::base::limits::CANDIDATES
//! [`limits::EXCLUDED_PEERS`]: crate::base::limits::EXCLUDED_PEERS
//! [`limits::CONNECT_TIMEOUT`]: crate::base::limits::CONNECT_TIMEOUT
//! [`limits::IDLE_TIMEOUT`]: crate::base::limits::IDLE_TIMEOUT
//! [`limits::REQUEST_TIMEOUT`]: crate::base::limits::REQUEST_TIMEOUT
//! [`limits::STREAM_REUSE`]: crate::base::limits::STREAM_REUSE
//! [`Certificate`]: crate::keys::Certificate

mod frame;
#[cfg(test)]
mod golden;
mod hello;
mod shard;
mod tracker;

pub(super) use frame::{FrameError, read_data, read_frame, write_frame};
pub(super) use hello::{Hello, HelloAnswer, Refused};
pub(super) use shard::{ShardAnswer, ShardRequest, receipt_bytes};
pub(super) use tracker::{TrackerAnswer, TrackerRequest};
