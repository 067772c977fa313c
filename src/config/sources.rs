//! Where layers come from: files, the environment, and what the caller gives.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{Error, Layer, Origin, Settings};

/// A configuration file is not larger than this.
const FILE_BYTES: u64 = 1 << 20;
/// The variable that may hold the wallet's password.
pub const PASSWORD_VARIABLE: &str = "OPENBUCKET_WALLET_PASSWORD";
/// Variables with our prefix that are no keys.
const OTHER_VARIABLES: [&str; 3] = ["OPENBUCKET_LOG", "OPENBUCKET_FAILPOINT", PASSWORD_VARIABLE];
const PREFIX: &str = "OPENBUCKET_";
const SYSTEM_FILE: &str = "/etc/openbucket/config.toml";

/// Everything a configuration is made of, so that a test can give its own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files that may be absent, the lowest first.
    pub files: Vec<PathBuf>,
    /// A file that must be there.
    pub named_file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// What the command line sets.
    pub flags: Layer,
    /// The user's home.
    pub home: Option<PathBuf>,
}

/// Where the user's own file is, if the user has a home.
pub fn user_config_path() -> Option<PathBuf> {
    match std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        Some(directory) => Some(PathBuf::from(directory).join("openbucket/config.toml")),
        None => std::env::home_dir().map(|home| home.join(".config/openbucket/config.toml")),
    }
}

impl Sources {
    /// Those of this machine, user and process.
    pub fn of_this_process(named_file: Option<PathBuf>, flags: Layer) -> Self {
        let files = std::iter::once(PathBuf::from(SYSTEM_FILE)).chain(user_config_path()).collect();
        let text = |value: OsString| value.to_string_lossy().into_owned();
        // No copy of a password is left behind.
        let is_other = |(name, _): &(OsString, OsString)| OTHER_VARIABLES.iter().any(|other| name == other);
        let variables = std::env::vars_os().filter(|variable| !is_other(variable));
        let variables = variables.map(|(name, value)| (text(name), text(value))).collect();
        Self { files, named_file, variables, flags, home: std::env::home_dir() }
    }

    /// Reads and merges all layers.
    pub fn load(self) -> Result<Settings, Error> {
        let mut layers = Vec::new();
        for path in &self.files {
            match read(path) {
                Ok(text) => layers.push((parse_file(path, &text)?, Origin::File(path.clone()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Read { path: path.clone(), source }),
            }
        }
        if let Some(path) = self.named_file {
            let text = read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
            layers.push((parse_file(&path, &text)?, Origin::File(path)));
        }
        for (name, value) in self.variables {
            if let Some(layer) = parse_variable(&name, value)? {
                layers.push((layer, Origin::Environment(name)));
            }
        }
        layers.push((self.flags, Origin::Flags));
        Settings::merge(self.home, layers)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(text)
}

fn parse_file(path: &Path, text: &str) -> Result<Layer, Error> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::Syntax { path: path.to_path_buf(), line, why: error.message().to_owned() }
    })?;
    let origin = Origin::File(path.to_path_buf());
    let mut layer = Layer::default();
    set_table(&mut layer, "", &table, &origin)?;
    Ok(layer)
}

fn set_table(layer: &mut Layer, prefix: &str, table: &toml::Table, origin: &Origin) -> Result<(), Error> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) if prefix.is_empty() && (is_table(&key) || !inner.is_empty()) => {
                set_table(layer, &key, inner, origin)?;
            }
            toml::Value::Array(values) => {
                let texts: Option<Vec<String>> = values.iter().map(scalar).collect();
                layer.set(&key, &texts.ok_or_else(|| not_plain(&key, origin))?, origin)?;
            }
            value => layer.set(&key, &[scalar(value).ok_or_else(|| not_plain(&key, origin))?], origin)?,
        }
    }
    Ok(())
}

fn is_table(name: &str) -> bool {
    Layer::KEYS.iter().any(|key| key.split_once('.').is_some_and(|(table, _)| table == name))
}

