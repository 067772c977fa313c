//! Whole trees: mirrored, packed, searched.

use std::{fs, path::Path};

use crate::fixture::{Place, from_cold, is_root, rounds, start, users};

/// What rsync and tar keep beside the bytes: attributes, access lists, holes, more links, and what is no file.
const DECORATE: &str = "
cd \"$BESIDE/tree/odd\"
setfattr -n user.note -v 'a value' 'empty file' 'empty directory'
setfattr -n user.large -v \"$(head -c 3000 /dev/zero | tr '\\0' x)\" script
setfacl -m u:1:rw,g:2:r script; setfacl -d -m u:1:rwx 'empty directory'
for n in $(seq 20); do ln 'first name' \"name $n\"; done
mkfifo pipe
truncate -s 100M holes; for at in 0 10 99; do echo data | dd of=holes bs=1M seek=$at conv=notrunc status=none; done
";

/// Everything that is kept of each entry: kind, mode, links, size, time, owners, target; attributes; access lists.
fn listing(place: &Place, dir: &Path) -> String {
    place.ok(&format!(
        "cd '{}'
         find . -printf '%P %y %m %n %s %T@ %U %G %l\\n' | sed -E 's/^(.* d [0-9]+) [0-9]+ [0-9]+ /\\1 /' | sort
         getfattr --no-dereference --dump --match=- --recursive --physical . | sort
         getfacl --recursive --physical --numeric . | sort",
        dir.display()
    ))
}

fn assert_same(place: &Place, wanted: &Path, found: &Path, when: &str) {
    let (wanted_lines, found_lines) = (listing(place, wanted), listing(place, found));
    let wanted_set: Vec<&str> = wanted_lines.lines().collect();
    let found_set: Vec<&str> = found_lines.lines().collect();
    let missing: Vec<_> = wanted_set.iter().filter(|line| !found_set.contains(line)).take(10).collect();
    let new: Vec<_> = found_set.iter().filter(|line| !wanted_set.contains(line)).take(10).collect();
    assert!(wanted_lines == found_lines, "{when}\nmissing: {missing:#?}\nnew: {new:#?}");
    place.ok(&format!(
        "diff -r --no-dereference --exclude=pipe --exclude=disk '{}' '{}'",
        wanted.display(),
        found.display()
    ));
}

#[test]
fn a_second_rsync_transfers_nothing() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "rsync");
        let source = place.tree("tree");
        place.ok(DECORATE);
        let target = place.dir.join("tree");
        rsync(&place, "");
        assert_same(&place, &source, &target, "copied");
        let second = rsync(&place, "");
        assert!(second.is_empty(), "the second transfers nothing: {second}");
        let by_content = from_cold(&cluster, || rsync(&place, "--checksum"));
        assert!(by_content.is_empty(), "nor when every byte is compared: {by_content}");

        place.ok("cd \"$BESIDE/tree/odd\"; rm large 'name 3'; echo more >> script; chmod 640 open; mv readonly moved");
        assert!(rsync(&place, "").contains("*deleting   odd/large"));
        assert_same(&place, &source, &target, "changed");
        let last = rsync(&place, "");
        assert!(last.is_empty(), "{last}");
        // In place, as for large files of virtual machines.
        place.ok("cd \"$BESIDE/tree/odd\"; printf change | dd of=holes bs=1 seek=20000000 conv=notrunc status=none");
        rsync(&place, "--inplace --no-whole-file");
        from_cold(&cluster, || assert_same(&place, &source, &target, "changed in place"));
    }
    cluster.down();
}

/// Mirrors the tree; the changes it says.
fn rsync(place: &Place, flags: &str) -> String {
    // Without the window, times that differ within one second are the same to rsync.
    place.ok(&format!("exec rsync -aHAX --delete --modify-window=-1 --itemize-changes {flags} \"$BESIDE/tree/\" tree/"))
}

#[test]
fn tar_packs_and_unpacks_on_the_mount() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "tar");
        let source = place.tree("tree");
        place.ok(DECORATE);
        if is_root() && user == &users()[0] {
            place.ok("mknod \"$BESIDE/tree/odd/disk\" b 7 99; chown -h 1:2 \"$BESIDE/tree/odd/link\"");
        }
        let tar = "tar --xattrs --xattrs-include='*' --acls --sparse --same-permissions";
        place.ok(&format!("{tar} -C \"$BESIDE\" -cf packed.tar tree; {tar} -xf packed.tar"));
        let target = place.dir.join("tree");
        assert_same(&place, &source, &target, "unpacked on the mount");
        let blocks: u64 = place.ok("stat -c %b tree/odd/holes").trim().parse().unwrap();
        assert!(blocks * 512 < 20_000_000, "holes stay holes: {blocks} blocks");
        from_cold(&cluster, || {
            place.ok(&format!("{tar} -cf - tree | (mkdir \"$BESIDE/back\"; cd \"$BESIDE/back\"; {tar} -xf -)"));
        });
        assert_same(&place, &source, &place.beside.join("back/tree"), "packed on the mount");
        let packed = fs::metadata(place.dir.join("packed.tar")).unwrap().len();
        assert!(packed < 100_000_000, "holes are not packed: {packed} bytes");
    }
    cluster.down();
}

#[test]
fn find_and_xargs_go_through_thousands_of_files() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "find");
        let folders = rounds(40, 400);
        let files = folders * 100;
        place.ok(&format!(
            "for folder in $(seq {folders}); do mkdir -p many/$folder; done
             find many -mindepth 1 -print0 | xargs -0 -n 10 -P 4 sh -c \
             'for folder; do for n in $(seq 100); do echo \"$folder $n\" > \"$folder/file $n\"; done; done' sh"
        ));
        let count = |words: &str| place.ok(&format!("find many {words} | wc -l")).trim().parse::<usize>().unwrap();
        assert_eq!(count("-type f -name 'file *'"), files);
        let lines = "find many -type f -print0 | xargs -0 -P 4 -n 500 cat | sort -u | wc -l";
        assert_eq!(place.ok(lines).trim(), files.to_string());
        place.ok("find many -name '* 7' -print0 | xargs -0 sed -i 's/^/changed /'");
        let found = from_cold(&cluster, || place.ok("grep -rl '^changed ' many | wc -l"));
        assert_eq!(found.trim(), folders.to_string());
        place.ok("find many -name '* 1?' -delete; find many -name '* 9' -print0 | xargs -0 -I{} mv {} {}.old");
        assert_eq!(count("-type f"), files - 10 * folders);
        assert_eq!(count("-name '*.old'"), folders);
        place.ok("chmod -R go-rwx many; find many -perm /077 | grep . && exit 1; cp -a many copy; diff -r many copy");
        place.ok("rm -r many copy");
        assert_eq!(fs::read_dir(&place.dir).unwrap().count(), 0);
    }
    cluster.down();
}
