//! `mount -o remount`: changes the flags of what is mounted; what only a new mount can change is refused by name.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};

use super::{args::MountArgs, client, locate, umount};
use crate::{
    config::{ParsedOptions, Settings},
    daemon::MountOptions,
    mount,
    rpc::Client,
};

/// Changes how a directory is mounted. `settings` is how it would be mounted anew.
pub fn run(args: &MountArgs, parsed: &ParsedOptions, settings: &Settings) -> anyhow::Result<()> {
    let path = umount::absolute(&args.directory)?;
    let Some(mounted) = mount::mounted(&path)? else {
        bail!("no bucket is mounted on {}: mount it first, without remount", path.display())
    };
    let mut wanted = MountOptions::of_mounted(&mounted);
    parsed.change(&mut wanted);
    let would_be = settings.daemon_options(Some(MountOptions { mountpoint: path.clone(), ..parsed.mount.clone() }));
    refuse_fixed(parsed, &would_be.words(), &path)?;
    if args.fake {
        return Ok(());
    }
    match mount::remount(&wanted.for_mount(Path::new(""))) {
        Err(mount::Error::Busy(path)) => bail!("{}", mount::who_holds(&path)),
        done => Ok(done?),
    }
}

/// Compares what was given with what the daemon says is in force: mount(8) gives the whole line of fstab, so the same
/// value again is no change.
fn refuse_fixed(parsed: &ParsedOptions, new: &BTreeMap<&'static str, String>, path: &Path) -> anyhow::Result<()> {
    let fixed: Vec<&str> = parsed.given.iter().filter(|option| !option.is_changeable).map(|it| it.name).collect();
    let fixed: Vec<&str> =
        fixed.into_iter().filter(|name| !matches!(*name, "config" | "default_permissions")).collect();
    if fixed.is_empty() {
        return Ok(());
    }
    let mut old = BTreeMap::new();
    client(async {
        old = in_force(path).await?;
        Ok(())
    })?;
    for name in fixed {
        if new.get(name) != old.get(name) {
            let is = old.get(name).map_or("not set", String::as_str);
            bail!("mount option '{name}' cannot change by remount, it is {is}: umount {} and mount it", path.display());
        }
    }
    Ok(())
}

async fn in_force(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let found = locate::find_mount(path)?.with_context(|| format!("{} is in no bucket", path.display()))?;
    let status = Client::connect(&found.socket).await?.status().await?;
    let mut status: serde_json::Value = serde_json::from_str(&status)?;
    let options = status.get_mut("options").map(serde_json::Value::take).unwrap_or_default();
    serde_json::from_value(options).context("the daemon does not say how it is mounted")
}
