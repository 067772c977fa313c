//! `devnet` as somebody types it: with Anvil where it is found, without a chain where it is not, the same chain after a restart.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::home::{Home, refused};

const PAYEE: &str = "0x00000000000000000000000000000000000a11ce";
/// A devnet is ready within this.
const START: Duration = Duration::from_secs(90);
/// Where no Anvil is, but what mounting needs.
const PATH: &str = "/usr/bin:/bin";

/// A machine with the program, but without a checkout above it.
struct Machine {
    home: Home,
    program: PathBuf,
}

struct Devnet {
    child: Child,
    stdout: Vec<String>,
    stderr: String,
}

fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/node_modules")
}

impl Machine {
    /// None, with a line that says so, without FUSE.
    fn new() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: /dev/fuse is missing");
            return None;
        }
        let home = Home::new();
        for name in ["bin", "empty", "checkout/contracts"] {
            fs::create_dir_all(home.path(name)).unwrap();
        }
        std::os::unix::fs::symlink(packages(), home.path("checkout/contracts/node_modules")).unwrap();
        let program = home.path("bin/openbucket");
        let built = env!("CARGO_BIN_EXE_openbucket");
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        Some(Self { home, program })
    }

    fn command(&self, directory: &str) -> Command {
        let mut command = Command::new(&self.program);
        self.home.prepare(&mut command);
        command.env("PATH", PATH).current_dir(self.home.path(directory)).stdin(Stdio::null());
        command
    }

    /// Starts the devnet of this machine from a directory, and waits until it is ready.
    fn starts(&self, directory: &str, flags: &[&str]) -> Devnet {
        let log = self.home.path("devnet.log");
        let mut command = self.command(directory);
        command.args(["devnet", &self.home.text("ob"), "--state", &self.home.text("net")]);
        command.args(["--consumers", "1", "--tier", "1+0"]).args(flags);
        let mut child = command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let (sender, lines): (_, Receiver<String>) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            // The test may have given up.
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut devnet = Devnet { child, stdout: Vec::new(), stderr: String::new() };
        while !devnet.stdout.last().is_some_and(|line| line.starts_with("ready: ")) {
            match lines.recv_timeout(START) {
                Ok(line) => devnet.stdout.push(line),
                Err(error) => panic!("not ready: {error}: {}", fs::read_to_string(&log).unwrap()),
            }
        }
        devnet.stderr = fs::read_to_string(&log).unwrap();
        devnet
    }

    /// Asks the chain of the devnet.
    fn asks(&self, words: &[&str]) -> Value {
        let mut command = self.command("empty");
        command.args(words).args(["--json", "--config", &self.home.text("net/chain.toml")]);
        command.env("OPENBUCKET_WALLET_PASSWORD", fs::read_to_string(self.home.path("net/wallet-password")).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn has_chain(&self) -> bool {
        let list: Value = serde_json::from_slice(&fs::read(self.home.path("net/devnet.json")).unwrap()).unwrap();
        list.as_array().unwrap().iter().any(|process| process["name"] == "chain")
    }
}

impl Devnet {
    fn says(&self, word: &str) -> bool {
        self.stdout.iter().any(|line| line.starts_with(word))
    }

    fn stops(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if thread::panicking() {
            // It stops its processes in order; it may have ended.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            drop(self.child.wait());
        }
    }
}

#[test]
fn without_anvil_a_devnet_has_no_chain_and_says_so() {
    let Some(machine) = Machine::new() else { return };
    for flags in [&[][..], &["--chain", "anvil"], &["--chain", "none"]] {
        let devnet = machine.starts("empty", flags);
        let is_told = devnet.stderr.contains("Anvil is not found, so this devnet has no chain");
        assert_eq!(is_told, flags != ["--chain", "none"], "{flags:?}: {}", devnet.stderr);
        assert!(!devnet.says("chain: ") && !machine.has_chain(), "{flags:?}");
        fs::write(machine.home.path("ob/file"), "files work").unwrap();
        devnet.stops();
    }
    let words = ["devnet", "/x", "--state", "/x", "--chain", "none", "--anvil", "/bin/true"];
    refused(machine.command("empty").args(words).output().unwrap(), 2, &["--chain none has none"]);
}

#[test]
fn anvil_is_found_where_npm_puts_it_or_where_it_is_named_and_the_chain_is_kept() {
    let Some(machine) = Machine::new() else { return };
    // The directory of a checkout is enough, without any flag.
    let devnet = machine.starts("checkout", &[]);
    assert!(devnet.says("chain: http://127.0.0.1:") && devnet.says("configuration: "), "{:?}", devnet.stdout);
    assert!(machine.has_chain() && !devnet.stderr.contains("not found"));
    let offers = machine.asks(&["contract", "offers"]);
    assert_eq!(offers["offers"][0]["storage_price_wei"], "0", "{offers}");
    let address = offers["offers"][0]["addresses"][0].as_str().unwrap();
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/"), "{offers}");
    machine.asks(&["wallet", "send", PAYEE, "1 ETH", "--yes"]);
    devnet.stops();

    let named = packages().join(".bin/anvil").display().to_string();
    let devnet = machine.starts("empty", &["--anvil", &named]);
    assert!(devnet.says("chain: "), "{:?}", devnet.stdout);
    let kept = machine.asks(&["wallet", "balance", PAYEE]);
    assert_eq!(kept["balance_wei"], "1000000000000000000");
    assert_eq!(machine.asks(&["contract", "offers"]), offers, "nothing is published twice");
    devnet.stops();

    let devnet = machine.starts("checkout", &["--chain", "none"]);
    assert!(!devnet.says("chain: ") && !machine.has_chain());
    devnet.stops();
}
