//! `cache evict|pin|unpin`: the local copies of what consumers keep.

use anyhow::Context as _;

use super::{
    args::{Global, PathArgs},
    locate, output, write_back,
};
use crate::{base::format_bytes, bucket::CacheReport};

pub async fn evict(global: &Global, args: PathArgs) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    write_back::glance(&target).await;
    let json = target.client.evict(target.path).await.with_context(|| output::path(&args.path))?;
    show(&json, args.json, "dropped")
}

pub async fn pin(global: &Global, args: PathArgs, is_pinned: bool) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    let json = target.client.pin(target.path, is_pinned).await.with_context(|| output::path(&args.path))?;
    show(&json, args.json, if is_pinned { "pinned" } else { "unpinned" })
}

fn show(json: &str, is_json: bool, word: &str) -> anyhow::Result<()> {
    if is_json {
        return output::line(json);
    }
    let report: CacheReport = serde_json::from_str(json)?;
    let mut words = format!("{word}: {}, {}", output::files(report.files), format_bytes(report.bytes));
    if report.kept_dirty_bytes > 0 {
        let kept = format_bytes(report.kept_dirty_bytes);
        words.push_str(&format!("; {kept} stay because they are not uploaded yet (openbucket sync)"));
    }
    if report.kept_pinned_bytes > 0 {
        let kept = format_bytes(report.kept_pinned_bytes);
        words.push_str(&format!("; {kept} stay because they are pinned (openbucket cache unpin)"));
    }
    output::line(&words)
}
