//! Logs go to stderr, one compact line each; the level comes from -v or OPENBUCKET_LOG.

use tracing_subscriber::EnvFilter;

/// Starts logging. A filter that cannot be read is said, and the default used.
pub fn start(verbose: u8) {
    let default = match verbose {
        // At each start sled warns of files of ours that it takes for its own and leaves alone: see `store::trees`.
        0 => "warn,sled::pagecache::blob_io=error,openbucket=info",
        1 => "info,openbucket=debug",
        _ => "debug,openbucket=trace",
    };
    let filter = match std::env::var("OPENBUCKET_LOG") {
        Ok(text) if verbose == 0 && !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            eprintln!("openbucket: OPENBUCKET_LOG: {error}; logging '{default}' instead");
            EnvFilter::new(default)
        }),
        _ => EnvFilter::new(default),
    };
    // A line that cannot be written (the log is on a full disk) is lost; telling so on the same stderr would panic.
    let format = tracing_subscriber::fmt()
        .compact()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_env_filter(filter);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    if format.with_ansi(is_terminal).try_init().is_err() {
        // A library user has set its own; that one is kept.
    }
}
