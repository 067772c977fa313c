//! sqlite on the mount: what was committed stays, whoever is killed.

use std::{fs, path::Path, process::Child, time::Duration};

use crate::{
    devnet::{Cluster, eventually, text},
    fixture::{Place, User, from_cold, rounds, start, users, wait},
};

/// So many are committed before somebody is killed.
const COMMITS: usize = 60;
/// More than are ever committed.
const STATEMENTS: usize = 100_000;

#[test]
fn sqlite_keeps_what_was_committed_when_its_writer_is_killed() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        for round in 0..rounds(1, 10) {
            for journal in ["wal", "delete"] {
                let base = Base::new(&cluster, *user, journal, round);
                let mut writer = base.start_writing();
                base.wait_for_commits();
                // A reader beside the writer.
                let seen = base.ask("SELECT count(*) FROM facts");
                assert!(seen.parse::<usize>().unwrap() > 0, "{seen}");
                writer.kill().unwrap();
                wait(&mut writer);
                base.check("after the kill");
                from_cold(&cluster, || base.check("from consumers"));
            }
        }
    }
    cluster.down();
}

#[test]
fn sqlite_keeps_what_was_committed_when_the_mount_is_killed() {
    let Some(mut cluster) = start() else { return };
    for round in 0..rounds(1, 10) {
        for journal in ["wal", "delete"] {
            let base = Base::new(&cluster, User::Own, journal, round);
            let mut writer = base.start_writing();
            base.wait_for_commits();
            cluster.kill("mount");
            assert!(!wait(&mut writer).success(), "the writer cannot go on");
            cluster.revive("mount");
            base.check("after the mount's death");
            from_cold(&cluster, || base.check("from consumers"));
        }
    }
    cluster.down();
}

/// A database that somebody writes.
struct Base<'a> {
    place: Place<'a>,
}

impl<'a> Base<'a> {
    fn new(cluster: &'a Cluster, user: User, journal: &str, round: usize) -> Self {
        let base = Self { place: Place::new(cluster, user, &format!("sqlite {journal} {round}")) };
        base.place.ok("mkdir \"$BESIDE/committed\"");
        assert_eq!(base.ask(&format!("PRAGMA journal_mode = {journal}")), journal);
        base.ask("CREATE TABLE facts (id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE total (n INTEGER)");
        base.ask("INSERT INTO total VALUES (0)");
        base
    }

    /// One transaction after the other; after each, a file beside the mount says that it is committed.
    fn start_writing(&self) -> Child {
        let committed = text(&self.place.beside.join("committed"));
        let statement = |id| {
            format!(
                "BEGIN; INSERT INTO facts VALUES ({id}, printf('%0*d', 2000, {id})); UPDATE total SET n = n + 1; \
                 COMMIT; SELECT writefile('{committed}/{id}', '');\n"
            )
        };
        let script = self.place.beside.join("script");
        let begin = ".bail on\n.timeout 20000\nPRAGMA synchronous = FULL;\n".to_owned();
        fs::write(&script, begin + &(1..=STATEMENTS).map(statement).collect::<String>()).unwrap();
        self.place.spawn("sqlite3", &["base"], &script)
    }

    fn committed(&self) -> usize {
        let numbers = fs::read_dir(self.place.beside.join("committed")).unwrap();
        let number = |name: &Path| name.file_name().unwrap().to_str().unwrap().parse::<usize>().unwrap();
        numbers.map(|entry| number(&entry.unwrap().path())).max().unwrap_or(0)
    }

    fn wait_for_commits(&self) {
        eventually("transactions are committed", Duration::from_secs(100), || self.committed() >= COMMITS);
    }

    fn ask(&self, statement: &str) -> String {
        let answer = self.place.ok(&format!("exec sqlite3 -bail -cmd '.timeout 20000' base \"{statement}\""));
        answer.trim_end().to_owned()
    }

    fn check(&self, when: &str) {
        assert_eq!(self.ask("PRAGMA integrity_check"), "ok", "{when}");
        let whole = "SELECT count(*), min(id), max(id) FROM facts WHERE body = printf('%0*d', 2000, id)";
        let total: usize = self.ask("SELECT n FROM total").parse().unwrap();
        assert_eq!(self.ask(whole), format!("{total}|1|{total}"), "{when}: one row for each transaction");
        let committed = self.committed();
        assert!((COMMITS..=total).contains(&committed), "{when}: {total} rows, {committed} committed");
    }
}
