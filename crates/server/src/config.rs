//! Settings from four places, the first of which wins: flags, environment, config file, defaults.
//!
//! Each place becomes a TOML table with the same keys, the tables are laid over each other, and the result is
//! read once. Each table is also read alone, so that an error names the place where the mistake was made.

use std::path::{Path, PathBuf};

use lodestone_node::{
    CacheOptions, CompactOptions, GcOptions, NodeOptions, QueryOptions, Roles, S3Options, StoreLocation,
    WalOptions,
};
use lodestone_types::{Error, Prices, Result};
use serde::Deserialize;
use toml::{Table, Value};

use crate::cli::{CommonArgs, LogFormat, ServeArgs, TargetArgs};
use crate::secret::Secret;

/// All settings. The fields are the keys of the config file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub host: String,
    /// Port of REST.
    pub http_port: u16,
    /// Port of gRPC.
    pub grpc_port: u16,
    /// Key that every request must carry.
    pub api_key: Option<Secret>,
    /// Key that may only read.
    pub read_only_api_key: Option<Secret>,
    /// `host` or `host:port` where other processes reach our REST.
    pub advertise: Option<String>,
    /// What the process does.
    pub roles: Roles,
    /// The bucket.
    pub store: StoreLocation,
    /// Where what is disposable goes.
    pub local: Option<PathBuf>,
    /// Start even if another process holds the store.
    pub take_over: bool,
    /// How logs are written.
    pub log: LogConfig,
    /// How to reach S3.
    pub s3: S3Options,
    /// How writes are gathered.
    pub wal: WalOptions,
    /// How reads are answered.
    pub query: QueryOptions,
    /// When segments are written and merged.
    pub compact: CompactOptions,
    /// When garbage is removed.
    pub gc: GcOptions,
    /// What is kept near.
    pub cache: CacheOptions,
    /// What the bucket charges.
    pub price: Prices,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// A level, or directives such as `info,lodestone_meta=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            http_port: 6333,
            grpc_port: 6334,
            api_key: None,
            read_only_api_key: None,
            advertise: None,
            roles: Roles::default(),
            store: StoreLocation::Directory("./lodestone-data".into()),
            local: None,
            take_over: false,
            log: LogConfig::default(),
            s3: S3Options::default(),
            wal: WalOptions::default(),
            query: QueryOptions::default(),
            compact: CompactOptions::default(),
            gc: GcOptions::default(),
            cache: CacheOptions::default(),
            price: Prices::default(),
        }
    }
}

/// How the text of an environment variable becomes a value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Decimal,
    Bool,
}

/// Every setting by its path in the config file. `wal.lease` is `LODESTONE_WAL_LEASE` in the environment.
const SETTINGS: &[(&str, Kind)] = &[
    ("host", Kind::Text),
    ("http_port", Kind::Number),
    ("grpc_port", Kind::Number),
    ("api_key", Kind::Text),
    ("read_only_api_key", Kind::Text),
    ("advertise", Kind::Text),
    ("roles", Kind::Text),
    ("store", Kind::Text),
    ("local", Kind::Text),
    ("take_over", Kind::Bool),
    ("log.format", Kind::Text),
    ("log.level", Kind::Text),
    ("s3.endpoint", Kind::Text),
    ("s3.region", Kind::Text),
    ("wal.window", Kind::Text),
    ("wal.lease", Kind::Text),
    ("wal.patience", Kind::Text),
    ("wal.tail_limit", Kind::Text),
    ("query.staleness", Kind::Text),
    ("compact.fold_rows", Kind::Number),
    ("compact.fold_bytes", Kind::Text),
    ("compact.idle", Kind::Text),
    ("compact.merge_fan_in", Kind::Number),
    ("compact.index_rows", Kind::Number),
    ("gc.grace", Kind::Text),
    ("cache.memory", Kind::Text),
    ("cache.disk", Kind::Text),
    ("cache.hydrate", Kind::Bool),
    ("price.million_reads", Kind::Decimal),
    ("price.million_writes", Kind::Decimal),
    ("price.gib_read", Kind::Decimal),
];

/// Names the config file itself, so it is no setting of the file.
const CONFIG_VARIABLE: &str = "LODESTONE_CONFIG";

