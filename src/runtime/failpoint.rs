//! Failpoints: places where a test has this process end as `kill -9` would end it.
//!
//! Each is named by what has just become true, most of them by what has just become durable. `OPENBUCKET_FAILPOINT=NAME`
//! ends the process when it comes there first, `NAME:COUNT` when it comes there for the COUNTth time. A release build has
//! none.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that arms one of them.
pub const VARIABLE: &str = "OPENBUCKET_FAILPOINT";

/// Every failpoint: its name, and what is so there.
pub const FAILPOINTS: &[(&str, &str)] = &[
    ("log-replayed", "opening: what the last run left is in the trees, the log still has it too"),
    ("log-older-begun", "opening: the older log file is begun anew, the newer one is not yet"),
    ("attempts-queued", "opening: the shards of an attempt that was cut short are queued for deletion"),
    ("log-appended", "a change is in the log, neither flushed nor visible"),
    ("log-flushed", "the log is flushed, whoever waits for it is not told yet"),
    ("staging-flushed", "the data of an fsync is flushed in its staging file, the log does not say so yet"),
    ("log-begun", "checkpoint: the other log file is begun, nothing is in it yet"),
    ("log-turned", "checkpoint: changes go to the other log file, only the old one carries what it has"),
    ("small-begun", "small data: another file of small data is begun, what is needed of the old one is not in it yet"),
    ("small-moved", "small data: all small data that is needed is in the new file, the old one still counts, too"),
    ("staged-flushed", "checkpoint: the data that only the old log carried is durable elsewhere"),
    ("trees-applied", "checkpoint: the changes of the old log are in the trees, not flushed"),
    ("trees-flushed", "checkpoint: the trees are flushed, the old log is not free yet"),
    ("small-grown", "small data: what was kept has a file of its own, flushed, and is kept all the same"),
    ("attempt-flushed", "upload: who may have its shards is durable, none of these has left"),
    ("first-receipt", "upload: one consumer has a shard"),
    ("threshold-receipts", "upload: enough consumers have shards, nothing is committed"),
    ("chunk-committed", "upload: the chunk is in the log, not flushed"),
    ("chunk-flushed", "upload: the chunk is durable, its staged bytes are still there"),
    ("staging-returned", "upload: the staged bytes are given back"),
    ("rest-recorded", "upload: where the last shards are is in the log"),
    ("shard-placed", "repair: a shard has a new consumer, which no record names"),
    ("extents-moved", "collection: what is needed of sparse chunks is in a new one, in the log, not flushed"),
    ("name-removed", "unlink: the name is gone, the inode is an orphan"),
    ("inodes-removed", "unlink: extents and inode are gone, deletions queued, not flushed"),
    ("inodes-flushed", "unlink: the same is durable, the staging files are still there"),
    ("deletes-flushed", "deletion: the queue is durable, no consumer has been told"),
    ("shard-deleted", "deletion: a consumer has confirmed, the queue still has it"),
    ("deletes-recorded", "deletion: what was confirmed is out of the queue"),
    ("copies-evicted", "eviction: the local copies are gone"),
    ("rename-ordered", "rename over a file: its data is in the log, the names are as before"),
    ("rename-committed", "rename over a file: the names are changed in the log"),
    ("shard-written", "consumer: a shard is written, not flushed"),
    ("shard-flushed", "consumer: a shard is flushed, nobody is told"),
    ("receipt-signed", "consumer: the receipt is signed, not sent"),
    ("shard-marked-dead", "consumer: a deletion is flushed, the space is not given back"),
    ("wallet-key-written", "wallet: the first of its new key files is there, the others are not"),
    ("wallet-keys-written", "wallet: all new key files are there, the list still names the old ones"),
    ("wallet-keys-switched", "wallet: the list names the new key files, the old ones are still there"),
    ("wallet-accounts-written", "wallet: the files of more accounts are there, the list has none of them"),
    ("action-queued", "chain: an action is stored, nothing is signed"),
    ("transaction-signed", "chain: the first transaction of an action is signed, not stored"),
    ("transaction-stored", "chain: the signed transaction is stored, not sent"),
    ("transaction-sent", "chain: a node has the transaction, nothing here says so"),
    ("transaction-marked", "chain: it is noted that a node has the transaction"),
    ("replacement-stored", "chain: a stuck transaction has a higher price, stored, not sent"),
    ("transaction-mined", "chain: the transaction is seen in a block, nothing here says so"),
    ("transaction-confirmed", "chain: the transaction is deep enough, its outcome is not stored"),
    ("outcome-stored", "chain: the outcome of an action is stored, nobody is told yet"),
    ("flight-given-up", "chain: another transaction has the nonce, and it is stored that the action is signed anew"),
];

struct Armed {
    name: &'static str,
    left: AtomicU64,
}

/// What the variable cannot mean.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}={value}: {why}")]
pub struct FailpointError {
    value: String,
    why: &'static str,
}

/// Refuses a variable that names no failpoint, or any in a build without them. To be called at the start.
pub fn check_failpoint() -> Result<(), FailpointError> {
    match std::env::var(VARIABLE) {
        Err(_) => Ok(()),
        Ok(value) => parse(&value).map(drop).map_err(|why| FailpointError { value, why }),
    }
}

fn parse(value: &str) -> Result<Armed, &'static str> {
    if !cfg!(debug_assertions) {
        return Err("this build has no failpoints");
    }
    let (name, count) = value.split_once(':').unwrap_or((value, "1"));
    let known = FAILPOINTS.iter().find(|(known, _)| *known == name);
    let (name, _) = known.ok_or("no failpoint has this name (src/runtime/failpoint.rs lists them)")?;
    match count.parse() {
        Ok(count) if count > 0 => Ok(Armed { name, left: AtomicU64::new(count) }),
        _ => Err("the count after the colon is no number above 0"),
    }
}

/// Ends this process here, if this is the failpoint that is asked for.
///
/// # Panics
/// When some failpoint is asked for and this one is not in the table.
pub fn failpoint(name: &'static str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|value| parse(&value).ok()));
    let Some(armed) = armed else { return };
    assert!(FAILPOINTS.iter().any(|(known, _)| *known == name), "the failpoint {name} is not in the table");
    if armed.name != name || armed.left.fetch_sub(1, Ordering::Relaxed) != 1 {
        return;
    }
    eprintln!("openbucket: failpoint {name}");
    // Nothing may go on: what is behind this place must not happen.
    while kill_process(getpid(), Signal::KILL).is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_checked() {
        assert!(parse("log-flushed").is_ok_and(|armed| armed.name == "log-flushed" && armed.left.into_inner() == 1));
        assert!(parse("log-flushed:7").is_ok_and(|armed| armed.left.into_inner() == 7));
        for bad in ["", "log-flush", "log-flushed:", "log-flushed:0", "log-flushed:-1", "LOG-FLUSHED"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_is_there_once_and_has_a_meaning() {
        for (index, (name, meaning)) in FAILPOINTS.iter().enumerate() {
            assert!(FAILPOINTS[..index].iter().all(|(other, _)| other != name) && meaning.len() > 20, "{name}");
        }
    }
}
