//! What commands print: lines, tables, JSON; names with control characters made harmless.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Context as _;

/// Prints one line on stdout.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// Whether a command failed only because nobody reads its output any more.
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// A path as it may be shown on a terminal.
pub fn path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// `1 file`, `2 files`.
pub fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// An error with its causes; a cause that the words before it end with is not repeated.
pub fn explain(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words.push_str(&format!(": {cause}"));
        }
    }
    one_line(&words)
}

/// An error's words on one line.
pub fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A name as it may be shown on a terminal.
pub fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Rows under a heading (or under none), as wide as they need; the last column is left as it is.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(heading.len(), Vec::len);
    let mut widths: Vec<usize> =
        (0..columns).map(|column| heading.get(column).map_or(0, |word| word.chars().count())).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines = Vec::with_capacity(rows.len() + 1);
    let heading: Vec<String> = heading.iter().map(|&word| word.to_owned()).collect();
    for row in std::iter::once(&heading).filter(|heading| !heading.is_empty()).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
    }
    lines.join("\n")
}

/// A flat JSON object as lines `name: value`; inner objects are indented.
pub fn describe(value: &serde_json::Value) -> String {
    let mut lines = Vec::new();
    describe_into(&mut lines, value, 0);
    lines.join("\n")
}

fn describe_into(lines: &mut Vec<String>, value: &serde_json::Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let label = name.trim_end_matches("_bytes").replace('_', " ");
                match value {
                    serde_json::Value::Object(_) | serde_json::Value::Array(_) => {
                        lines.push(format!("{indent}{label}:"));
                        describe_into(lines, value, depth + 1);
                    }
                    serde_json::Value::Number(number) if name.ends_with("bytes") || name.starts_with("bytes_") => {
                        let bytes = number.as_u64().unwrap_or_default();
                        lines.push(format!("{indent}{label}: {}", crate::base::format_bytes(bytes)));
                    }
                    serde_json::Value::Null => lines.push(format!("{indent}{label}: -")),
                    value => lines.push(format!("{indent}{label}: {}", scalar(value))),
                }
            }
        }
        serde_json::Value::Array(items) if items.is_empty() => lines.push(format!("{indent}none")),
        serde_json::Value::Array(items) => {
            for item in items {
                match item {
                    serde_json::Value::Object(_) => {
                        let mut inner = Vec::new();
                        describe_into(&mut inner, item, depth + 1);
                        // The first line of an item carries its dash.
                        if let Some(first) = inner.first_mut() {
                            *first = format!("{indent}- {}", first.trim_start());
                        }
                        lines.append(&mut inner);
                    }
                    item => lines.push(format!("{indent}- {}", scalar(item))),
                }
            }
        }
        value => lines.push(format!("{indent}{}", scalar(value))),
    }
}

fn scalar(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("größe"), "größe");
    }

    #[test]
    fn tables_are_as_wide_as_needed() {
        let rows = vec![vec!["a".into(), "long name".into()], vec!["wider".into(), "x".into()]];
        assert_eq!(table(&["id", "name"], &rows), "id     name\na      long name\nwider  x");
        assert_eq!(table(&[], &rows), "a      long name\nwider  x");
    }

    #[test]
    fn documents_are_shown_with_sizes_for_people() {
        let value = serde_json::json!({"staged_bytes": 2048, "peers": [], "cache": {"hits": 3}, "why": null});
        assert_eq!(describe(&value), "cache:\n  hits: 3\npeers:\n  none\nstaged: 2.00 KiB\nwhy: -");
        let value = serde_json::json!({"peers": [{"at": ["x", "y"], "id": 1}, {"at": [], "id": 2}]});
        assert_eq!(
            describe(&value),
            "peers:\n  - at:\n      - x\n      - y\n    id: 1\n  - at:\n      none\n    id: 2"
        );
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::from_raw_os_error(17);
        let error = anyhow::Error::new(cause()).context(format!("cannot make it: {}", cause()));
        assert_eq!(explain(&error), "cannot make it: File exists (os error 17)");
        assert_eq!(explain(&anyhow::Error::new(cause()).context("no")), "no: File exists (os error 17)");
    }
}
