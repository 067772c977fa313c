//! Where a wallet's password comes from: a file, the environment, a systemd credential, or who sits at the terminal.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::Path,
};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::terminal::Terminal;
use crate::{
    base::limits,
    cli::UsageError,
    config::PASSWORD_VARIABLE,
    keys::Password,
    runtime::{PrivateFileError, read_private},
};

/// The name of the systemd credential.
const CREDENTIAL: &str = "openbucket-wallet-password";
/// Bytes of a file with a password: it and a newline.
const FILE_BYTES: usize = limits::PASSWORD_BYTES + 1;
/// Times that somebody may type a new password.
const TRIES: usize = 3;

/// The password of a wallet that is there.
pub fn existing(file: Option<&Path>) -> anyhow::Result<Password> {
    match given(file)? {
        Some(password) => Ok(password),
        None => Ok(Password::new(terminal()?.ask_hidden("Password of the wallet: ")?)?),
    }
}

/// The password for a wallet that is to be made.
pub fn chosen(file: Option<&Path>) -> anyhow::Result<Password> {
    match given(file)? {
        Some(password) => Ok(password),
        None => asked_twice(),
    }
}

/// The password that is to follow another one: from a file or the terminal, because the other sources tell the old one.
pub fn next(file: Option<&Path>) -> anyhow::Result<Password> {
    match file {
        Some(path) => of_file(path),
        None => asked_twice(),
    }
}

fn asked_twice() -> anyhow::Result<Password> {
    let mut terminal = terminal()?;
    for _ in 0..TRIES {
        let typed = terminal.ask_hidden("New password of the wallet: ")?;
        let password = match Password::new(typed) {
            Ok(password) => password,
            Err(error) => {
                terminal.say(&error.to_string())?;
                continue;
            }
        };
        let again = Password::new(terminal.ask_hidden("The same again: ")?);
        if again.is_ok_and(|again| again.is_same(&password)) {
            return Ok(password);
        }
        terminal.say("These are not the same: once more, please.")?;
    }
    bail!("no new password: nothing was done")
}

fn terminal() -> anyhow::Result<Terminal> {
    Terminal::open().ok_or_else(|| {
        UsageError::of(format!(
            "no password and no terminal to ask on: give a file with --password-file (a new password with \
             --new-password-file), or set {PASSWORD_VARIABLE}, or the systemd credential {CREDENTIAL}"
        ))
    })
}

/// What is given without asking; None when nothing is.
fn given(file: Option<&Path>) -> anyhow::Result<Option<Password>> {
    if let Some(path) = file {
        return of_file(path).map(Some);
    }
    if let Some(value) = std::env::var_os(PASSWORD_VARIABLE) {
        let password = Password::new(Zeroizing::new(value.into_vec()));
        return password.map(Some).context(PASSWORD_VARIABLE);
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => of_credential(&Path::new(&directory).join(CREDENTIAL)),
        None => Ok(None),
    }
}

/// Of a file that nobody else may read.
fn of_file(path: &Path) -> anyhow::Result<Password> {
    let name = path.display();
    match read_private(path, FILE_BYTES) {
        Ok(Some(bytes)) => of_bytes(bytes, path),
        Ok(None) => bail!("the password file {name} does not exist"),
        Err(PrivateFileError::Mode(mode)) => {
            bail!("the password file {name} may be read by others (mode {mode:03o}): run chmod 600 {name}")
        }
        Err(PrivateFileError::TooLong) => {
            bail!("the password file {name} is too long: a password has 1024 bytes at most")
        }
        Err(PrivateFileError::Disk(error)) => Err(error).with_context(|| format!("the password file {name}")),
    }
}

/// Of a file that systemd made. Its mode says nothing: the right to read it may be an access control list, which shows as
/// a right of the group.
fn of_credential(path: &Path) -> anyhow::Result<Option<Password>> {
    let words = || format!("the systemd credential {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(words),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES + 1));
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(words)?;
    of_bytes(bytes, path).map(Some)
}

fn of_bytes(mut bytes: Zeroizing<Vec<u8>>, path: &Path) -> anyhow::Result<Password> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Password::new(bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn one_newline_at_the_end_is_cut_and_no_more() {
        let of = |text: &str| of_bytes(Zeroizing::new(text.as_bytes().to_vec()), Path::new("f"));
        let plain = |text: &str| Password::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a password");
        assert!(of("a b\n").expect("one").is_same(&plain("a b")));
        assert!(of("a\n\n").expect("one").is_same(&plain("a\n")));
        assert!(of(" a").expect("one").is_same(&plain(" a")));
        assert!(of("").is_err() && of("\n").is_err());
        let longest = "x".repeat(limits::PASSWORD_BYTES);
        assert!(of(&format!("{longest}\n")).is_ok() && of(&format!("{longest}y")).is_err());
    }

    #[test]
    fn a_credential_may_be_readable_by_a_group_and_a_file_may_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(CREDENTIAL);
        assert!(of_credential(&path).expect("looked").is_none());
        fs::write(&path, "secret\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).expect("set");
        assert!(of_credential(&path).expect("read").is_some());
        let error = of_file(&path).err().expect("refused").to_string();
        assert!(error.contains("chmod 600") && error.contains("440"), "{error}");
    }
}
