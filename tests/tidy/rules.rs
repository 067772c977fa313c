//! The rules themselves: each looks at one file and names what breaks it.

use crate::source::{Source, body, line_of};

/// A rule that a line breaks.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub rule: &'static str,
    pub what: String,
}

pub const FILE_LINES: usize = 500;
pub const FUNCTION_LINES: usize = 70;

/// The packages with one door: who may name them.
const DOORS: &[(&str, &[&str])] = &[
    ("sha2", &["base"]),
    ("tape_sha256", &["base"]),
    ("reed_solomon_erasure", &["coding"]),
    ("zstd", &["coding"]),
    ("ring", &["coding", "keys", "runtime"]),
    ("ring::aead", &["coding"]),
    ("ring::signature", &["keys"]),
    ("bip39", &["keys"]),
    ("k256", &["keys"]),
    ("sha3", &["keys"]),
    ("aes", &["keys"]),
    ("ctr", &["keys"]),
    ("scrypt", &["keys"]),
    ("sled", &["store"]),
    ("ethers", &["chain"]),
    ("reqwest", &["chain"]),
    ("rustls", &["chain", "net"]),
    ("futures_rustls", &["net"]),
    ("rustls_platform_verifier", &["chain"]),
    ("libp2p", &["net"]),
    ("libp2p_stream", &["net"]),
    ("tonic", &["rpc", "daemon"]),
    ("tonic_prost", &["rpc", "daemon"]),
    ("prost", &["rpc", "daemon"]),
    ("lru", &["bucket", "net"]),
    ("fuser", &["mount"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
];

/// What is written nowhere, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "do it, or leave it out"),
    ("unimplemented!", "do it, or leave it out"),
    ("dbg!", "trace it, or leave it out"),
    ("#[ignore", "a test that does not run proves nothing"),
    ("unbounded_channel", "every channel has a bound"),
    ("mpsc::unbounded", "every channel has a bound"),
];

/// The layers of `src/lib.rs`, lowest first.
pub struct Layers(Vec<Vec<String>>);

impl Layers {
    pub fn read(lib: &Source) -> Self {
        let mut groups = vec![Vec::new()];
        for line in &lib.code {
            let module = line.trim().trim_start_matches("pub ").strip_prefix("mod ");
            match module.and_then(|rest| rest.strip_suffix(';')) {
                Some(name) => groups.last_mut().expect("never empty").push(name.to_string()),
                None => groups.push(Vec::new()),
            }
        }
        groups.retain(|group| !group.is_empty());
        Self(groups)
    }

    fn level(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|group| group.iter().any(|name| name == module))
    }
}

/// A module imports only from groups above its own line.
pub fn layers(source: &Source, layers: &Layers) -> Vec<Violation> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(level) = layers.level(module) else {
        return vec![source.breaks("layers", 0, format!("'{module}' stands in no group of src/lib.rs"))];
    };
    let code = source.code.join("\n");
    let mut found = Vec::new();
    for (line, name) in children(&code, "crate") {
        let is_below = layers.level(&name).is_some_and(|other| other < level);
        if name != module && !is_below {
            found.push(source.breaks("layers", line, format!("'{module}' may not import '{name}'")));
        }
    }
    for (line, text) in source.code.iter().enumerate() {
        let depth = source.depth() + usize::from(source.is_test(line));
        if text.contains(&vec!["super::"; depth].concat()) {
            found.push(source.breaks("layers", line, "reaches the crate through super: write crate::".into()));
        }
    }
    found
}

/// Each package is named only in the folder that is its door.
pub fn doors(source: &Source) -> Vec<Violation> {
    if source.path.starts_with("tests/") {
        return Vec::new();
    }
    let code = source.code.join("\n");
    let mut found = Vec::new();
    for (package, rooms) in DOORS {
        if source.module().is_some_and(|module| rooms.contains(&module)) {
            continue;
        }
        let uses = match package.split_once("::") {
            Some((root, part)) => children(&code, root).into_iter().filter(|(_, name)| name == part).collect(),
            None => children(&code, package),
        };
        let say = format!("'{package}' only in {}", rooms.join(", "));
        found.extend(uses.into_iter().map(|(line, _)| source.breaks("doors", line, say.clone())));
    }
    found
}

/// The first line says what the file is for.
pub fn first_line(source: &Source) -> Vec<Violation> {
    let first = source.raw.first().map_or("", String::as_str);
    let is_story = first.strip_prefix("//! ").is_some_and(|story| story.len() >= 10);
    if is_story { Vec::new() } else { vec![source.breaks("first line", 0, "is no `//! ` that tells a story".into())] }
}

/// Files are short; tests do not count.
pub fn file_length(source: &Source) -> Vec<Violation> {
    let is_all_test = source.path.starts_with("tests/");
    let lines = (0..source.code.len()).filter(|line| is_all_test || !source.is_test(*line)).count();
    let what = format!("{lines} lines, {FILE_LINES} are enough");
    if lines > FILE_LINES { vec![source.breaks("file length", 0, what)] } else { Vec::new() }
}

