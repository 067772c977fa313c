//! Progress of a long call: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{bucket::Pending, rpc::Progress};

/// A bar that counts bytes.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar on stderr, if that is a terminal.
    pub fn new(words: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        let style =
            ProgressStyle::with_template("{msg} [{bar:24}] {bytes}/{total_bytes} {binary_bytes_per_sec} {prefix}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(words);
        Self(bar)
    }

    /// Shows where it is.
    pub fn show(&self, progress: &Progress) {
        self.0.set_length(progress.bytes_total);
        self.0.set_position(progress.bytes_total.saturating_sub(progress.bytes_left));
        self.0.set_prefix(format!("{} files left", progress.files_left));
    }

    /// So many bytes of a copy; `total` 0 when unknown.
    pub fn copied(&self, bytes: u64, total: u64) {
        self.0.set_length(total.max(bytes));
        self.0.set_position(bytes);
    }
}

/// Says where something is whose end is not known.
pub struct Spinner(ProgressBar);

impl Spinner {
    /// On stderr, if that is a terminal.
    pub fn new(words: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(words);
        Self(bar)
    }

    /// Shows where it is.
    pub fn show(&self, words: &str) {
        self.0.set_message(words.to_owned());
        self.0.tick();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What is still missing, in words; None when nothing is.
pub fn missing(progress: &Progress) -> Option<String> {
    if progress.files_left == 0 && progress.bytes_left == 0 {
        return None;
    }
    let bytes = crate::base::format_bytes(progress.bytes_left);
    let mut words = format!("{} of {} files ({bytes})", progress.files_left, progress.files_total);
    let pending = serde_json::from_str::<Pending>(&progress.json).unwrap_or_default();
    if !pending.examples.is_empty() {
        let shown: Vec<&str> = pending.examples.iter().take(3).map(String::as_str).collect();
        words.push_str(&format!(", such as {}", shown.join(", ")));
    }
    if let Some(reason) = pending.reasons.first() {
        words.push_str(&format!(": {reason}"));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_an_example_and_a_reason() {
        let mut progress = Progress { files_left: 2, bytes_left: 2048, files_total: 5, ..Progress::default() };
        progress.json = r#"{"files":2,"bytes":2048,"total_files":5,"total_bytes":9,"reasons":["too few consumers"],
            "examples":["a/b"]}"#
            .into();
        let words = missing(&progress).expect("something");
        assert_eq!(words, "2 of 5 files (2.00 KiB), such as a/b: too few consumers");
        assert_eq!(missing(&Progress::default()), None);
    }
}
