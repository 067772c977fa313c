//! `status`: the daemon's own words.

use std::path::Path;

use super::{
    args::{Global, StatusArgs},
    locate, output,
};
use crate::{config::Layer, rpc::Client};

pub async fn run(global: &Global, args: StatusArgs) -> anyhow::Result<()> {
    let client = match (&args.path, &args.daemon.socket) {
        (Some(path), None) => locate::connect(global, path, &args.daemon).await?.client,
        (_, Some(socket)) => Client::connect(socket).await?,
        (None, None) => match locate::find_mount(Path::new("."))?.filter(|_| args.daemon.state.is_none()) {
            Some(mount) => Client::connect(&mount.socket).await?,
            None => {
                let flags = Layer { state: args.daemon.state.clone(), ..Layer::default() };
                Client::connect(&locate::state_socket(&locate::settings(global, flags)?.state)).await?
            }
        },
    };
    let json = client.status().await?;
    if args.json {
        return output::line(&json);
    }
    output::line(&output::describe(&serde_json::from_str(&json)?))
}