fn not_plain(key: &str, origin: &Origin) -> Error {
    Error::Value { origin: origin.clone(), key: key.to_owned(), why: "write text, a number or true/false".into() }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// `OPENBUCKET_CACHE_SIZE` is `cache-size`, `OPENBUCKET_CONSUMER_DIR` is `consumer.dir`.
fn parse_variable(name: &str, value: String) -> Result<Option<Layer>, Error> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    if OTHER_VARIABLES.contains(&name) {
        return Ok(None);
    }
    let origin = Origin::Environment(name.to_owned());
    let known = |key: &&&str| key.replace(['-', '.'], "_").eq_ignore_ascii_case(rest);
    let Some(key) = Layer::KEYS.iter().find(known) else {
        return Err(Error::UnknownKey { origin, key: rest.to_lowercase(), close: None });
    };
    let mut layer = Layer::default();
    layer.set(key, &[value], &origin)?;
    Ok(Some(layer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ByteSize, Scheme};

    fn sources() -> Sources {
        Sources { home: Some("/home/a".into()), ..Sources::default() }
    }

    #[test]
    fn each_layer_lies_over_the_one_before() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let system = file("system", "bucket = 'system'\ncache-size = '1 GB'\ntier = '8+4'\ngroup = 'g'");
        let user = file("user", "bucket = 'user'\ncache-size = 2000\ntier = 'free'");
        let named = file("named", "bucket = 'named'\ncache-size = '3 GB'\n[consumer]\nlimit = '7 GB'");
        let given = Sources {
            files: vec![system.clone(), user.clone(), directory.path().join("absent")],
            named_file: Some(named.clone()),
            variables: vec![("OPENBUCKET_BUCKET".into(), "environment".into()), ("HOME".into(), "/x".into())],
            flags: Layer { bucket: Some("flags".into()), ..Layer::default() },
            ..sources()
        };
        let settings = given.load().expect("all is well");
        assert_eq!(settings.bucket, "flags");
        assert_eq!(settings.origin("bucket"), &Origin::Flags);
        assert_eq!(settings.cache_size, ByteSize(3_000_000_000));
        assert_eq!(settings.origin("cache-size"), &Origin::File(named));
        assert_eq!((settings.tier, settings.origin("tier")), (Scheme::FREE, &Origin::File(user)));
        assert_eq!(settings.origin("group"), &Origin::File(system));
        assert_eq!(settings.consumer_limit, Some(ByteSize(7_000_000_000)));
        assert_eq!(settings.origin("listen"), &Origin::BuiltIn);
    }

    #[test]
    fn variables_are_keys_and_unknown_ones_are_named() {
        let with =
            |name: &str, value: &str| Sources { variables: vec![(name.into(), value.into())], ..sources() }.load();
        let settings = with("OPENBUCKET_CONSUMER_LIMIT", "5 GB").expect("a key");
        assert_eq!(settings.consumer_limit, Some(ByteSize(5_000_000_000)));
        assert!(with("OPENBUCKET_LOG", "debug").is_ok());
        assert!(with(PASSWORD_VARIABLE, "secret").is_ok());
        let wallet = with("OPENBUCKET_WALLET", "/w").expect("a key").wallet;
        assert_eq!(wallet.as_deref(), Some(Path::new("/w")));
        assert_eq!(settings.wallet.as_deref(), Some(Path::new("/home/a/.local/share/openbucket/wallet")));
        let error = with("OPENBUCKET_CASH_SIZE", "1").unwrap_err().to_string();
        assert!(error.contains("OPENBUCKET_CASH_SIZE"), "{error}");
        let error = with("OPENBUCKET_CACHE_SIZE", "many").unwrap_err().to_string();
        assert!(error.contains("OPENBUCKET_CACHE_SIZE") && error.contains("'many' is not a size"), "{error}");
    }

    #[test]
    fn an_empty_table_is_no_error() {
        assert!(parse_file(Path::new("config.toml"), "[consumer]\n[tracker]\n").is_ok());
        assert!(parse_file(Path::new("config.toml"), "[consumers]\n").is_err());
    }

    #[test]
    fn bad_files_are_refused_by_name_key_and_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config.toml");
        let cases = [
            ("bucket = 'a'\ntier = ", "line 2"),
            ("tier = '5-2'", "tier: '5-2' is not a scheme"),
            ("[consumer]\nlimits = '1 GB'", "unknown key 'consumer.limits' (did you mean 'consumer.limit'?)"),
            ("[bucket]\nname = 'x'", "unknown key 'bucket.name'"),
            ("tier = 1.5", "tier: write text"),
            ("trackers = ['nowhere']", "'nowhere' is not an address"),
            ("bucket = ['a', 'b']", "one value is wanted"),
        ];
        for (text, words) in cases {
            fs::write(&path, text).expect("written");
            let error = Sources { named_file: Some(path.clone()), ..sources() }.load().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("config.toml"), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let absent = Sources { named_file: Some(directory.path().join("absent")), ..sources() };
        assert!(absent.load().unwrap_err().to_string().contains("cannot read"));
    }
}
