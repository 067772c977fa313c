//! Wallets are made, opened, changed and restored; what is damaged, foreign or another's is refused with nothing lost.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Account, AccountPath, Wallet, WalletError, list::List};
use crate::{
    base::{ErrorKind, Kinded, limits},
    keys::{Password, Phrase, ScryptCost, Sealing},
    runtime::{CpuPool, SeededChance},
};

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.as_bytes().to_vec())).ok().unwrap()
}

/// Calls with a cheap way to encrypt under this password.
fn with<T>(text: &str, work: impl FnOnce(&Sealing<'_>) -> T) -> T {
    let (password, chance) = (password(text), SeededChance::new(3));
    work(&Sealing { password: &password, cost: ScryptCost::of_log_n(2).unwrap(), chance: &chance })
}

fn phrase(byte: u8) -> Phrase {
    Phrase::from_entropy([byte; 32])
}

fn create(directory: &Path, byte: u8, password: &str) -> Result<Wallet, WalletError> {
    let vacancy = Wallet::vacancy(directory)?;
    with(password, |sealing| vacancy.fill(&phrase(byte), sealing))
}

fn restore(directory: &Path, byte: u8, password: &str) -> Result<Wallet, WalletError> {
    with(password, |sealing| Wallet::restore(directory, &phrase(byte), sealing))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("deep/wallet");
    (base, path)
}

/// Every file below, with its mode.
fn files(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(files(&path));
        } else {
            found.push((path, mode));
        }
    }
    found.sort();
    found
}

fn opens(wallet: &Wallet, with: &str) -> bool {
    let open = |account: &Account| match wallet.unlock(account.address, &password(with)) {
        Ok(key) => {
            assert_eq!(key.address(), account.address);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            false
        }
    };
    let opened: Vec<bool> = wallet.accounts().iter().map(open).collect();
    assert!(opened.iter().all(|one| *one == opened[0]), "{opened:?}");
    assert_eq!(wallet.check_password(&password(with)).is_ok(), opened[0], "the phrase opens with the keys");
    opened[0]
}

