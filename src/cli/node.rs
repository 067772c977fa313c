//! `consumer` and `tracker`: one process each.

use anyhow::bail;

use super::args::{ConsumerStartArgs, Global, NodeStatusArgs, TrackerStartArgs};
use super::output;
use crate::{config::Layer, rpc::NodeClient};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Consumer,
    Tracker,
}

pub fn start_consumer(_global: &Global, _args: ConsumerStartArgs) -> anyhow::Result<()> {
    bail!("wip")
}

pub fn start_tracker(_global: &Global, _args: TrackerStartArgs) -> anyhow::Result<()> {
    bail!("wip")
}

pub async fn status(global: &Global, args: NodeStatusArgs, role: Role) -> anyhow::Result<()> {
    let settings = super::locate::settings(global, Layer::default())?;
    let configured = match role {
        Role::Consumer => settings.consumer_dir,
        Role::Tracker => settings.tracker_dir,
    };
    let Some(directory) = args.dir.or(configured) else {
        return Err(super::UsageError::of("which one? name its directory with --dir"));
    };
    let json = NodeClient::connect(&super::locate::state_socket(&directory)).await?.status().await?;
    if args.json {
        return output::line(&json);
    }
    output::line(&output::describe(&serde_json::from_str(&json)?))
}
