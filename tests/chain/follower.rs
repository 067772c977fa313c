//! Events: each once and in order, through restarts, re-organisations and nodes that give little or lie.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use openbucket::{
    chain::{Cursor, Error, EventHandler, Follower, FollowerOptions, Node, RawLog, Step},
    keys::EthereumAddress,
    runtime::{Shutdown, Tasks},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    anvil::{Anvil, eventually, node},
    gate::{Fate, Gate},
    outbox::{LIMIT, account},
};

/// A contract that logs the first word of a call twice, as a topic.
const ECHO: &str = "0x5f355f5fa15f355f5fa100";

/// Keeps what it is given, as a database would.
#[derive(Default)]
struct Kept {
    state: Mutex<(Vec<RawLog>, Option<Cursor>)>,
    /// Refuses to store: the process ends between the effect and its cursor.
    is_broken: AtomicBool,
    batches: AtomicU64,
    reverts: AtomicU64,
}

impl EventHandler for Kept {
    fn cursor(&self) -> Result<Option<Cursor>, Error> {
        Ok(self.state.lock().1.clone())
    }

    fn apply(&self, events: &[RawLog], cursor: &Cursor) -> Result<(), Error> {
        if self.is_broken.load(Ordering::SeqCst) && self.batches.load(Ordering::SeqCst) >= 1 {
            return Err(Error::Closed("crash".to_owned()));
        }
        let mut state = self.state.lock();
        state.0.extend_from_slice(events);
        state.1 = Some(cursor.clone());
        self.batches.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn revert(&self, cursor: &Cursor) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.0.retain(|log| !cursor.is_before(log.block, log.index));
        state.1 = Some(cursor.clone());
        self.reverts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Kept {
    /// The words that were logged, in the order in which they came.
    fn words(&self) -> Vec<u64> {
        let word = |log: &RawLog| u64::from_be_bytes(log.topics[0][24..].try_into().expect("8 bytes"));
        self.state.lock().0.iter().map(word).collect()
    }
}

fn contract() -> EthereumAddress {
    account(0xec)
}

async fn start(arguments: &[&str]) -> Anvil {
    let anvil = Anvil::start(arguments);
    anvil.set_code(contract(), ECHO).await;
    anvil
}

async fn call(anvil: &Anvil, word: u64) -> Value {
    let accounts = anvil.ask("eth_accounts", json!([])).await;
    json!({ "from": accounts[0], "to": contract().to_string(), "data": format!("0x{word:064x}") })
}

/// Has the contract log a word, in a block of its own.
async fn log(anvil: &Anvil, word: u64) {
    anvil.transact(call(anvil, word).await).await;
}

/// Has the contract log a word, once somebody mines.
async fn log_later(anvil: &Anvil, word: u64) {
    anvil.ask("eth_sendTransaction", json!([call(anvil, word).await])).await;
}

fn follower(node: &Node, confirmations: u64, kept: &Arc<Kept>) -> Follower {
    let mut options = FollowerOptions::new(vec![contract()], 0);
    (options.confirmations, options.poll, options.batch) = (confirmations, Duration::from_millis(30), 3);
    Follower::new(node.clone(), options, Arc::clone(kept) as Arc<dyn EventHandler>)
}

async fn catch_up(follower: &Follower) {
    while follower.step().await.expect("a step") == Step::More {}
}

/// Each word twice.
fn doubled(words: impl IntoIterator<Item = u64>) -> Vec<u64> {
    words.into_iter().flat_map(|word| [word, word]).collect()
}

#[tokio::test]
async fn events_come_once_in_order_and_only_when_they_are_deep_enough() {
    let anvil = start(&[]).await;
    let kept = Arc::new(Kept::default());
    let follower = follower(&anvil.node, 3, &kept);
    catch_up(&follower).await;
    for word in 1..=5 {
        log(&anvil, word).await;
    }
    catch_up(&follower).await;
    assert_eq!(kept.words(), doubled(1..=3), "the last two blocks are too young");
    catch_up(&follower).await;
    assert_eq!(kept.words(), doubled(1..=3));
    anvil.mine(2).await;
    catch_up(&follower).await;
    assert_eq!(kept.words(), doubled(1..=5));
    assert_eq!((follower.report().head, follower.report().block), (Some(7), Some(5)));
}

#[tokio::test]
async fn a_crash_within_a_block_neither_repeats_an_event_nor_leaves_one_out() {
    let anvil = start(&["--no-mining"]).await;
    for word in 1..=5 {
        log_later(&anvil, word).await;
    }
    anvil.mine(2).await;
    let kept = Arc::new(Kept::default());
    kept.is_broken.store(true, Ordering::SeqCst);
    let first = follower(&anvil.node, 1, &kept);
    first.step().await.expect_err("it breaks after the first batch");
    assert_eq!(kept.words(), [1, 1, 2], "a batch of three, in the middle of a block");
    kept.is_broken.store(false, Ordering::SeqCst);
    catch_up(&follower(&anvil.node, 1, &kept)).await;
    assert_eq!(kept.words(), doubled(1..=5));
}

#[tokio::test]
async fn a_rewriting_above_what_counts_is_never_seen() {
    let anvil = start(&["--no-mining"]).await;
    anvil.mine(3).await;
    let kept = Arc::new(Kept::default());
    let follower = follower(&anvil.node, 3, &kept);
    catch_up(&follower).await;
    log_later(&anvil, 1).await;
    anvil.mine(2).await;
    catch_up(&follower).await;
    anvil.rewrite(2).await;
    anvil.ask("anvil_dropAllTransactions", json!([])).await;
    log_later(&anvil, 2).await;
    anvil.mine(5).await;
    catch_up(&follower).await;
    assert_eq!((kept.words(), kept.reverts.load(Ordering::SeqCst)), (doubled([2]), 0));
}

#[tokio::test]
async fn a_rewriting_below_what_counted_takes_events_back() {
    let anvil = start(&["--no-mining"]).await;
    let kept = Arc::new(Kept::default());
    let first = follower(&anvil.node, 1, &kept);
    for word in 1..=4 {
        log_later(&anvil, word).await;
        anvil.mine(1).await;
        catch_up(&first).await;
    }
    assert_eq!(kept.words(), doubled(1..=4));
    anvil.rewrite(2).await;
    anvil.ask("anvil_dropAllTransactions", json!([])).await;
    log_later(&anvil, 9).await;
    anvil.mine(1).await;
    // Also by a process that starts after it.
    catch_up(&follower(&anvil.node, 1, &kept)).await;
    assert_eq!(kept.words(), doubled([1, 2, 9]));
    assert_eq!(kept.reverts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_chain_in_the_place_of_the_first_is_not_followed() {
    let kept = Arc::new(Kept::default());
    {
        let anvil = start(&["--timestamp", "1700000000"]).await;
        log(&anvil, 1).await;
        catch_up(&follower(&anvil.node, 1, &kept)).await;
    }
    let anvil = start(&["--timestamp", "1800000000"]).await;
    anvil.mine(5).await;
    let error = follower(&anvil.node, 1, &kept).step().await.expect_err("none of its blocks is known");
    assert!(matches!(error, Error::DeepReorg { .. }), "{error}");
    assert_eq!(kept.words(), doubled([1]), "nothing is taken back by itself");
}

#[tokio::test]
async fn ranges_shrink_to_what_a_node_gives() {
    let anvil = start(&[]).await;
    for word in 1..=3 {
        log(&anvil, word).await;
        anvil.mine(400).await;
    }
    let number = |value: &Value| u64::from_str_radix(value.as_str().expect("text").trim_start_matches("0x"), 16);
    let gate = Gate::start(&anvil.url, move |method, parameters| {
        let ends =
            || (number(&parameters[0]["fromBlock"]).expect("hex"), number(&parameters[0]["toBlock"]).expect("hex"));
        if method == "eth_getLogs" && ends().1 - ends().0 >= 100 {
            return Fate::Error(-32005, "query exceeds max block range 100");
        }
        Fate::Forward
    })
    .await;
    let kept = Arc::new(Kept::default());
    catch_up(&follower(&node(&[&gate.url]), 1, &kept)).await;
    assert_eq!(kept.words(), doubled(1..=3));
}

/// What a node makes of the logs.
type Lie = fn(&mut Value);

#[tokio::test]
async fn a_node_that_lies_about_logs_is_not_believed() {
    let anvil = start(&[]).await;
    log(&anvil, 1).await;
    let honest = anvil.ask("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "0x1" }])).await;
    let lies: [(&str, Lie); 5] = [
        ("address", |logs| logs[0]["address"] = json!(account(1).to_string())),
        ("block", |logs| logs[0]["blockNumber"] = json!("0x77")),
        ("hash", |logs| logs[0]["blockHash"] = json!(format!("0x{}", "22".repeat(32)))),
        ("twice", |logs| logs[1] = logs[0].clone()),
        ("removed", |logs| logs[0]["removed"] = json!(true)),
    ];
    for (name, lie) in lies {
        let mut logs = honest.clone();
        lie(&mut logs);
        let gate = Gate::start(&anvil.url, move |method, _| match method {
            "eth_getLogs" => Fate::Result(logs.clone()),
            _ => Fate::Forward,
        })
        .await;
        let kept = Arc::new(Kept::default());
        let error = follower(&node(&[&gate.url]), 1, &kept).step().await.expect_err(name);
        assert!(matches!(error, Error::Lying { .. }), "{name}: {error}");
        assert!(kept.words().is_empty(), "{name}");
        catch_up(&follower(&anvil.node, 1, &kept)).await;
        assert_eq!(kept.words(), doubled([1]), "nothing is lost: {name}");
    }
}

#[tokio::test]
async fn a_node_that_is_behind_is_waited_for() {
    let anvil = start(&[]).await;
    log(&anvil, 1).await;
    log(&anvil, 2).await;
    let kept = Arc::new(Kept::default());
    catch_up(&follower(&anvil.node, 1, &kept)).await;
    let first = anvil.ask("eth_getBlockByNumber", json!(["0x1", false])).await;
    let behind = Gate::start(&anvil.url, move |method, parameters| match (method, parameters[0].as_str()) {
        ("eth_getBlockByNumber", Some("latest")) => Fate::Result(first.clone()),
        ("eth_getBlockByNumber", Some("0x2")) => Fate::Result(json!(null)),
        _ => Fate::Forward,
    })
    .await;
    assert_eq!(follower(&node(&[&behind.url]), 1, &kept).step().await.expect("it waits"), Step::UpToDate);
    assert_eq!((kept.words(), kept.reverts.load(Ordering::SeqCst)), (doubled([1, 2]), 0));
}

#[tokio::test]
async fn it_follows_by_itself_and_says_why_not() {
    let anvil = start(&[]).await;
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let gate =
        Gate::start(&anvil.url, move |_, _| if down.load(Ordering::SeqCst) { Fate::Close } else { Fate::Forward })
            .await;
    let kept = Arc::new(Kept::default());
    let tasks = Tasks::new(Shutdown::new());
    let follower = Arc::new(follower(&node(&[&gate.url]), 1, &kept));
    Arc::clone(&follower).start(&tasks);
    log(&anvil, 1).await;
    eventually("the first", async || (kept.words() == doubled([1])).then_some(())).await;
    is_down.store(true, Ordering::SeqCst);
    eventually("the trouble", async || follower.report().trouble).await;
    log(&anvil, 2).await;
    is_down.store(false, Ordering::SeqCst);
    eventually("the second", async || (kept.words() == doubled([1, 2])).then_some(())).await;
    eventually("no trouble", async || follower.report().trouble.is_none().then_some(())).await;
    assert!(tasks.stop(LIMIT).await);
}
