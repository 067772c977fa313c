//! Which processes a devnet has, where they are, and STATE/devnet.json.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::runtime::{Chance, SystemChance};

const FILE: &str = "devnet.json";
/// Ports that are looked at for new processes: no program needs a privilege for them, and most have no name.
const PORTS: Range<u16> = 10_240..32_768;
/// Ports that are tried, at most.
const TRIES: usize = 64;
/// Consumers of a new devnet.
const CONSUMERS: u16 = 8;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Tracker,
    Chain,
    Consumer,
    Mount,
}

/// One line of devnet.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub role: Role,
    /// `tracker`, `chain`, `consumer-1`, ..., `mount`.
    pub name: String,
    /// None while it is down.
    pub pid: Option<u32>,
    /// Its state directory.
    pub dir: PathBuf,
    /// Its peer id; empty until it has run once.
    pub peer: String,
    /// Where it listens, as a multiaddr.
    pub addr: String,
    /// Its local socket.
    pub socket: PathBuf,
    /// The network's group: devnets do not meet each other.
    pub group: String,
    /// Where it is mounted, if it is the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mountpoint: Option<PathBuf>,
}

impl Process {
    /// Where it listens.
    pub fn port(&self) -> anyhow::Result<u16> {
        let port = self.addr.rsplit('/').next().and_then(|port| port.parse().ok());
        port.with_context(|| format!("{} has no port: {}", self.name, self.addr))
    }
}

/// All processes of a devnet: the tracker first, the mount last.
#[derive(Clone, Debug)]
pub struct Plan {
    pub state: PathBuf,
    pub processes: Vec<Process>,
}

impl Plan {
    /// The devnet that was here before, with as many consumers as wanted now and with a chain or not, or a new one.
    pub fn load_or_make(
        state: &Path,
        mountpoint: &Path,
        consumers: Option<u16>,
        has_chain: bool,
    ) -> anyhow::Result<Plan> {
        let path = state.join(FILE);
        let earlier: Vec<Process> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged: choose another state directory", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let before = earlier.iter().filter(|process| process.role == Role::Consumer).count();
        let count = consumers.map_or(if before == 0 { usize::from(CONSUMERS) } else { before }, usize::from);
        let group = match earlier.first() {
            Some(process) => process.group.clone(),
            None => format!("devnet-{}", hex::encode(&SystemChance::default().bytes32()[..8])),
        };
        let names = std::iter::once((Role::Tracker, "tracker".to_owned()))
            .chain(has_chain.then(|| (Role::Chain, "chain".to_owned())))
            .chain((1..=count).map(|number| (Role::Consumer, format!("consumer-{number}"))))
            .chain(std::iter::once((Role::Mount, "mount".to_owned())));
        let mut taken = Vec::new();
        let mut processes = Vec::new();
        for (role, name) in names {
            let dir = state.join(&name);
            let (peer, addr) = match earlier.iter().find(|process| process.name == name) {
                Some(process) => (process.peer.clone(), process.addr.clone()),
                None => (String::new(), free_address(&mut taken)?),
            };
            let mountpoint = (role == Role::Mount).then(|| mountpoint.to_path_buf());
            let socket = dir.join("socket");
            processes.push(Process {
                role,
                name,
                pid: None,
                dir,
                peer,
                addr,
                socket,
                group: group.clone(),
                mountpoint,
            });
        }
        Ok(Plan { state: state.to_path_buf(), processes })
    }

    /// The process of this name.
    pub fn find(&mut self, name: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.name == name)
    }

    /// The mount.
    pub fn mount(&self) -> &Process {
        self.processes.last().expect("a plan ends with the mount")
    }

    /// The tracker.
    pub fn tracker(&self) -> &Process {
        self.processes.first().expect("a plan begins with the tracker")
    }

    /// The chain, if there is one.
    pub fn chain(&self) -> Option<&Process> {
        self.processes.iter().find(|process| process.role == Role::Chain)
    }

    /// How many consumers there are.
    pub fn consumers(&self) -> usize {
        self.processes.iter().filter(|process| process.role == Role::Consumer).count()
    }

    /// Where a process logs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.state.join("logs").join(format!("{name}.log"))
    }

    /// Writes devnet.json, whole or not at all.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = self.state.join(FILE);
        let fresh = self.state.join("devnet.json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(&self.processes)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.state)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A free port of this machine; the listeners in `taken` keep it from being found twice. Not one of those that the kernel gives
/// to connections (ip(7)): it is to be free whenever the process starts again.
fn free_address(taken: &mut Vec<TcpListener>) -> anyhow::Result<String> {
    let chance = SystemChance::default();
    let fixed = PORTS.start..first_of_connections().unwrap_or(PORTS.end).clamp(PORTS.start + 1, PORTS.end);
    let mut drawn = (0..TRIES).map(|_| fixed.start + chance.below(fixed.len() as u64) as u16);
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    // Where the machine has kept all of them for connections, any.
    let listener = drawn.find_map(|port| bind(port).ok()).map_or_else(|| bind(0), Ok).context("no free port")?;
    let port = listener.local_addr().context("no free port")?.port();
    taken.push(listener);
    Ok(format!("/ip4/127.0.0.1/tcp/{port}"))
}

/// The first port that the kernel gives to connections.
fn first_of_connections() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_has_the_same_addresses_and_group() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mountpoint = Path::new("/mnt");
        let first = Plan::load_or_make(directory.path(), mountpoint, Some(3), false).expect("made");
        first.save().expect("saved");
        let names: Vec<&str> = first.processes.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["tracker", "consumer-1", "consumer-2", "consumer-3", "mount"]);
        let mut addresses: Vec<&str> = first.processes.iter().map(|process| process.addr.as_str()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 5);

        let again = Plan::load_or_make(directory.path(), mountpoint, None, false).expect("read");
        assert_eq!(again.processes, first.processes);
        let more = Plan::load_or_make(directory.path(), mountpoint, Some(4), true).expect("read");
        assert_eq!((more.consumers(), more.chain().map(|chain| chain.name.as_str())), (4, Some("chain")));
        assert_ne!(more.chain().expect("there").port().expect("a port"), 0);
        let more = Plan::load_or_make(directory.path(), mountpoint, Some(4), false).expect("read");
        assert_eq!(more.processes[..4], first.processes[..4]);
        assert_eq!(more.processes[4].name, "consumer-4");
        assert_eq!(more.mount(), first.mount());
    }
}
