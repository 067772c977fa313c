//! `wallet`: the accounts of a phrase, their encrypted keys, their password. Those that ask a chain are in `cli/chain`.

mod args;
mod password;
mod terminal;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

pub use args::{PasswordArgs, WalletArgs, WalletCommand};
use args::{
    WalletAccountsArgs, WalletCreateArgs, WalletDefaultArgs, WalletExportArgs, WalletPasswordArgs, WalletRestoreArgs,
};
pub use password::existing as existing_password;
pub use terminal::Terminal;

use super::{UsageError, args::Global, chain, client, init::read_phrase, locate, output};
use crate::{
    chain::{Account, Wallet, WalletError},
    keys::{EthereumAddress, Password, Phrase, ScryptCost, Sealing},
    runtime::{Chance, SystemChance},
};

/// Words of a new phrase that are asked for.
const ASKED_WORDS: usize = 3;
/// Times that somebody may try one of them.
const TRIES: usize = 3;

pub fn run(global: &Global, command: WalletCommand) -> anyhow::Result<()> {
    match command {
        WalletCommand::Create(args) => create(global, &args),
        WalletCommand::Restore(args) => restore(global, &args),
        WalletCommand::Accounts(args) => accounts(global, &args),
        WalletCommand::Default(args) => set_default(global, &args),
        WalletCommand::Export(args) => export(global, &args),
        WalletCommand::Balance(args) => client(chain::balance(global, &args)),
        WalletCommand::Send(args) => client(chain::send(global, &args)),
        WalletCommand::Pending(args) => client(chain::pending(global, &args)),
        WalletCommand::Password(args) => change_password(global, &args),
    }
}

fn create(global: &Global, args: &WalletCreateArgs) -> anyhow::Result<()> {
    let directory = directory(global, &args.wallet)?;
    let terminal = if args.yes {
        None
    } else {
        let missing = "no terminal to confirm the phrase on: run it on one, or give --yes";
        Some(Terminal::open().ok_or_else(|| UsageError::of(missing))?)
    };
    let vacancy = Wallet::vacancy(directory)?;
    let password = password::chosen(args.password.password_file.as_deref())?;
    let chance = SystemChance::default();
    let mut entropy = Zeroizing::new([0; 32]);
    chance.fill(entropy.as_mut_slice());
    let phrase = Phrase::from_entropy(*entropy);
    output::line("The phrase below is everything: whoever has it has the accounts, and without it and this")?;
    output::line("directory they are lost. Write it down now; it is not shown again.")?;
    output::line("")?;
    output::line(&phrase.words())?;
    output::line("")?;
    if let Some(terminal) = terminal {
        confirm(terminal, &phrase, &chance)?;
    }
    let wallet = vacancy.fill(&phrase, &sealing(&password, &chance)).context("the wallet was not made")?;
    output::line(&format!("created: {}", output::path(wallet.directory())))?;
    output::line(&format!("account: {}", wallet.default_account().address))
}

/// Asks for some words of the phrase, as a proof that they were written down.
fn confirm(mut terminal: Terminal, phrase: &Phrase, chance: &dyn Chance) -> anyhow::Result<()> {
    let words = phrase.words();
    let words: Vec<&str> = words.split(' ').collect();
    let mut asked = Vec::with_capacity(ASKED_WORDS);
    while asked.len() < ASKED_WORDS {
        let number = usize::try_from(chance.below(words.len() as u64)).expect("below 24");
        if !asked.contains(&number) {
            asked.push(number);
        }
    }
    asked.sort_unstable();
    for number in asked {
        let mut is_right = false;
        for _ in 0..TRIES {
            let typed = terminal.ask(&format!("Word {} of the phrase: ", number + 1))?;
            is_right = typed.trim_ascii().eq_ignore_ascii_case(words[number].as_bytes());
            if is_right {
                break;
            }
            terminal.say("That is another word.")?;
        }
        if !is_right {
            bail!("the phrase was not confirmed, so no wallet was made: run it again, it will show another phrase");
        }
    }
    Ok(())
}

fn restore(global: &Global, args: &WalletRestoreArgs) -> anyhow::Result<()> {
    let directory = directory(global, &args.wallet)?;
    let phrase = read_phrase()?;
    let password = password::chosen(args.password.password_file.as_deref())?;
    let wallet = Wallet::restore(directory, &phrase, &sealing(&password, &SystemChance::default()))?;
    output::line(&format!("restored: {}", output::path(wallet.directory())))?;
    output::line(&format!("account: {}", wallet.default_account().address))
}