/// Functions are short; comments and blank lines do not count.
pub fn function_length(source: &Source) -> Vec<Violation> {
    let code = source.code.join("\n");
    let mut found = Vec::new();
    for (at, name) in words(&code, "fn").filter_map(|at| Some((at, name_at(&code, at + 3)?))) {
        let Ok(body) = body(&code, at) else { continue };
        let lines = code[at..body.end].lines().filter(|line| !line.trim().is_empty()).count();
        if lines > FUNCTION_LINES {
            let what = format!("{name} has {lines} lines, {FUNCTION_LINES} are enough");
            found.push(source.breaks("function length", line_of(&code, at), what));
        }
    }
    found
}

/// Nothing unfinished, nothing unbounded, no test that is left out.
pub fn banned(source: &Source) -> Vec<Violation> {
    source.lines_with(|source, line| {
        let hit = BANNED.iter().find(|(word, _)| source.code[line].contains(word));
        hit.map(|(word, instead)| source.breaks("banned", line, format!("{word}: {instead}")))
    })
}

/// No panic on what may happen: `expect` states why it cannot.
pub fn unwrap(source: &Source) -> Vec<Violation> {
    source.lines_with(|source, line| {
        let is_hit = !source.is_test(line) && source.code[line].contains(".unwrap()");
        is_hit.then(|| source.breaks("unwrap", line, "expect() with the invariant, or return the error".into()))
    })
}

/// A test waits for a condition, not for a time.
pub fn sleep(source: &Source) -> Vec<Violation> {
    source.lines_with(|source, line| {
        let code = &source.code[line];
        let is_call = |at: usize| {
            let (before, after) = (&code[..at], &code[at + "sleep".len()..]);
            let is_path = before.ends_with("time::") || before.ends_with("thread::");
            after.starts_with('(') && (is_path || !(before.ends_with("::") || before.ends_with("fn ")))
        };
        let is_hit = source.is_test(line) && words(code, "sleep").any(is_call);
        (is_hit && !source.has_reason(line))
            .then(|| source.breaks("sleep", line, "wait for a condition, or say on the line why not".into()))
    })
}

/// An exception from a lint says why.
pub fn allow(source: &Source) -> Vec<Violation> {
    source.lines_with(|source, line| {
        let is_hit = ["[allow(", "[expect("].iter().any(|word| source.code[line].contains(word));
        (is_hit && !source.has_reason(line)).then(|| source.breaks("allow", line, "say why on the line".into()))
    })
}

/// `mod.rs` tells the story; its submodules stay private behind what it re-exports.
pub fn private_submodules(source: &Source) -> Vec<Violation> {
    source.lines_with(|source, line| {
        let text = source.code[line].trim();
        let is_public = text.starts_with("pub") && text.split_whitespace().nth(1) == Some("mod");
        (is_public && source.path.ends_with("/mod.rs"))
            .then(|| source.breaks("submodules", line, "re-export the few public names instead".into()))
    })
}

/// A script runs as it is.
pub fn script(path: &str, text: &[u8], is_executable: bool) -> Vec<Violation> {
    let breaks = |what: &str| Violation { path: path.into(), line: 0, rule: "scripts", what: what.into() };
    let mut found = Vec::new();
    if !text.starts_with(b"#!") {
        found.push(breaks("does not begin with #!"));
    }
    if !is_executable {
        found.push(breaks("is not executable"));
    }
    found
}

impl Source {
    fn breaks(&self, rule: &'static str, line: usize, what: String) -> Violation {
        let line = if ["first line", "file length"].contains(&rule) { 0 } else { line + 1 };
        Violation { path: self.path.clone(), line, rule, what }
    }

    fn lines_with(&self, rule: impl Fn(&Self, usize) -> Option<Violation>) -> Vec<Violation> {
        (0..self.code.len()).filter_map(|line| rule(self, line)).collect()
    }
}

/// What is named right under `root::`, with its line: `a` and `b` in `use root::{a::c, b}`. Also `use root;`.
fn children(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, root).filter(|at| !code[..*at].ends_with("::") && !code[..*at].ends_with('.')) {
        let rest = &code[at + root.len()..];
        let line = line_of(code, at);
        let Some(path) = rest.strip_prefix("::") else {
            if code[..at].ends_with("use ") {
                found.push((line, root.to_string()));
            }
            continue;
        };
        let start = code.len() - path.len();
        if !path.starts_with('{') {
            found.extend(name_at(code, start).map(|name| (line, name)));
            continue;
        }
        let end = body(code, start).map_or(code.len(), |group| group.end - 1);
        let mut depth = 0;
        let mut is_next = true;
        for (offset, c) in code[start + 1..end].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => is_next = true,
                c if is_next && !c.is_whitespace() => {
                    let here = start + 1 + offset;
                    found.extend(name_at(code, here).map(|name| (line_of(code, here), name)));
                    is_next = false;
                }
                _ => {}
            }
        }
    }
    found.retain(|(_, name)| name != "self");
    found
}

/// The places of a word that is no part of a longer one.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name))
}

fn name_at(code: &str, at: usize) -> Option<String> {
    let rest = code.get(at..)?.trim_start_matches("r#");
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
