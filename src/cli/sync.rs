//! `sync`: waits until everything under a path is with consumers.

use std::time::Instant;

use anyhow::{Context as _, bail};

use super::{
    args::{Global, SyncArgs, SyncLevel},
    locate, output,
    progress::{Bar, Spinner, missing},
    write_back,
};
use crate::rpc::{Level, Progress};

pub async fn run(global: &Global, args: SyncArgs) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    let (begun, spinner) = (Instant::now(), Spinner::new("writing back"));
    spinner.show("what the kernel holds");
    if !write_back::finish(&target, args.timeout).await? {
        bail!("programs still write there and wait for room in the staging area; openbucket status says how it drains");
    }
    drop(spinner);
    let (level, word) = match args.level {
        SyncLevel::Available => (Level::Available, "available"),
        SyncLevel::Uploaded => (Level::Uploaded, "uploaded"),
    };
    let seconds = args.timeout.map_or(0, |timeout| timeout.saturating_sub(begun.elapsed()).as_secs().max(1));
    let words = || output::path(&args.path);
    let mut stream = target.client.sync(target.path, level, seconds).await.with_context(words)?;
    let bar = Bar::new("uploading");
    let mut last = Progress::default();
    let ended = loop {
        match stream.next().await {
            Ok(Some(progress)) => {
                bar.show(&progress);
                last = progress;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(bar);
    if args.json {
        output::line(&last.json)?;
    }
    match ended {
        Ok(()) if last.is_done => {}
        Ok(()) => bail!("not {word} yet: {}", missing(&last).unwrap_or_else(|| "the daemon ended".into())),
        Err(error) => match missing(&last) {
            Some(words) => bail!("not {word} yet: {words} ({error})"),
            None => return Err(anyhow::Error::new(error).context(output::path(&args.path))),
        },
    }
    if !args.json {
        let bytes = crate::base::format_bytes(last.bytes_total);
        output::line(&format!("{word}: {} ({bytes})", output::files(last.files_total)))?;
    }
    Ok(())
}
