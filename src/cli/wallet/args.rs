//! The words of `openbucket wallet`: a part of the one definition of the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    cli::chain::{WalletBalanceArgs, WalletPendingArgs, WalletSendArgs},
    config::Layer,
};

/// Accounts that one call adds, at most: each takes half a second.
const ADDED: i64 = 64;

#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Make a wallet: shows its phrase of 24 words once, and asks for some of them again
    ///
    /// The phrase is all there is of a wallet, and of a bucket: `openbucket init --restore` makes
    /// a bucket's keys from the same phrase, so that one is enough for both.
    Create(WalletCreateArgs),
    /// Make the wallet of a phrase, read from standard input; its password is the one given now
    ///
    /// Takes the phrase of an earlier wallet, or the one that `openbucket init` showed. Over a
    /// wallet of the same phrase it makes all files anew, also when the password was forgotten;
    /// one of another phrase is left as it is.
    Restore(WalletRestoreArgs),
    /// List the accounts, or add some
    Accounts(WalletAccountsArgs),
    /// Say which account pays
    Default(WalletDefaultArgs),
    /// Print an account's encrypted key, as geth and other wallets import it
    ///
    /// JSON of the Web3 Secret Storage, version 3, still under the wallet's password. The phrase and
    /// bare keys are never printed again.
    Export(WalletExportArgs),
    /// What an account has, on a chain
    Balance(WalletBalanceArgs),
    /// Pay an account, and wait until the payment is final
    Send(WalletSendArgs),
    /// What an account has sent or is to send, and how far each is: queued, sent, in a block, stuck
    ///
    /// Sending goes on with the next command of the account, or with --resume. Needs no password, and
    /// works while another process uses the account.
    Pending(WalletPendingArgs),
    /// Change the password
    Password(WalletPasswordArgs),
}

/// Which wallet is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct WalletArgs {
    /// The wallet's directory [default: ~/.local/share/openbucket/wallet]
    #[arg(long, value_name = "DIR")]
    pub wallet: Option<PathBuf>,
}

impl WalletArgs {
    /// The same as a layer of the configuration.
    pub fn layer(&self) -> Layer {
        Layer { wallet: self.wallet.clone(), ..Layer::default() }
    }
}

/// Where its password comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct PasswordArgs {
    /// Read the password from a file that nobody else may read
    ///
    /// One newline at its end does not count. Without it the password is that of the variable
    /// OPENBUCKET_WALLET_PASSWORD, else that of the systemd credential openbucket-wallet-password,
    /// else what is typed on the terminal.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct WalletCreateArgs {
    /// Do not ask for words of the phrase
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub password: PasswordArgs,
}

#[derive(Debug, Args)]
pub struct WalletRestoreArgs {
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub password: PasswordArgs,
}

#[derive(Debug, Args)]
pub struct WalletAccountsArgs {
    /// Add the next N accounts of the path m/44'/60'/0'/0, as other wallets derive them [default: 1]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=ADDED))]
    pub add: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub password: PasswordArgs,
}

#[derive(Debug, Args)]
pub struct WalletDefaultArgs {
    /// Its address, or its index in the list of accounts
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    #[command(flatten)]
    pub wallet: WalletArgs,
}

#[derive(Debug, Args)]
pub struct WalletExportArgs {
    /// Its address, or its index in the list of accounts [default: the default account]
    #[arg(value_name = "ACCOUNT")]
    pub account: Option<String>,
    #[command(flatten)]
    pub wallet: WalletArgs,
}

#[derive(Debug, Args)]
pub struct WalletPasswordArgs {
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub password: PasswordArgs,
    /// Read the new password from a file that nobody else may read [default: asked on the terminal]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}
