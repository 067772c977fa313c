//! Backup programs whose repositories are on the mount.

use std::path::Path;

use crate::{
    fixture::{Place, from_cold, start, users},
    tree,
};

#[test]
fn restic_keeps_its_repository_on_the_mount() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "restic");
        let source = place.tree("tree");
        let wanted = tree::read(&source);
        restic(&place, "init");
        restic(&place, "backup tree");
        from_cold(&cluster, || restic(&place, "check --read-data"));
        from_cold(&cluster, || restic(&place, "restore latest --target restored"));
        tree::assert_same(&wanted, &place.beside.join("restored/tree"), "restored");
        place.ok("cd \"$BESIDE\"; rm -r restored; echo more > tree/more; rm -r tree/odd/large");
        let wanted = tree::read(&source);
        restic(&place, "backup tree");
        restic(&place, "forget --keep-last 1 --prune");
        from_cold(&cluster, || restic(&place, "check --read-data"));
        restic(&place, "restore latest --target restored");
        tree::assert_same(&wanted, &place.beside.join("restored/tree"), "restored after the first one was forgotten");
    }
    cluster.down();
}

fn restic(place: &Place, words: &str) {
    let repository = place.dir.display();
    place.ok(&format!(
        "cd \"$BESIDE\"; RESTIC_PASSWORD=word exec restic --repo '{repository}/repository' --quiet {words}"
    ));
}

#[test]
fn borg_keeps_its_repository_on_the_mount() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "borg");
        let source = place.tree("tree");
        let wanted = tree::read(&source);
        borg(&place, "init --encryption=repokey");
        borg(&place, "create ::first tree");
        from_cold(&cluster, || borg(&place, "check --verify-data"));
        from_cold(&cluster, || borg_extract(&place, "first"));
        tree::assert_same(&wanted, Path::new(&place.beside.join("restored/tree")), "extracted");
        place.ok("cd \"$BESIDE\"; rm -r restored; echo more > tree/more; rm -r tree/odd/large");
        let wanted = tree::read(&source);
        borg(&place, "create ::second tree");
        borg(&place, "delete ::first");
        borg(&place, "compact");
        from_cold(&cluster, || borg(&place, "check --verify-data"));
        borg_extract(&place, "second");
        tree::assert_same(&wanted, &place.beside.join("restored/tree"), "extracted after the first one was deleted");
    }
    cluster.down();
}

fn borg(place: &Place, words: &str) {
    borg_in(place, "", words);
}

fn borg_extract(place: &Place, archive: &str) {
    borg_in(place, "mkdir restored; cd restored;", &format!("extract ::{archive}"));
}

fn borg_in(place: &Place, before: &str, words: &str) {
    let repository = place.dir.display();
    let environment = format!("export BORG_PASSPHRASE=word BORG_REPO='{repository}/repository'");
    place.ok(&format!("cd \"$BESIDE\"; {before} {environment}; exec borg --lock-wait 20 {words}"));
}
