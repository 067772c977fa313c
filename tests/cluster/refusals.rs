//! What is wrong is said in one line, and nothing is lost by it.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    fixture::{Cluster, is_mounted, text},
    tree::{self, noise},
};

#[test]
fn what_cannot_be_is_refused_and_nothing_is_lost() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "free"]) else { return };
    for index in 0..50 {
        fs::write(cluster.file(&format!("file {index}")), noise(index, 10_000)).unwrap();
    }
    cluster.sync();
    mounting(&cluster);
    unmounting(&cluster);
    damaged(&cluster);
    cluster.revive("mount");
    check(&cluster);
    cluster.down();
}

fn check(cluster: &Cluster) {
    for index in 0..50 {
        assert!(fs::read(cluster.file(&format!("file {index}"))).unwrap() == noise(index, 10_000), "file {index}");
    }
}

fn mounting(cluster: &Cluster) {
    let (state, own) = (text(&cluster.state()), text(&cluster.state().join("mount")));
    let place = |name: &str| {
        let path = cluster.path(name);
        fs::create_dir(&path).unwrap();
        text(&path)
    };
    let (empty, full) = (place("empty"), place("full"));
    fs::write(Path::new(&full).join("file"), "").unwrap();
    let (file, missing) = (format!("{full}/file"), text(&cluster.path("missing")));
    cluster.refused(&["mount", "--state", &own, &empty], &["in use by openbucket mount, process"]);
    let other = text(&cluster.path("other"));
    cluster.refused(&["mount", "--state", &other, &empty], &["no keys yet", "openbucket init"]);
    cluster.ok(&["init", "--state", &other]);
    let refused = |place: &str, words: &[&str]| cluster.refused(&["mount", "--state", &other, place], words);
    refused(&text(&cluster.mount()), &["is already a mount point"]);
    refused(&full, &["is not empty"]);
    refused(&file, &["is not a directory"]);
    refused(&missing, &["does not exist", "mkdir"]);
    cluster.refused(&["devnet", &empty, "--state", &state], &["in use by openbucket devnet, process"]);
    cluster.refused(&["devnet", "start", "consumer-1", "--state", &state], &["is running already"]);
    cluster.refused(&["devnet", "start", "consumer-9", "--state", &state], &["no process 'consumer-9'"]);
    cluster.refused(&["file", "stat", &text(&cluster.file("nothing"))], &["no such file"]);
    cluster.refused(&["file", "stat", &full], &["is not inside a mounted bucket"]);
    check(cluster);
}

fn unmounting(cluster: &Cluster) {
    let mount = text(&cluster.mount());
    let mut open = File::create(cluster.file("open")).unwrap();
    open.write_all(b"before ").unwrap();
    cluster.refused(&["umount", &mount], &["in use", "close the files"]);
    open.write_all(b"and after").unwrap();
    drop(open);
    assert_eq!(fs::read(cluster.file("open")).unwrap(), b"before and after");
    cluster.ok(&["umount", &mount]);
    assert!(!is_mounted(&cluster.mount()));
    cluster.refused(&["umount", &mount], &["is not mounted"]);
    cluster.wait_gone("mount");
}

/// Garbage in the state: one line, and all files stay as they are.
fn damaged(cluster: &Cluster) {
    let own = cluster.state().join("mount");
    let bucket = own.join("buckets/default");
    let kept = cluster.path("kept");
    tree::copy(&bucket, &kept);
    let (mount, own) = (text(&cluster.mount()), text(&own));
    for place in ["trees", "log"] {
        let mut files = files_under(&bucket.join(place));
        files.retain(|path| fs::metadata(path).is_ok_and(|meta| meta.len() > 0));
        assert!(!files.is_empty(), "nothing in {place}");
        for path in &files {
            let length = fs::metadata(path).unwrap().len() as usize;
            fs::write(path, noise(1, length)).unwrap();
        }
        let before = tree::read(&bucket.join(place));
        let said = cluster.refused(&["mount", "--state", &own, &mount], &[]);
        assert!(said.contains(&text(&bucket)), "it says where: {said}");
        assert!(!is_mounted(&cluster.mount()));
        tree::assert_same(&before, &bucket.join(place), place);
        fs::remove_dir_all(&bucket).unwrap();
        tree::copy(&kept, &bucket);
    }
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files
}
