//! Crates depend only on lower levels. The table is the one in `docs/architecture.md`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const LEVELS: &[(u8, &[&str])] = &[
    (0, &["types", "kernels"]),
    (1, &["index", "store", "manifest"]),
    (2, &["wal", "segment"]),
    (3, &["shard", "meta"]),
    (4, &["ingest", "query", "compact"]),
    (5, &["api"]),
    (6, &["node"]),
    (7, &["server"]),
];

fn level(package: &str) -> Option<u8> {
    let name = package.strip_prefix("lodestone-")?;
    LEVELS.iter().find(|(_, names)| names.contains(&name)).map(|(level, _)| *level)
}

fn workspace() -> BTreeMap<String, Value> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages.map(|p| (p["name"].as_str().expect("a name").to_owned(), p.clone())).collect()
}

#[test]
fn crates_depend_only_on_lower_levels() {
    let packages = workspace();
    assert!(packages.contains_key("lodestone-server"), "{:?}", packages.keys());
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let in_crates = package["manifest_path"].as_str().is_some_and(|p| p.contains("/crates/"));
        let Some(own) = level(name) else {
            if in_crates {
                wrong.push(format!("{name} has no level"));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            // Tests may borrow from anywhere: what they need never reaches the product.
            let for_tests = dependency["kind"] == "dev";
            if let Some(other) = level(on).filter(|other| !for_tests && *other >= own) {
                wrong.push(format!("{name} (level {own}) depends on {on} (level {other})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_architecture_page_has_the_same_table() {
    let page = include_str!("../../../docs/architecture.md");
    for (level, names) in LEVELS {
        for name in *names {
            assert!(page.contains(&format!("| {level} | `{name}` |")), "{name} at level {level}");
        }
    }
}
