//! `file ls` and `file stat`.

use anyhow::Context as _;

use super::{
    args::{Global, ListArgs, PathArgs},
    locate, output, write_back,
};
use crate::{
    base::format_bytes,
    bucket::{FileReport, FileSummary},
};

/// Rows that are laid out together; a longer listing is shown in parts.
const TABLE_ROWS: usize = 1000;

pub async fn list(global: &Global, args: ListArgs) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    write_back::glance(&target).await;
    let words = || output::path(&args.path);
    let mut documents = target.client.list_files(target.path, args.recursive).await.with_context(words)?;
    if args.json {
        let mut separator = "[";
        while let Some(json) = documents.next().await.with_context(words)? {
            output::line(&format!("{separator}{json}"))?;
            separator = ",";
        }
        return output::line(if separator == "[" { "[]" } else { "]" });
    }
    let mut heading: &[&str] = &["STATE", "AVAILABLE", "SIZE", "", "PATH"];
    let mut rows = Vec::new();
    while let Some(json) = documents.next().await.with_context(words)? {
        rows.push(row(&serde_json::from_str(&json)?));
        if rows.len() == TABLE_ROWS {
            output::line(&output::table(heading, &rows))?;
            (heading, rows) = (&[], Vec::new());
        }
    }
    if heading.is_empty() && rows.is_empty() {
        return Ok(());
    }
    output::line(&output::table(heading, &rows))
}

fn row(file: &FileSummary) -> Vec<String> {
    let path = output::printable(&file.path);
    let path = if file.kind == "directory" { format!("{path}/") } else { path };
    vec![
        file.state.to_string(),
        format!("{}/{}", file.availability.actual, file.availability.desired),
        format_bytes(file.size),
        if file.is_pinned { "pinned".into() } else { String::new() },
        path,
    ]
}

pub async fn stat(global: &Global, args: PathArgs) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    write_back::glance(&target).await;
    let json = target.client.stat_file(target.path).await.with_context(|| output::path(&args.path))?;
    if args.json {
        return output::line(&json);
    }
    let file: FileReport = serde_json::from_str(&json)?;
    let mut lines = vec![
        format!("path: {}", output::printable(&file.path)),
        format!("kind: {}, id {}", file.kind, file.id),
        format!("state: {}", file.state),
        format!("size: {} ({} bytes), staged {}", format_bytes(file.size), file.size, format_bytes(file.staged_bytes)),
        format!("availability: {} of {}", file.availability.actual, file.availability.desired),
        format!("policy: {}+{}{}", file.policy.k, file.policy.m, if file.is_pinned { ", pinned" } else { "" }),
    ];
    lines.extend(file.reason.iter().map(|reason| format!("reason: {}", output::printable(reason))));
    for chunk in &file.chunks {
        lines.push(format!("chunk {}: {} live", chunk.id, format_bytes(chunk.live_bytes)));
        for shard in &chunk.shards {
            let held = if shard.consumer.is_empty() { "-" } else { &shard.consumer };
            lines.push(format!("  shard {:>2} {:<8} {held} {}", shard.index, shard.state, shard.id));
        }
    }
    output::line(&lines.join("\n"))
}
