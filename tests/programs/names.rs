//! Names and paths as long and as odd as they may be.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::fixture::{Place, User, from_cold, start};

const NAME_BYTES: usize = 255;
/// With the zero at its end, a path has 4096 bytes.
const PATH_BYTES: usize = 4095;

#[test]
fn any_name_and_any_path_is_kept() {
    let Some(mut cluster) = start() else { return };
    let place = Place::new(&cluster, User::Own, "names");
    let mut names: BTreeSet<OsString> = [
        "-rf",
        "--",
        "*",
        "a b",
        " ",
        "\n",
        "two\nlines\n",
        "\"quotes'",
        "\\",
        "$HOME",
        "`true`",
        "~",
        "#",
        "...",
        ".hidden",
        "Grüße",
        "Gru\u{308}ße",
        "世界",
        "\u{1F600}",
        "A",
        "a",
        "\u{202e}reversed",
        "con",
        "nul:",
        "x:y|z?",
    ]
    .map(Into::into)
    .into();
    // Every byte that a name may have, alone: most of them are no text.
    names.extend((1..=255_u8).filter(|byte| !b"/.".contains(byte)).map(|byte| OsString::from_vec(vec![byte])));
    names.insert("n".repeat(NAME_BYTES).into());
    names.insert("ü".repeat(NAME_BYTES / 2).into());
    names.insert(OsString::from_vec(vec![0xFF; NAME_BYTES]));
    for name in &names {
        fs::write(place.dir.join(name), name.as_bytes()).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    let error = fs::write(place.dir.join("n".repeat(NAME_BYTES + 1)), "").unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
    let path = long_path(&place);
    fs::write(&path, "at the end").unwrap_or_else(|error| panic!("a path of {PATH_BYTES} bytes: {error}"));
    let deepest = deeper_than_a_path(&place).unwrap();

    let check = || {
        let found: BTreeSet<OsString> = fs::read_dir(&place.dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name())
            .collect();
        assert!(found == names, "{:?}", found.symmetric_difference(&names).collect::<Vec<_>>());
        for name in &names {
            assert!(fs::read(place.dir.join(name)).unwrap() == name.as_bytes(), "{name:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"at the end");
        let listed = place.ok("find . -maxdepth 1 -type f -print0 | xargs -0 cat -- | wc -c").trim().to_owned();
        assert_eq!(listed, names.iter().map(|name| name.len()).sum::<usize>().to_string());
        assert_eq!(place.ok("find deep -type d | wc -l").trim(), deepest.to_string());
    };
    check();
    from_cold(&cluster, check);
    cluster.kill("mount");
    cluster.revive("mount");
    check();
    place.ok("find . -mindepth 1 -delete");
    assert_eq!(fs::read_dir(&place.dir).unwrap().count(), 0);
    cluster.down();
}

/// A file's path of exactly so many bytes, its directories made.
fn long_path(place: &Place) -> PathBuf {
    let mut path = place.dir.join("long");
    while PATH_BYTES - path.as_os_str().len() > NAME_BYTES + 2 {
        path.push("d".repeat(NAME_BYTES.min(PATH_BYTES - path.as_os_str().len() - 3)));
    }
    fs::create_dir_all(&path).unwrap();
    path.push("f".repeat(PATH_BYTES - path.as_os_str().len() - 1));
    assert_eq!(path.as_os_str().len(), PATH_BYTES);
    path
}

/// Directories in directories until their path is longer than any system call takes; how many.
fn deeper_than_a_path(place: &Place) -> io::Result<usize> {
    let count = 3 * PATH_BYTES / NAME_BYTES;
    let name = OsStr::new("deep");
    fs::create_dir(place.dir.join(name))?;
    let mut here = rustix::fs::open(place.dir.join(name), OFlags::DIRECTORY, Mode::empty())?;
    let long = "x".repeat(NAME_BYTES);
    for _ in 0..count {
        rustix::fs::mkdirat(&here, &long, Mode::from_raw_mode(0o755))?;
        here = rustix::fs::openat(&here, &long, OFlags::DIRECTORY, Mode::empty())?;
    }
    Ok(count + 1)
}
