//! `devnet`
use super::args::{DevnetArgs, Global};
pub fn run(_global: &Global, _args: DevnetArgs) -> anyhow::Result<()> {
    Ok(())
}