#[test]
fn a_wallet_is_made_once_for_its_owner_alone() {
    let (_base, path) = place();
    assert!(matches!(Wallet::open(&path), Err(WalletError::NotFound { .. })));
    assert!(!path.exists(), "to look makes nothing");
    let made = create(&path, 1, "a").unwrap();
    assert_eq!(made.accounts(), [Account::of(&phrase(1), AccountPath::Owner)]);
    assert_eq!(made.default_account().address, phrase(1).root().ethereum_key().address());
    assert!(opens(&made, "a") && !opens(&made, "b"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    let found = files(&path);
    assert!(found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
    let names: Vec<_> = found.iter().map(|(file, _)| file.strip_prefix(&path).unwrap().to_str().unwrap()).collect();
    let account = format!("keys-1/accounts/{}.json", made.accounts()[0].address);
    assert_eq!(names, [account.as_str(), "keys-1/phrase.json", "lock", "wallet.json"]);

    let before: Vec<_> = found.iter().map(|(file, _)| fs::read(file).unwrap()).collect();
    assert!(matches!(create(&path, 2, "b"), Err(WalletError::Exists { .. })));
    assert_eq!(before, found.iter().map(|(file, _)| fs::read(file).unwrap()).collect::<Vec<_>>());
    let lock = Wallet::vacancy(path.with_file_name("other")).unwrap();
    let second = Wallet::vacancy(path.with_file_name("other")).err().unwrap();
    assert_eq!(second.kind(), ErrorKind::Unavailable, "{second}");
    drop(lock);
}

#[test]
fn accounts_are_added_in_order_and_the_default_is_one_of_them() {
    let (_base, path) = place();
    let mut wallet = create(&path, 1, "a").unwrap();
    let error = with("b", |sealing| wallet.add_accounts(1, sealing)).unwrap_err();
    assert_eq!((error.kind(), wallet.accounts().len()), (ErrorKind::Denied, 1));
    with("a", |sealing| wallet.add_accounts(2, sealing)).unwrap();
    let mut other = Wallet::open(&path).unwrap();
    let added = with("a", |sealing| other.add_accounts(1, sealing)).unwrap();
    assert_eq!(added, [Account::of(&phrase(1), AccountPath::Bip44(2))]);
    let added = with("a", |sealing| wallet.add_accounts(1, sealing)).unwrap();
    assert_eq!(added[0].path, AccountPath::Bip44(3), "another process has added one meanwhile");
    assert!(opens(&Wallet::open(&path).unwrap(), "a"));
    wallet.set_default(added[0].address).unwrap();
    assert_eq!(Wallet::open(&path).unwrap().default_account(), &added[0]);
    let stranger = phrase(2).root().ethereum_key().address();
    assert!(matches!(wallet.set_default(stranger), Err(WalletError::UnknownAccount { .. })));
    assert!(matches!(wallet.unlock(stranger, &password("a")), Err(WalletError::UnknownAccount { .. })));
    let error = with("a", |sealing| wallet.add_accounts(limits::WALLET_ACCOUNTS, sealing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(wallet.default_account(), &added[0]);
}

#[test]
fn another_password_opens_everything_and_the_old_one_nothing() {
    let (_base, path) = place();
    let mut wallet = create(&path, 1, "a").unwrap();
    with("a", |sealing| wallet.add_accounts(2, sealing)).unwrap();
    let reader = wallet.clone();
    let error = with("c", |sealing| wallet.change_password(&password("b"), sealing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(opens(&wallet, "a"));
    with("c", |sealing| wallet.change_password(&password("a"), sealing)).unwrap();
    for wallet in [wallet, reader, Wallet::open(&path).unwrap()] {
        assert!(opens(&wallet, "c") && !opens(&wallet, "a"));
    }
    assert!(!path.join("keys-1").exists(), "nothing opens with the old password any more");
}

#[test]
fn a_phrase_makes_its_wallet_whole_again_and_no_other_one_its_own() {
    let (_base, path) = place();
    assert!(opens(&restore(&path, 1, "a").unwrap(), "a"));
    let mut wallet = Wallet::open(&path).unwrap();
    let added = with("a", |sealing| wallet.add_accounts(2, sealing)).unwrap();
    wallet.set_default(added[1].address).unwrap();
    assert!(matches!(restore(&path, 2, "a"), Err(WalletError::OtherPhrase { .. })));

    // The password is forgotten, files are damaged or gone: the phrase is all it takes.
    let damage: [fn(&Path); 3] = [
        |_| {},
        |keys| fs::write(keys.join("phrase.json"), "{").unwrap(),
        |keys| fs::remove_dir_all(keys.join("accounts")).unwrap(),
    ];
    for (number, damage) in damage.iter().enumerate() {
        damage(&path.join(format!("keys-{}", number + 1)));
        let restored = restore(&path, 1, "new").unwrap();
        assert_eq!(restored.accounts(), wallet.accounts());
        assert_eq!(restored.default_account(), &added[1]);
        assert!(opens(&restored, "new") && !opens(&restored, "a"));
    }
}

#[test]
fn keys_without_a_list_are_not_written_over() {
    let (_base, path) = place();
    create(&path, 1, "a").unwrap();
    fs::remove_file(path.join("wallet.json")).unwrap();
    assert!(matches!(Wallet::open(&path), Err(WalletError::NoList { .. })));
    assert!(matches!(create(&path, 1, "a"), Err(WalletError::NoList { .. })));
    assert!(matches!(restore(&path, 2, "a"), Err(WalletError::OtherPhrase { .. })));
    assert!(path.join("keys-1/phrase.json").exists());
    assert!(opens(&restore(&path, 1, "b").unwrap(), "b"));
    assert!(path.join("keys-2").exists() && !path.join("keys-1").exists());

    // What an attempt left unfinished is in nobody's way.
    let (_base, path) = place();
    fs::create_dir_all(path.join("keys-7/accounts")).unwrap();
    assert!(matches!(Wallet::open(&path), Err(WalletError::NotFound { .. })));
    assert!(opens(&create(&path, 1, "a").unwrap(), "a"));
    assert!(!path.join("keys-7").exists());
}

#[test]
fn files_that_others_may_read_and_damaged_ones_are_refused_by_name() {
    let (_base, path) = place();
    let mut wallet = create(&path, 1, "a").unwrap();
    let address = wallet.accounts()[0].address;
    let account = path.join(format!("keys-1/accounts/{address}.json"));
    let phrase_file = path.join("keys-1/phrase.json");
    let list = path.join("wallet.json");
    let mut refusal = |file: &Path| {
        let error = match Wallet::open(&path) {
            Err(error) => error,
            Ok(_) if file == account => wallet.unlock(address, &password("a")).err().unwrap(),
            Ok(_) => with("a", |sealing| wallet.add_accounts(1, sealing)).unwrap_err(),
        };
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        error.kind()
    };
    for file in [&account, &phrase_file, &list] {
        let good = fs::read(file).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(refusal(file), ErrorKind::Denied);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in
            [Vec::new(), b"{}".to_vec(), good[..good.len() / 2].to_vec(), vec![b' '; limits::WALLET_FILE_BYTES + 1]]
        {
            fs::write(file, &bad).unwrap();
            assert_eq!(refusal(file), ErrorKind::Corrupt, "{}", file.display());
        }
        fs::write(file, good).unwrap();
    }
    fs::remove_file(&account).unwrap();
    assert_eq!(refusal(&account), ErrorKind::Corrupt);
    assert!(wallet.export(address).is_err());
}

#[test]
fn a_key_in_another_s_place_is_refused() {
    let (_base, path) = place();
    let mut wallet = create(&path, 1, "a").unwrap();
    with("a", |sealing| wallet.add_accounts(1, sealing)).unwrap();
    let file = |index: usize| path.join(format!("keys-1/accounts/{}.json", wallet.accounts()[index].address));
    fs::copy(file(0), file(1)).unwrap();
    let address = wallet.accounts()[1].address;
    for error in [wallet.unlock(address, &password("a")).err(), wallet.export(address).err()] {
        assert_eq!(error.unwrap().kind(), ErrorKind::Corrupt);
    }
    // Nor is the phrase of another wallet taken for this one's.
    let (_other_base, other) = place();
    create(&other, 2, "a").unwrap();
    fs::copy(other.join("keys-1/phrase.json"), path.join("keys-1/phrase.json")).unwrap();
    let error = with("a", |sealing| wallet.add_accounts(1, sealing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_list_that_does_not_fit_together_is_refused() {
    let (one, two) = (Account::of(&phrase(1), AccountPath::Owner), Account::of(&phrase(1), AccountPath::Bip44(0)));
    let mut list = List::new(1, one);
    list.push(two);
    let text = list.to_json();
    assert_eq!(List::parse(text.as_bytes()).unwrap(), list);
    let other = phrase(2).root().ethereum_key().address().to_string();
    let default = format!("\"default\": \"{}\"", one.address);
    let changes = [
        ("\"version\": 1", "\"version\": 2".to_owned()),
        ("\"version\": 1", "\"version\": 0".to_owned()),
        ("openbucket wallet", "another wallet".to_owned()),
        ("\"keys\": 1", "\"keys\": 0".to_owned()),
        ("\"keys\": 1", format!("\"keys\": {}", limits::WALLET_GENERATION)),
        (&default, format!("\"default\": \"{other}\"")),
        ("m/44'/60'/0'/0/0", "m/44'/60'/0'/0".to_owned()),
        ("m/44'/60'/0'/0/0", "openbucket/1/ethereum".to_owned()),
        ("openbucket/1/ethereum", "m/44'/60'/0'/0/7".to_owned()),
        ("\"path\"", "\"paht\"".to_owned()),
    ];
    for (before, after) in changes {
        let changed = text.replace(before, &after);
        assert_ne!(changed, text, "{before}");
        assert!(List::parse(changed.as_bytes()).is_err(), "{after}");
    }
    let twice = text.replace(&two.address.to_string(), &one.address.to_string());
    assert!(List::parse(twice.as_bytes()).is_err());
}

#[tokio::test]
async fn a_key_is_unlocked_on_the_pool() {
    let (_base, path) = place();
    let wallet = create(&path, 1, "a").unwrap();
    let address = wallet.default_account().address;
    let pool = CpuPool::new(1);
    assert_eq!(wallet.unlock_on(&pool, address, password("a")).await.ok().unwrap().address(), address);
    assert_eq!(wallet.unlock_on(&pool, address, password("b")).await.err().unwrap().kind(), ErrorKind::Denied);
}

/// The list of `tests/golden/wallet-v1` is read and written as the first release did; that wallet itself is opened in
/// `tests/wallet`.
#[test]
fn the_golden_list_is_read_and_written_the_same() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wallet-v1/wallet.json");
    let text = fs::read_to_string(golden).unwrap();
    assert_eq!(List::parse(text.as_bytes()).unwrap().to_json(), text);
}
