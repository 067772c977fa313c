//! `status`: the daemon's own words.

use super::{
    args::{Global, StatusArgs},
    locate, output,
};

pub async fn run(global: &Global, args: StatusArgs) -> anyhow::Result<()> {
    let client = locate::connect_daemon(global, args.path.as_deref(), &args.daemon).await?;
    let json = client.status().await?;
    if args.json {
        return output::line(&json);
    }
    output::line(&output::describe(&serde_json::from_str(&json)?))
}