fn variable(key: &str) -> String {
    format!("LODESTONE_{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// The settings, and the variables that look like ours and are none.
#[derive(Debug)]
pub struct Loaded {
    /// What was asked for.
    pub config: Config,
    /// `LODESTONE_...` variables that mean nothing; to be warned about once there is a log.
    pub unknown_variables: Vec<String>,
}

/// Lays `flags` over `environment` over the config file over `base`, keys of which are as in the file.
pub fn load(
    flags: Table,
    config_file: Option<&Path>,
    environment: &[(String, String)],
    base: Table,
) -> Result<Loaded> {
    let named = environment.iter().find(|(name, text)| name == CONFIG_VARIABLE && !text.is_empty());
    let file = config_file.or(named.map(|(_, path)| Path::new(path)));
    let (env, unknown_variables) = from_environment(environment)?;
    let mut all = base;
    if let Some(path) = file {
        merge(&mut all, from_file(path)?);
    }
    merge(&mut all, env);
    merge(&mut all, flags);
    let config: Config = all.try_into().map_err(|e: toml::de::Error| Error::bad_request(plain(&e)))?;
    config.check()?;
    Ok(Loaded { config, unknown_variables })
}

fn from_file(path: &Path) -> Result<Table> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::bad_request(format!("cannot read the config file {shown}: {e}")))?;
    // Reading it alone gives errors with line and column; what it says is laid under the rest as a table.
    let wrong =
        |e: toml::de::Error| Error::bad_request(format!("config file {shown}: {}", plain_at(&e, &text)));
    toml::from_str::<Config>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

/// One line: where it is and what is wrong, without quoting the line, which may hold a key.
fn plain_at(error: &toml::de::Error, text: &str) -> String {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", plain(error)),
        None => plain(error),
    }
}

fn plain(error: &toml::de::Error) -> String {
    error.message().replace('\n', ", ")
}

fn from_environment(environment: &[(String, String)]) -> Result<(Table, Vec<String>)> {
    let (mut table, mut unknown) = (Table::new(), Vec::new());
    for (name, text) in environment {
        if text.is_empty() || !name.starts_with("LODESTONE_") || name == CONFIG_VARIABLE {
            continue;
        }
        let Some((key, kind)) = SETTINGS.iter().find(|(key, _)| variable(key) == *name) else {
            unknown.push(name.clone());
            continue;
        };
        let value = match kind {
            Kind::Text => Some(Value::String(text.clone())),
            Kind::Number => text.trim().parse().ok().map(Value::Integer),
            Kind::Decimal => text.trim().parse().ok().map(Value::Float),
            Kind::Bool => match text.trim() {
                "1" | "true" => Some(Value::Boolean(true)),
                "0" | "false" => Some(Value::Boolean(false)),
                _ => None,
            },
        };
        let wanted = match kind {
            Kind::Number => "a whole number",
            Kind::Decimal => "a number",
            Kind::Text | Kind::Bool => "true or false",
        };
        let value = value.ok_or_else(|| Error::bad_request(format!("{name} must be {wanted}")))?;
        let mut alone = Table::new();
        put(&mut alone, key, value);
        let read: Result<Config, _> = alone.clone().try_into();
        read.map_err(|e: toml::de::Error| Error::bad_request(format!("{name}: {}", plain(&e))))?;
        merge(&mut table, alone);
    }
    Ok((table, unknown))
}

/// Sets `a.b` in the table `a`.
fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Lays `over` on `under`; tables are joined, all else replaced.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// A table of the settings that are there.
pub fn table<const N: usize>(settings: [(&str, Option<Value>); N]) -> Table {
    let mut table = Table::new();
    for (key, value) in settings {
        if let Some(value) = value {
            put(&mut table, key, value);
        }
    }
    table
}

