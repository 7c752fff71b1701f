use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn error(flags: Table, path: Option<&Path>, pairs: &[(&str, &str)]) -> String {
    load(flags, path, &env(pairs), Table::new()).unwrap_err().to_string()
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file =
        file("http_port = 1\ngrpc_port = 1001\nhost = \"::1\"\n[wal]\nlease = \"3s\"\nwindow = \"7ms\"");
    let args = ServeArgs { http_port: Some(3), ..ServeArgs::default() };
    let pairs =
        [("LODESTONE_HTTP_PORT", "2"), ("LODESTONE_GRPC_PORT", "2002"), ("LODESTONE_WAL_LEASE", "4s")];
    let loaded = load(args.settings(), Some(file.path()), &env(&pairs), Table::new()).unwrap();
    let config = loaded.config;
    assert_eq!((config.http_port, config.grpc_port), (3, 2002));
    assert_eq!(config.host, "::1");
    assert_eq!(config.wal.lease, Duration::from_secs(4));
    assert_eq!(config.wal.window, Some(Duration::from_millis(7)));
    assert_eq!(config.wal.tail_limit, WalOptions::default().tail_limit);
    assert!(loaded.unknown_variables.is_empty());
}

#[test]
fn nothing_said_is_the_default() {
    let config = load(ServeArgs::default().settings(), None, &[], Table::new()).unwrap().config;
    assert_eq!(config, Config::default());
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = file("http_port = 77");
    let path = file.path().to_str().unwrap();
    let loaded = load(Table::new(), None, &env(&[("LODESTONE_CONFIG", path)]), Table::new()).unwrap();
    assert_eq!(loaded.config.http_port, 77);
}

#[test]
fn a_mistake_in_the_file_names_its_line_and_the_choices() {
    let wrong = file("host = \"::1\"\nhtpp_port = 1\n");
    let message = error(Table::new(), Some(wrong.path()), &[]);
    assert!(
        message.contains("line 2") && message.contains("htpp_port") && message.contains("http_port"),
        "{message}"
    );
    let wrong = file("[wal]\nlease = \"soon\"\n");
    let message = error(Table::new(), Some(wrong.path()), &[]);
    assert!(message.contains("line 2") && message.contains("`soon` is not a duration"), "{message}");
    let message = error(Table::new(), Some(Path::new("no/such.toml")), &[]);
    assert!(message.contains("no/such.toml"), "{message}");
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    for (name, text, part) in [
        ("LODESTONE_HTTP_PORT", "many", "whole number"),
        ("LODESTONE_HTTP_PORT", "70000", "70000"),
        ("LODESTONE_TAKE_OVER", "perhaps", "true or false"),
        ("LODESTONE_CACHE_MEMORY", "lots", "not a size"),
        ("LODESTONE_PRICE_GIB_READ", "cheap", "a number"),
        ("LODESTONE_STORE", "gs://bucket", "not supported yet"),
    ] {
        let message = error(Table::new(), None, &[(name, text)]);
        assert!(message.contains(name) && message.contains(part), "{message}");
    }
    let loaded = load(Table::new(), None, &env(&[("LODESTONE_HTPP_PORT", "1")]), Table::new()).unwrap();
    assert_eq!(loaded.unknown_variables, ["LODESTONE_HTPP_PORT"]);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for pairs in [
        &[("LODESTONE_HTTP_PORT", "6334")][..],
        &[("LODESTONE_API_KEY", "same"), ("LODESTONE_READ_ONLY_API_KEY", "same")],
        &[("LODESTONE_READ_ONLY_API_KEY", "alone")],
        &[("LODESTONE_COMPACT_MERGE_FAN_IN", "1")],
        &[("LODESTONE_PRICE_GIB_READ", "-0.01")],
        &[("LODESTONE_PRICE_MILLION_READS", "NaN")],
    ] {
        assert!(load(Table::new(), None, &env(pairs), Table::new()).is_err(), "{pairs:?}");
    }
    let empty = ServeArgs { api_key: Some(String::new()), ..ServeArgs::default() };
    assert!(error(empty.settings(), None, &[]).contains("empty"));
}

