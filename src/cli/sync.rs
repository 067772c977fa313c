//! `sync`: waits until everything under a path is with consumers.

use anyhow::bail;

use super::{
    args::{Global, SyncArgs, SyncLevel},
    locate, output,
    progress::{Bar, missing},
};
use crate::rpc::{Level, Progress};

pub async fn run(global: &Global, args: SyncArgs) -> anyhow::Result<()> {
    let target = locate::connect(global, &args.path, &args.daemon).await?;
    locate::write_back(&target).await?;
    let (level, word) = match args.level {
        SyncLevel::Available => (Level::Available, "available"),
        SyncLevel::Uploaded => (Level::Uploaded, "uploaded"),
    };
    let seconds = args.timeout.map_or(0, |timeout| timeout.as_secs().max(1));
    let mut stream = target.client.sync(target.path, level, seconds).await?;
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
