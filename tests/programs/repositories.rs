//! A repository that lives on the mount.

use crate::{
    devnet::text,
    fixture::{Place, from_cold, start, users},
};

#[test]
fn git_works_in_a_repository_on_the_mount() {
    let Some(mut cluster) = start() else { return };
    let source = cluster.path("source.git");
    let this = text(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    for user in users() {
        let place = Place::new(&cluster, *user, "git");
        std::fs::write(
            place.beside.join("home/.gitconfig"),
            "[user]\nname = Somebody\nemail = somebody@example.org\n[safe]\ndirectory = *\n[gc]\nautoDetach = false\n",
        )
        .unwrap();
        if !source.exists() {
            // What everybody may read.
            place.ok(&format!("git clone --quiet --bare 'file://{this}' {0}; chmod -R a+rX {0}", text(&source)));
        }
        place.ok(&format!("git clone --quiet file://{} clone", text(&source)));
        in_clone(&place, "git fsck --strict --no-progress");
        assert_eq!(in_clone(&place, "git status --porcelain"), "", "a fresh clone is clean");
        in_clone(&place, CHANGES);
        let head = in_clone(&place, "git rev-parse HEAD");
        from_cold(&cluster, || {
            assert_eq!(in_clone(&place, "git status --porcelain"), "", "clean, after all copies here were dropped");
            in_clone(&place, "git fsck --full --strict --no-progress");
        });
        in_clone(&place, "git gc --quiet --prune=now");
        from_cold(&cluster, || {
            in_clone(&place, "git fsck --full --strict --no-progress");
            let back = "git clone --quiet clone \"$BESIDE/back\"; git -C \"$BESIDE/back\" rev-parse HEAD";
            assert_eq!(place.ok(back), head);
        });
        let differences = "diff -r --no-dereference --exclude=.git clone \"$BESIDE/back\"";
        assert_eq!(place.ok(differences), "");
    }
    cluster.down();
}

fn in_clone(place: &Place, script: &str) -> String {
    place.ok(&format!("cd clone; {script}"))
}

/// An afternoon's work.
const CHANGES: &str = "
git switch --quiet --create work
for number in $(seq 20); do
    echo \"line $number\" >> notes; git add notes; git commit --quiet --message \"note $number\"
done
git mv notes kept; git commit --quiet --message moved
echo unfinished >> kept; git stash --quiet; git stash pop --quiet; git checkout --quiet kept
git switch --quiet --create other HEAD~5; echo other > other; git add other; git commit --quiet --message other
git rebase --quiet work
git merge-base --is-ancestor work other
git branch --quiet --delete --force work
git worktree add --quiet ../tree HEAD~1; git worktree remove ../tree
git repack -q -a -d
";
