//! `init`: the phrase, the keys, the configuration; safe to run twice.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::{
    args::{Global, InitArgs, some_list},
    locate, output,
};
use crate::{
    config::{Layer, user_config_path},
    keys::{KeyStore, Phrase},
    mount::{guard, unguard},
    runtime::{Chance, SystemChance},
    store::StateLock,
};

/// A phrase as a person may type it, with room for white space.
const PHRASE_BYTES: u64 = 4096;

/// Where a process keeps its keys within its state directory.
pub fn keys_directory(state: &Path) -> PathBuf {
    state.join("keys")
}

pub fn run(global: &Global, args: InitArgs) -> anyhow::Result<()> {
    if let Some(directory) = &args.guard {
        guard(directory)?;
        return output::line(&format!("guarded: {}", directory.display()));
    }
    if let Some(directory) = &args.unguard {
        unguard(directory)?;
        return output::line(&format!("no longer guarded: {}", directory.display()));
    }
    let trackers = some_list(&args.tracker);
    let flags = Layer { state: args.state.clone(), bucket: args.bucket.clone(), trackers, ..Layer::default() };
    // A configuration file that is named but absent is the one to be written.
    let config = global.config.clone().filter(|path| path.exists());
    let settings = locate::settings(&Global { config, ..global.clone() }, flags)?;
    if args.restore {
        restore(&settings.state)?;
        output::line(&format!("restored: {}", settings.state.display()))?;
        output::line(
            "The keys are back. Names and places of files are not: those were in the old state directory only.",
        )?;
    } else if let Some(phrase) = ensure(&settings.state)? {
        output::line("The phrase below is everything: whoever has it has the bucket, and without it and this")?;
        output::line("directory the bucket is lost. Write it down now; it is not shown again.")?;
        output::line("")?;
        output::line(&phrase)?;
        output::line("")?;
        output::line(&format!("initialised: {}", settings.state.display()))?;
    } else {
        output::line(&format!("{} has its keys already: nothing to do", settings.state.display()))?;
    }
    let path = match (&global.config, &args.state) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => None,
        (None, None) => user_config_path(),
    };
    match path {
        Some(path) => write_config(&path, &settings.bucket, &settings.trackers),
        None if args.bucket.is_some() || !args.tracker.is_empty() => {
            output::line("With --state no configuration is written: give --bucket and --tracker to mount, too.")
        }
        None => Ok(()),
    }
}

/// Makes the keys of a producer if they are missing; the words of the new phrase, to be shown once.
pub fn ensure(state: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    if keys_directory(state).exists() && KeyStore::open(keys_directory(state))?.root()?.is_some() {
        return Ok(None);
    }
    let _lock = StateLock::acquire(state, "init")?;
    let keys = KeyStore::open(keys_directory(state))?;
    if keys.root()?.is_some() {
        return Ok(None);
    }
    let mut entropy = Zeroizing::new([0; 32]);
    SystemChance::default().fill(entropy.as_mut_slice());
    let phrase = Phrase::from_entropy(*entropy);
    keys.put_root(&phrase.root())?;
    Ok(Some(phrase.words()))
}

fn restore(state: &Path) -> anyhow::Result<()> {
    let phrase = read_phrase()?;
    let _lock = StateLock::acquire(state, "init")?;
    KeyStore::open(keys_directory(state))?.put_root(&phrase.root())?;
    Ok(())
}

/// The phrase that somebody types, or that a program gives, on standard input.
pub fn read_phrase() -> anyhow::Result<Phrase> {
    if io::IsTerminal::is_terminal(&io::stdin()) {
        eprintln!("Type the 24 words of the phrase, then Ctrl-D:");
    }
    let mut text = Zeroizing::new(String::with_capacity(PHRASE_BYTES as usize));
    io::stdin().take(PHRASE_BYTES).read_to_string(&mut text).context("cannot read the phrase from standard input")?;
    if text.trim().is_empty() {
        bail!("no phrase on standard input: give its 24 words");
    }
    Ok(Phrase::parse(&text)?)
}

/// Writes a configuration file if there is none; one that is there is the user's.
fn write_config(path: &Path, bucket: &str, trackers: &[String]) -> anyhow::Result<()> {
    let words = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(words)?;
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return output::line(&format!(
                "{} is kept as it is: edit it to change the bucket or the trackers",
                path.display()
            ));
        }
        opened => opened.with_context(words)?,
    };
    file.write_all(config_text(bucket, trackers).as_bytes()).and_then(|()| file.sync_all()).with_context(words)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::File::open(parent).and_then(|directory| directory.sync_all()).with_context(words)?;
    }
    output::line(&format!("configuration: {}", path.display()))
}

fn config_text(bucket: &str, trackers: &[String]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let trackers: Vec<String> = trackers.iter().map(|tracker| quoted(tracker)).collect();
    format!(
        "# OpenBucket. Every key is also a flag or a mount option, and a variable OPENBUCKET_*.\n\
         bucket = {}\n\
         trackers = [{}]\n\
         # tier = \"basic\"           # free, basic, plus, premium, or k+m such as \"4+2\"\n\
         # staging-size = \"10 GiB\"  # bytes waiting for upload, at most\n\
         # cache-size = \"10 GiB\"    # local copies, at most\n\
         # durability = \"local\"     # fsync: on this disk (local) or with consumers (network)\n",
        quoted(bucket),
        trackers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn the_keys_are_made_once_and_the_phrase_shown_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        let phrase = ensure(&state).expect("made").expect("shown");
        assert_eq!(phrase.split(' ').count(), 24);
        assert!(ensure(&state).expect("there").is_none());
    }

    #[test]
    fn the_written_configuration_is_read_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("sub/config.toml");
        write_config(&path, "my \"own\"", &["127.0.0.1:4100".into()]).expect("written");
        write_config(&path, "other", &[]).expect("kept");
        let sources = Sources { named_file: Some(path.clone()), home: Some("/h".into()), ..Sources::default() };
        let settings = sources.load().expect("read");
        assert_eq!((settings.bucket.as_str(), settings.trackers.len()), ("my \"own\"", 1));
        // The keys in comments are right too.
        let text = fs::read_to_string(&path).expect("read").replace("# tier", "tier").replace("# staging", "staging");
        fs::write(&path, text.replace("# cache", "cache").replace("# durability", "durability")).expect("written");
        let sources = Sources { named_file: Some(path), home: Some("/h".into()), ..Sources::default() };
        sources.load().expect("read");
    }
}
