//! Several processes in one file, and ways around the page cache.

use std::fs;

use crate::{
    fixture::{Place, User, from_cold, rounds, start, users},
    tree::noise,
};

#[test]
fn two_processes_share_a_mapping() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "mapping");
        let count = rounds(20_000, 1_000_000);
        place.ok("dd if=/dev/zero of=file bs=8192 count=1 status=none");
        let words = |role: &'static str| ["map", "file", role, &count.to_string()].map(str::to_owned);
        let helpers = ["0", "1"].map(|role| place.helper(&words(role).each_ref().map(String::as_str)));
        for helper in helpers {
            assert_eq!(helper.word(), "counted");
            helper.end();
        }
        from_cold(&cluster, || {
            let mut wanted = vec![0; 8192];
            wanted[5000..5004].copy_from_slice(&u32::try_from(count).unwrap().to_ne_bytes());
            assert!(fs::read(place.dir.join("file")).unwrap() == wanted);
        });
    }
    cluster.down();
}

#[test]
fn appended_lines_of_many_processes_are_all_there() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "append");
        // One write for each line; the file is opened anew in the outer loop.
        let script = "append() { for round in 1 2 3 4 5; do for n in $(seq 200); do \
                      echo \"$1 $round $n with some words behind\"; done >> log; done; }; \
                      for process in 1 2 3 4 5 6 7 8; do append $process & done; wait; \
                      wc -l < log; sort -u log | grep -c '^[1-8] [1-5] [0-9]* with some words behind$'";
        assert_eq!(place.ok(script), "8000\n8000\n");
        let sorted = from_cold(&cluster, || place.ok("sort -u log | wc -l; wc -c < log"));
        let bytes: usize = (1..=200).map(|n: usize| 40 * format!("1 1 {n} with some words behind\n").len()).sum();
        assert_eq!(sorted, format!("8000\n{bytes}\n"));
    }
    cluster.down();
}

#[test]
fn direct_reads_and_writes_agree_with_all_others() {
    let Some(mut cluster) = start() else { return };
    let place = Place::new(&cluster, User::Own, "direct");
    fs::write(place.beside.join("source"), noise(1, 9 << 20)).unwrap();
    place.ok(
        "dd if=\"$BESIDE/source\" of=file bs=256k oflag=direct conv=fsync status=none; cmp file \"$BESIDE/source\"",
    );
    let read = "dd if=file bs=1M iflag=direct status=none | cmp - \"$BESIDE/source\"";
    place.ok(read);
    from_cold(&cluster, || place.ok(read));
    // What is in the page cache only is seen by a direct read, and what is written directly by an ordinary one.
    place.ok("printf changed | dd of=file bs=7 seek=100 conv=notrunc status=none
         dd if=file bs=4096 count=1 iflag=direct status=none | head -c 707 | tail -c 7 | grep -qx changed
         dd if=/dev/zero of=file bs=4096 seek=1 count=1 oflag=direct conv=notrunc status=none
         dd if=file bs=4096 skip=1 count=1 status=none | cmp - -n 4096 /dev/zero");
    cluster.down();
}
