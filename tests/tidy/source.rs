//! Rust source as the rules see it: without comments and strings, tests told from production.

use std::{fs, ops::Range, path::Path};

/// One file of the project.
pub struct Source {
    /// Relative to the root of the project, with `/`.
    pub path: String,
    pub raw: Vec<String>,
    /// `raw` with comments, strings and characters blanked; the same lines.
    pub code: Vec<String>,
    /// Whether each line belongs to an item under `#[cfg(test)]`.
    is_test: Vec<bool>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let mut is_test = vec![path.starts_with("tests/"); code.lines().count()];
        for lines in test_items(&code) {
            is_test[lines].fill(true);
        }
        Self {
            path: path.into(),
            raw: text.lines().map(Into::into).collect(),
            code: code.lines().map(Into::into).collect(),
            is_test,
        }
    }

    pub fn is_test(&self, line: usize) -> bool {
        self.is_test[line]
    }

    /// The layer module that the file belongs to: the folder or file right under `src`.
    pub fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let name = below.split('/').next()?.trim_end_matches(".rs");
        (!matches!(name, "lib" | "main")).then_some(name)
    }

    /// How deep the file's module lies under the crate: 1 for `src/a.rs` and `src/a/mod.rs`.
    pub fn depth(&self) -> usize {
        self.path.trim_end_matches("/mod.rs").matches('/').count()
    }

    /// Whether somebody wrote, on the line or right above it, why it is so.
    pub fn has_reason(&self, line: usize) -> bool {
        let says = |at: usize| self.raw[at].split_once("//").is_some_and(|(_, why)| why.trim().len() > 8);
        let is_comment = |at: usize| self.raw[at].trim_start().starts_with("//");
        self.raw[line].contains("reason = ") || says(line) || (line > 0 && is_comment(line - 1) && says(line - 1))
    }

    fn mark_all_as_test(&mut self) {
        self.is_test.fill(true);
    }
}

/// Every `.rs` file under `src` and `tests`.
pub fn sources(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut paths);
    }
    let mut sources: Vec<Source> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            Source::new(&name, &fs::read_to_string(path).expect("a source file is UTF-8"))
        })
        .collect();
    mark_test_files(&mut sources);
    sources
}

/// Every file below a folder, sorted; none when it does not exist.
pub fn collect(folder: &Path, paths: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { collect(&path, paths) } else { paths.push(path) }
    }
}

/// A file whose `mod` line stands under `#[cfg(test)]` is all test.
pub fn mark_test_files(sources: &mut [Source]) {
    let mut prefixes = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let folder = source.path.trim_end_matches("mod.rs").trim_end_matches(".rs").trim_end_matches('/');
        for (line, code) in source.code.iter().enumerate() {
            let name = code.trim().strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
            if let Some(name) = name.filter(|_| source.is_test(line)) {
                prefixes.push([format!("{folder}/{name}.rs"), format!("{folder}/{name}/")]);
            }
        }
    }
    let is_below = |path: &str| prefixes.iter().any(|[file, folder]| path == file || path.starts_with(folder));
    sources.iter_mut().filter(|source| is_below(&source.path)).for_each(Source::mark_all_as_test);
}

/// The text with comments, strings and characters replaced by blanks.
pub fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        match end {
            Some(end) => out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' })),
            None => out.push(chars[at]),
        }
        at = end.unwrap_or(at + 1);
    }
    out
}

/// Where the comment, string or character that begins here ends.
fn token_end(chars: &[char], at: usize) -> Option<usize> {
    let ahead = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let is_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if ahead(1) == '/' => Some(find(chars, at, |rest| rest[0] == '\n')),
        '/' if ahead(1) == '*' => Some(comment_end(chars, at)),
        '"' => Some(string_end(chars, at + 1)),
        '\'' if ahead(1) == '\\' => Some(find(chars, at + 3, |rest| rest[0] == '\'') + 1),
        '\'' if ahead(2) == '\'' => Some(at + 3),
        // r"..." and r#"..."#, br and cr too; r#name is a name.
        'r' if !is_name || matches!(chars[at - 1], 'b' | 'c') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = at + 1 + hashes + 1;
            (ahead(1 + hashes) == '"').then(|| find(chars, body, |rest| rest.starts_with(&close)) + close.len())
        }
        _ => None,
    }
    .map(|end| end.min(chars.len()))
}

fn find(chars: &[char], from: usize, matches: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| matches(&chars[*at..])).unwrap_or(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The lines of each item under `#[cfg(test)]`, in blanked code.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let starts = code.match_indices(MARK).map(|(at, _)| at);
    starts.map(|at| line_of(code, at)..line_of(code, item_end(code, at + MARK.len())) + 1).collect()
}

/// The line, from 0, of a byte.
pub fn line_of(code: &str, at: usize) -> usize {
    code[..at.min(code.len())].matches('\n').count()
}

/// Where the item that begins here ends: at its `;`, or at the end of its body.
pub fn item_end(code: &str, from: usize) -> usize {
    body(code, from).map_or_else(|semicolon| semicolon, |body| body.end - 1)
}

/// The body in braces of the item that begins here; Err with the place of its `;` when it has none.
pub fn body(code: &str, from: usize) -> Result<Range<usize>, usize> {
    let mut open = 0;
    let mut start = None;
    for (at, c) in code.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            ';' if open == 0 => return Err(at),
            '{' if open == 0 => {
                start = Some(at);
                open = 1;
            }
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open -= 1,
            _ => {}
        }
        if let Some(start) = start.filter(|_| open == 0) {
            return Ok(start..at + 1);
        }
    }
    Err(code.len() - usize::from(!code.is_empty()))
}