#[test]
fn prices_may_be_whole_or_not() {
    let file = file("[price]\nmillion_writes = 6\ngib_read = 0.09");
    let pairs = env(&[("LODESTONE_PRICE_MILLION_READS", "0.5")]);
    let config = load(Table::new(), Some(file.path()), &pairs, Table::new()).unwrap().config;
    assert_eq!(config.price, Prices { million_reads: 0.5, million_writes: 6.0, gib_read: 0.09 });
}

#[test]
fn keys_are_never_shown() {
    let pairs = env(&[("LODESTONE_API_KEY", "hunter2"), ("LODESTONE_READ_ONLY_API_KEY", "12345")]);
    let config = load(Table::new(), None, &pairs, Table::new()).unwrap().config;
    assert_eq!(config.api_key.as_ref().map(Secret::reveal), Some("hunter2"));
    assert_eq!(config.read_only_api_key.as_ref().map(Secret::reveal), Some("12345"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("12345"), "{shown}");
    let wrong = file("api_key = \"hunter2\" \"");
    assert!(!error(Table::new(), Some(wrong.path()), &[]).contains("hunter2"));
    let wrong = file("api_key = 4711");
    let message = error(Table::new(), Some(wrong.path()), &[]);
    assert!(!message.contains("4711"), "{message}");
}

/// The fields that serde knows at `section`, from what it says to an unknown one.
fn fields(section: &str) -> BTreeSet<String> {
    let text = if section.is_empty() { "zzz = 1".to_owned() } else { format!("[{section}]\nzzz = 1") };
    let message = toml::from_str::<Config>(&text).unwrap_err().message().to_owned();
    message.split('`').skip(1).step_by(2).filter(|name| *name != "zzz").map(str::to_owned).collect()
}

#[test]
fn every_field_has_a_variable_and_a_place_in_the_docs() {
    let sections = ["log", "s3", "wal", "query", "compact", "gc", "cache", "price"];
    let mut expected: BTreeSet<String> =
        fields("").into_iter().filter(|f| !sections.contains(&f.as_str())).collect();
    for section in sections {
        expected.extend(fields(section).into_iter().map(|field| format!("{section}.{field}")));
    }
    let known: BTreeSet<String> = SETTINGS.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(known, expected);
    let docs = include_str!("../../../docs/configuration.md");
    for key in &known {
        assert!(
            docs.contains(&format!("`{key}`")) && docs.contains(&format!("`{}`", variable(key))),
            "{key}"
        );
    }
}

#[test]
fn what_is_disposable_goes_beside_the_store_or_into_the_cache() {
    let root = Path::new("/home/u/.cache/lodestone");
    let options = Config::default().node_options("127.0.0.1:6333".to_owned(), root);
    assert_eq!(options.local, Path::new("./lodestone-data.local"));
    assert_eq!(options.address, "127.0.0.1:6333");
    let s3 = Config { store: "s3://b/p".parse().unwrap(), ..Config::default() };
    let options = s3.node_options(String::new(), root);
    assert!(options.local.starts_with(root));
    assert_eq!(cache_root(&env(&[("HOME", "/home/u")])), root);
    assert_eq!(cache_root(&env(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/home/u")])), Path::new("/c/lodestone"));
}

#[test]
fn a_reader_has_a_cache_of_its_own_and_half_a_process_is_refused() {
    let load = |roles: &str| {
        let args = ServeArgs { roles: Some(roles.into()), ..ServeArgs::default() };
        super::load(args.settings(), None, &[], Table::new())
    };
    let local = |config: Config| config.node_options(String::new(), Path::new("/cache")).local;
    let (all, query) = (load("all").unwrap().config, load("query").unwrap().config);
    assert_eq!((all.roles, query.roles), (Roles::All, Roles::Query));
    assert_ne!(local(all), local(query));
    let message = load("ingest").unwrap_err().to_string();
    assert!(message.contains("ingest") && message.contains("query"), "{message}");
}
