//! An Anvil of one test: started on a free port of the loopback, ended by its process id.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use ethers::providers::JsonRpcClient;
use openbucket::{
    base::Wei,
    chain::{At, ChainId, Node, Signer, Transport, TransportOptions},
    keys::EthereumAddress,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub const CHAIN: ChainId = ChainId(31337);
/// Starting it, at most.
const START: Duration = Duration::from_secs(60);

pub struct Anvil {
    child: Child,
    pub url: String,
    pub node: Node,
}

/// The program of the npm package for this machine.
fn program() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/node_modules/@foundry-rs");
    let found = std::fs::read_dir(&packages).into_iter().flatten().flatten();
    let mut programs = found.map(|package| package.path().join("bin/anvil")).filter(|path| path.is_file());
    programs.next().unwrap_or_else(|| {
        panic!("Anvil is not installed below {}: run npm ci in contracts/ (scripts/test does)", packages.display())
    })
}

impl Anvil {
    /// Mines each transaction at once, unless the arguments say otherwise.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", "0", "--accounts", "3"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("Anvil starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (told, address) = mpsc::channel();
        // Reads to the end, so that Anvil never waits for its reader.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("Listening on ") {
                    drop(told.send(address.trim().to_owned()));
                }
            }
        });
        let address = address.recv_timeout(START).unwrap_or_else(|_| {
            drop(child.kill());
            panic!("Anvil does not listen after {START:?}")
        });
        let url = format!("http://{address}");
        Self { child, node: node(&[&url]), url }
    }

    /// Mines only when it is told.
    pub fn paused() -> Self {
        Self::start(&["--no-mining"])
    }

    pub async fn ask(&self, method: &str, parameters: Value) -> Value {
        self.node.transport().request(method, parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends from an account of Anvil's own, and waits for its block.
    pub async fn transact(&self, call: Value) {
        let hash = self.ask("eth_sendTransaction", json!([call])).await;
        eventually("a transaction is mined", async || {
            (!self.ask("eth_getTransactionReceipt", json!([hash])).await.is_null()).then_some(())
        })
        .await;
    }

    pub async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([blocks])).await;
    }

    /// Takes this many blocks away and puts as many others in their place, without their transactions.
    pub async fn rewrite(&self, blocks: u64) {
        self.ask("anvil_reorg", json!([blocks, []])).await;
    }

    pub async fn give(&self, account: EthereumAddress, amount: Wei) {
        self.ask("anvil_setBalance", json!([account.to_string(), format!("{:#x}", amount.0)])).await;
    }

    pub async fn set_code(&self, address: EthereumAddress, code: &str) {
        self.ask("anvil_setCode", json!([address.to_string(), code])).await;
    }

    pub async fn balance(&self, account: EthereumAddress) -> Wei {
        self.node.balance(account, At::Latest).await.expect("a balance")
    }

    pub async fn nonce(&self, account: EthereumAddress) -> u64 {
        self.node.transaction_count(account, At::Latest).await.expect("a nonce")
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// These nodes, as short a time as a test has.
pub fn node(urls: &[&str]) -> Node {
    let mut options = TransportOptions::new(urls.iter().map(|url| (*url).to_owned()).collect(), CHAIN);
    options.attempt_timeout = Duration::from_secs(5);
    Node::new(Transport::new(options).expect("URLs"))
}

/// An account of this number, with a key of its own.
pub fn signer(number: u8) -> Arc<Signer> {
    Arc::new(Signer::from_bytes(&Zeroizing::new([number; 32])).expect("a key"))
}

/// Waits until something is so, a minute at most.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), looks).await;
    found.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}