impl CommonArgs {
    /// What these flags say, by the keys of the config file.
    pub fn settings(&self) -> Table {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let format = self.log_format.map(|f| match f {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        table([
            ("store", text(&self.store)),
            ("s3.endpoint", text(&self.s3_endpoint)),
            ("s3.region", text(&self.s3_region)),
            ("log.level", text(&self.log_level)),
            ("log.format", format.map(Value::from)),
        ])
    }
}

impl TargetArgs {
    /// What these flags say, by the keys of the config file.
    pub fn settings(&self) -> Table {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        table([
            ("store", text(&self.store)),
            ("s3.endpoint", text(&self.s3_endpoint)),
            ("s3.region", text(&self.s3_region)),
            ("local", self.local.as_ref().map(|p| Value::String(p.to_string_lossy().into_owned()))),
        ])
    }
}

impl ServeArgs {
    /// What these flags say, by the keys of the config file.
    pub fn settings(&self) -> Table {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let mut all = self.common.settings();
        let own = table([
            ("host", text(&self.host)),
            ("http_port", self.http_port.map(|p| Value::Integer(p.into()))),
            ("grpc_port", self.grpc_port.map(|p| Value::Integer(p.into()))),
            ("api_key", text(&self.api_key)),
            ("read_only_api_key", text(&self.read_only_api_key)),
            ("advertise", text(&self.advertise)),
            ("roles", text(&self.roles)),
            ("local", self.local.as_ref().map(|p| Value::String(p.to_string_lossy().into_owned()))),
            ("cache.memory", text(&self.memory)),
            ("take_over", self.take_over.then_some(Value::Boolean(true))),
        ]);
        merge(&mut all, own);
        all
    }
}

impl Config {
    /// What no single setting shows.
    fn check(&self) -> Result<()> {
        let keys = [("api_key", &self.api_key), ("read_only_api_key", &self.read_only_api_key)];
        if let Some((name, _)) =
            keys.iter().find(|(_, key)| key.as_ref().is_some_and(|k| k.reveal().is_empty()))
        {
            return Err(Error::bad_request(format!("{name} is empty; leave it out or give a key")));
        }
        if self.api_key.is_some() && self.api_key == self.read_only_api_key {
            return Err(Error::bad_request(
                "api_key and read_only_api_key are the same; give two different keys",
            ));
        }
        if self.api_key.is_none() && self.read_only_api_key.is_some() {
            return Err(Error::bad_request(
                "read_only_api_key alone would lock every writer out; give an api_key beside it",
            ));
        }
        if self.http_port == self.grpc_port && self.http_port != 0 {
            return Err(Error::bad_request(format!(
                "http_port and grpc_port are both {}; give two different ports",
                self.http_port
            )));
        }
        if self.compact.merge_fan_in < 2 {
            return Err(Error::bad_request("compact.merge_fan_in must be at least 2"));
        }
        let Prices { million_reads, million_writes, gib_read } = self.price;
        if [million_reads, million_writes, gib_read].iter().any(|price| !price.is_finite() || *price < 0.0) {
            return Err(Error::bad_request("prices must be finite numbers of at least 0"));
        }
        Ok(())
    }

    /// What the node needs. `address` is where others reach our REST, see [`crate::ports::advertised`]; `cache_root` the
    /// user's cache directory.
    pub fn node_options(&self, address: String, cache_root: &Path) -> NodeOptions {
        let local = self.local.clone().unwrap_or_else(|| {
            let mut local =
                self.store.default_local(self.s3.endpoint.as_deref(), cache_root).into_os_string();
            if self.roles == Roles::Query {
                // It most often runs beside one with all roles, and a cache belongs to one process.
                local.push(".query");
            }
            local.into()
        });
        NodeOptions {
            roles: self.roles,
            address,
            take_over: self.take_over,
            s3: self.s3.clone(),
            wal: self.wal.clone(),
            query: self.query.clone(),
            compact: self.compact.clone(),
            gc: self.gc.clone(),
            cache: self.cache.clone(),
            price: self.price,
            ..NodeOptions::new(self.store.clone(), local)
        }
    }
}

/// Where programs of this user keep what can be made again: `$XDG_CACHE_HOME/lodestone`, `~/.cache/lodestone`,
/// or, for a user without a home, a directory for temporary files.
pub fn cache_root(environment: &[(String, String)]) -> PathBuf {
    let get = |name: &str| {
        environment.iter().find(|(n, text)| n == name && Path::new(text).is_absolute()).map(|(_, text)| text)
    };
    match (get("XDG_CACHE_HOME"), get("HOME")) {
        (Some(cache), _) => Path::new(cache).join("lodestone"),
        (None, Some(home)) => Path::new(home).join(".cache/lodestone"),
        (None, None) => std::env::temp_dir().join("lodestone"),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
