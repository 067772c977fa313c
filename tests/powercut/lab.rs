//! A network of real processes, each on a machine of its own whose power can go.

use std::{fs, os::unix::fs::symlink, time::Duration};

use openbucket::runtime::Chance;

use crate::{
    disk::{Disk, Power},
    fixture::{Cluster, signal, text},
};

/// Consumers, and how files are kept: one lost shard is a lost file.
pub const CONSUMERS: u64 = SHARDS;
pub const SHARDS: u64 = 2;
const TIER: &str = "2+0";

/// One process with its disk.
struct Machine {
    name: String,
    disk: Disk,
    power: Power,
}

/// Dropped in this order: the processes go before their disks.
pub struct Lab {
    pub cluster: Cluster,
    machines: Vec<Machine>,
    _mounts: tempfile::TempDir,
}

impl Lab {
    /// A network that runs; None without FUSE.
    pub fn start(limit: Duration) -> Option<Self> {
        let mounts = tempfile::tempdir().unwrap();
        let consumers = (1..=CONSUMERS).map(|number| format!("consumer-{number}"));
        let names: Vec<String> =
            ["tracker".to_owned()].into_iter().chain(consumers).chain(["mount".to_owned()]).collect();
        let mut machines = Vec::new();
        let cluster = Cluster::start_on(limit, CONSUMERS as usize, &["--tier", TIER], |state| {
            for name in names {
                let (place, power) = (mounts.path().join(&name), Power::on());
                fs::create_dir(&place).unwrap();
                symlink(&place, state.join(&name)).unwrap();
                machines.push(Machine { name, disk: Disk::mount(&place, &power).unwrap(), power });
            }
        })?;
        Some(Self { cluster, machines, _mounts: mounts })
    }

    /// The power of these machines goes, all at one moment.
    pub fn power_off(&self, names: &[&str]) {
        self.chosen(names).for_each(|machine| machine.power.go_off());
    }

    /// The same after so many more operations of the mount's disk.
    pub fn power_off_after(&self, names: &[&str], operations: u64) {
        self.machine("mount").power.go_off_after(operations, self.others(names, "mount"));
    }

    /// The same after so many more flushes of this disk.
    pub fn power_off_after_flushes(&self, names: &[&str], of: &str, flushes: u64) {
        self.machine(of).power.go_off_after_flushes(flushes, self.others(names, of));
    }

    fn others(&self, names: &[&str], one: &str) -> Vec<Power> {
        self.chosen(names).filter(|machine| machine.name != one).map(|machine| machine.power.clone()).collect()
    }

    pub fn is_off(&self, name: &str) -> bool {
        self.machine(name).power.is_off()
    }

    /// A process ends in order.
    pub fn stop(&self, name: &str) {
        self.cluster.ok(&["devnet", "stop", name, "--state", &text(&self.cluster.state())]);
    }

    /// Their processes end, their disks are torn, and there is power again.
    pub fn cut(&mut self, names: &[&str], chance: &dyn Chance) {
        self.kill(names);
        for machine in self.machines.iter_mut().filter(|machine| names.contains(&machine.name.as_str())) {
            machine.disk.cut(chance).unwrap();
            machine.power.go_on();
        }
    }

    /// Their processes end, and what they had not flushed is there as long as there is power.
    pub fn kill(&self, names: &[&str]) {
        for machine in self.chosen(names) {
            let pid = self.cluster.process(&machine.name)["pid"].as_i64();
            // Without its disk it may have ended by itself.
            pid.into_iter().for_each(|pid| signal(pid as i32, rustix::process::Signal::KILL));
        }
        names.iter().for_each(|name| self.cluster.wait_gone(name));
    }

    /// They start, and say that they are ready.
    pub fn start_again(&self, names: &[&str]) {
        names.iter().for_each(|name| self.cluster.revive(name));
    }

    /// A machine starts, and its power goes after so many operations of its disk; it may be ready before.
    pub fn start_and_power_off(&self, name: &str, operations: u64) {
        let machine = self.machine(name);
        machine.power.go_off_after(operations, Vec::new());
        drop(self.cluster.run(&["devnet", "start", name, "--state", &text(&self.cluster.state())], b""));
        machine.power.go_off();
    }

    /// A machine gets a new, empty disk.
    pub fn replace_disk(&mut self, name: &str) {
        self.kill(&[name]);
        let machine = self.machines.iter_mut().find(|machine| machine.name == name).expect("a machine");
        machine.disk.replace().unwrap();
    }

    fn chosen(&self, names: &[&str]) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(move |machine| names.contains(&machine.name.as_str()))
    }

    fn machine(&self, name: &str) -> &Machine {
        self.chosen(&[name]).next().expect("a machine")
    }

    /// All machines.
    pub fn names(&self) -> Vec<String> {
        self.machines.iter().map(|machine| machine.name.clone()).collect()
    }
}
