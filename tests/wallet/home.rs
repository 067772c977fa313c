//! A home of its own for a test, with the program in it and a wallet to begin with.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use openbucket::{
    chain::Wallet,
    keys::{EthereumAddress, Password},
};

/// The password of the golden wallet.
pub const PASSWORD: &str = "correct horse";

/// The accounts of the golden wallet, the second of them the default.
pub const ACCOUNTS: [&str; 3] = [
    "0xAdBDc994CC05eaFAD35b807316320453F57f94e6",
    "0xF278cF59F82eDcf871d630F28EcC8056f25C1cdb",
    "0xf785bD075874b8423D3583728a981399f31e95aA",
];

pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with the golden wallet, whose encryption is cheap to open, and its password in the file `password`.
    pub fn with_wallet() -> Self {
        let home = Self::new();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wallet-v1"), &home.wallet());
        home.private("password", PASSWORD);
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The wallet that is meant without a flag.
    pub fn wallet(&self) -> PathBuf {
        self.path(".local/share/openbucket/wallet")
    }

    /// A file that only its owner may read; its path.
    pub fn private(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.text(name)
    }

    /// The program without a terminal, whatever runs the tests has.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_openbucket")).args(words);
        self.prepare(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// So that this machine's configuration and secrets do not matter.
    pub fn prepare(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OPENBUCKET_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.0.path()).env_remove("XDG_CONFIG_HOME").env_remove("CREDENTIALS_DIRECTORY");
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it prints when it succeeds.
    pub fn ok(&self, words: &[&str]) -> String {
        succeeded(self.run(words))
    }

    /// The same with something on standard input.
    pub fn feed(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended without reading.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Whether the wallet opens with a password: all of it or nothing.
    pub fn opens(&self, password: &str) -> bool {
        let wallet = Wallet::open(self.wallet()).unwrap();
        let password = || Password::new(password.as_bytes().to_vec().into()).ok().unwrap();
        let opened: Vec<bool> = wallet
            .accounts()
            .iter()
            .map(|account| wallet.unlock(account.address, &password()).is_ok())
            .chain([wallet.check_password(&password()).is_ok()])
            .collect();
        assert!(opened.iter().all(|one| *one == opened[0]), "a part of it opens: {opened:?}");
        opened[0]
    }

    /// The names in the wallet's directory, but for those of the temporary kind.
    pub fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.wallet()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts the exit code, nothing on stdout and one line on stderr that has all these words.
pub fn refused(output: Output, code: i32, expected: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "'{part}' is not in: {stderr}");
    }
}

/// The phrase that a command has printed.
pub fn phrase_in(text: &str) -> String {
    text.lines().find(|line| line.split(' ').count() == 24).expect("a phrase").to_owned()
}

/// The address of a phrase's first account.
pub fn owner(phrase: &str) -> EthereumAddress {
    openbucket::keys::Phrase::parse(phrase).ok().unwrap().root().ethereum_key().address()
}

/// With the modes that a wallet has, which are not those of a checked-out file.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
