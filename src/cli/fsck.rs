//! `fsck`: the check of a bucket, and its repair.

use anyhow::{Context as _, bail};

use super::{
    args::{FsckArgs, Global},
    locate, output,
    progress::Spinner,
};
use crate::{
    bucket::{FsckKind, FsckReport},
    rpc::FsckRequest,
};

pub async fn run(global: &Global, args: FsckArgs) -> anyhow::Result<()> {
    let client = locate::connect_daemon(global, args.path.as_deref(), &args.daemon).await?;
    let request = FsckRequest { is_repair: args.repair, deletes_unknown_shards: args.delete_unknown_shards };
    let mut stream = client.fsck(request).await?;
    let spinner = Spinner::new("checking");
    let json = loop {
        let progress = stream.next().await?.context("the daemon ended before the check did")?;
        if progress.is_done {
            break progress.json;
        }
        spinner.show(&format!("{} ({})", progress.step, progress.done));
    };
    drop(spinner);
    let report: FsckReport = serde_json::from_str(&json)?;
    if args.json {
        output::line(&json)?;
    } else {
        output::line(&words(&report))?;
    }
    let found = report.problems.len() as u64 + report.unlisted_problems;
    match (report.is_wrong_still(), args.repair) {
        (false, _) => Ok(()),
        (true, false) => bail!("{found} problems: openbucket fsck --repair mends what can be mended"),
        (true, true) => {
            let repaired = report.problems.iter().filter(|problem| problem.repaired).count();
            bail!("{repaired} of {found} problems are repaired; see what is said of the others")
        }
    }
}

fn words(report: &FsckReport) -> String {
    let mut lines = Vec::new();
    for problem in &report.problems {
        let repaired = match (problem.repaired, problem.kind) {
            (true, FsckKind::AbsentShard) => " (is being rebuilt: openbucket sync waits for it)",
            (true, _) => " (repaired)",
            (false, _) => "",
        };
        lines.push(output::printable(&format!("{}: {}: {}{repaired}", problem.kind, problem.what, problem.why)));
    }
    if report.unlisted_problems > 0 {
        lines.push(format!("and {} more problems", report.unlisted_problems));
    }
    for silent in &report.silent_consumers {
        lines.push(output::printable(&format!("not asked what it holds: consumer {silent}")));
    }
    if let Some(why) = &report.unknown_shards_unjudged {
        lines.push(format!("shards that the bucket does not know were not looked for: {why}"));
    }
    let FsckReport { inodes, names, chunks, shards, .. } = report;
    let is_all_asked = report.silent_consumers.is_empty() && report.unknown_shards_unjudged.is_none();
    let verdict = match (report.is_clean(), is_all_asked) {
        (true, true) => "clean",
        (true, false) => "clean as far as could be asked",
        (false, _) => "checked",
    };
    lines.push(format!("{verdict}: {inodes} inodes, {names} names, {chunks} chunks, {shards} shards"));
    lines.join("\n")
}
