//! Careful saves: write a new file, sync it, keep the old one as a backup, rename. A file is always there, and whole.

use std::{fs, path::Path};

use crate::fixture::{Place, User, from_cold, rounds, start, users};

#[test]
fn a_saved_file_is_whole_whenever_its_editor_is_killed() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "editor");
        for round in 0..rounds(15, 200) {
            let safe = save_some(&place, round % 7 + 1);
            check(&place.dir, safe);
        }
        from_cold(&cluster, || check(&place.dir, 15));
    }
    cluster.down();
}

#[test]
fn a_saved_file_is_whole_when_the_mount_is_killed() {
    let Some(mut cluster) = start() else { return };
    let place = Place::new(&cluster, User::Own, "editor");
    for round in 0..rounds(3, 20) {
        let mut editor = place.helper(&["save", "."]);
        for _ in 0..20 + round {
            editor.word();
        }
        cluster.kill("mount");
        let said = editor.rest();
        let safe = said.last().map_or(1, |version| version.parse().unwrap());
        cluster.revive("mount");
        check(&place.dir, safe);
    }
    from_cold(&cluster, || check(&place.dir, 60));
    cluster.down();
}

/// Lets an editor save so often, and kills it in the middle of the next time; the last version it called safe.
fn save_some(place: &Place, saves: usize) -> u64 {
    let mut editor = place.helper(&["save", "."]);
    let mut heard = editor.word();
    for _ in 1..saves {
        heard = editor.word();
    }
    editor.kill();
    editor.rest().pop().unwrap_or(heard).parse().unwrap()
}

/// The file is a whole version, the last safe one or a later one; the backup is a whole one too.
fn check(dir: &Path, safe: u64) {
    let version = version(&dir.join("file"));
    assert!(version >= safe, "version {version}, and {safe} was safe");
    if dir.join("file~").exists() {
        let backup = self::version(&dir.join("file~"));
        assert!(backup == version || backup + 1 == version, "the backup of version {version} is {backup}");
    }
}

fn version(path: &Path) -> u64 {
    let found = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let version: u64 = found.lines().next().unwrap_or_default().parse().unwrap_or_else(|_| panic!("{found:.100}"));
    let body = (0..200 + version % 7 * 500).map(|line| format!("{line} of {version}\n"));
    let wanted = format!("{version}\n{}{version}\n", body.collect::<String>());
    assert!(found == wanted, "version {version} is not whole: {} bytes of {}", found.len(), wanted.len());
    version
}