fn accounts(global: &Global, args: &WalletAccountsArgs) -> anyhow::Result<()> {
    let mut wallet = open(global, &args.wallet)?;
    if let Some(count) = args.add {
        let password = password::existing(args.password.password_file.as_deref())?;
        wallet.add_accounts(usize::from(count), &sealing(&password, &SystemChance::default()))?;
    }
    let default = wallet.default_account().address;
    if args.json {
        let account = |(index, account): (usize, &Account)| {
            serde_json::json!({
                "index": index,
                "address": account.address.to_string(),
                "path": account.path.to_string(),
                "is_default": account.address == default,
            })
        };
        let accounts: Vec<_> = wallet.accounts().iter().enumerate().map(account).collect();
        let directory = wallet.directory().to_string_lossy();
        return output::line(&serde_json::json!({ "directory": directory, "accounts": accounts }).to_string());
    }
    let row = |(index, account): (usize, &Account)| {
        let mark = if account.address == default { "default" } else { "" };
        vec![index.to_string(), account.address.to_string(), account.path.to_string(), mark.to_owned()]
    };
    let rows: Vec<_> = wallet.accounts().iter().enumerate().map(row).collect();
    output::line(&output::table(&["INDEX", "ADDRESS", "PATH", ""], &rows))
}

fn set_default(global: &Global, args: &WalletDefaultArgs) -> anyhow::Result<()> {
    let mut wallet = open(global, &args.wallet)?;
    let address = find(&wallet, &args.account)?;
    wallet.set_default(address)?;
    output::line(&format!("default: {address}"))
}

fn export(global: &Global, args: &WalletExportArgs) -> anyhow::Result<()> {
    let wallet = open(global, &args.wallet)?;
    let address = match &args.account {
        Some(text) => find(&wallet, text)?,
        None => wallet.default_account().address,
    };
    output::line(&wallet.export(address)?)
}

fn change_password(global: &Global, args: &WalletPasswordArgs) -> anyhow::Result<()> {
    let mut wallet = open(global, &args.wallet)?;
    let old = password::existing(args.password.password_file.as_deref())?;
    // Said before a new one is thought of.
    wallet.check_password(&old)?;
    let new = password::next(args.new_password_file.as_deref())?;
    wallet.change_password(&old, &sealing(&new, &SystemChance::default()))?;
    output::line(&format!("password changed: {}", output::path(wallet.directory())))
}

fn directory(global: &Global, args: &WalletArgs) -> anyhow::Result<PathBuf> {
    let settings = locate::settings(global, args.layer())?;
    let missing = || UsageError::of("which wallet? HOME is not set: name its directory with --wallet");
    std::path::absolute(settings.wallet.ok_or_else(missing)?).context("the wallet's directory")
}

fn open(global: &Global, args: &WalletArgs) -> anyhow::Result<Wallet> {
    Ok(Wallet::open(directory(global, args)?)?)
}

fn sealing<'a>(password: &'a Password, chance: &'a dyn Chance) -> Sealing<'a> {
    Sealing { password, cost: ScryptCost::STANDARD, chance }
}

/// The wallet, and the account that is named, or its default one.
pub fn account(global: &Global, args: &WalletArgs, name: Option<&str>) -> anyhow::Result<(Wallet, EthereumAddress)> {
    let wallet = open(global, args)?;
    let address = match name {
        Some(text) => find(&wallet, text)?,
        None => wallet.default_account().address,
    };
    Ok((wallet, address))
}

/// An account by its address or by its index in the list.
fn find(wallet: &Wallet, text: &str) -> anyhow::Result<EthereumAddress> {
    let accounts = wallet.accounts();
    // An address has 40 digits, so no index is one.
    if text.len() < 10
        && let Ok(index) = text.parse::<usize>()
    {
        let account = accounts.get(index);
        let missing = || format!("the wallet has no account {index}: its last one is {}", accounts.len() - 1);
        return Ok(account.with_context(missing)?.address);
    }
    let address = text.parse::<EthereumAddress>().map_err(|error| UsageError::of(format!("'{text}': {error}")))?;
    match accounts.iter().any(|account| account.address == address) {
        true => Ok(address),
        false => Err(WalletError::UnknownAccount { address }.into()),
    }
}
