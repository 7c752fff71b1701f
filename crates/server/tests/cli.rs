//! What the binary says and how it ends where no server is needed.

use std::process::{Command, Output};

fn lodestone(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lodestone"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LODESTONE_"))
    {
        command.env_remove(name);
    }
    let output = command.args(arguments).envs(environment.iter().copied()).output();
    output.expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn version_and_help_are_answered() {
    let version = lodestone(&["version"], &[]);
    assert!(version.status.success());
    assert_eq!(text(&version.stdout), format!("lodestone {}\n", env!("CARGO_PKG_VERSION")));
    let help = lodestone(&["serve", "--help"], &[("LODESTONE_API_KEY", "hunter2")]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for flag in [
        "--http-port",
        "--grpc-port",
        "--host",
        "--api-key",
        "--read-only-api-key",
        "--store",
        "--s3-endpoint",
        "--s3-region",
        "--local",
        "--take-over",
        "--config",
        "--log-format",
        "--log-level",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(!help.contains("hunter2"));
}

/// Under another name, or with another allocator, the settings would be ignored in silence.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_allocator_has_our_settings() {
    let version = lodestone(&["version"], &[("MALLOC_CONF", "stats_print:true")]);
    let said = text(&version.stderr);
    assert!(said.contains("opt.background_thread: true"), "{said}");
    assert!(said.contains("opt.dirty_decay_ms: 250"), "{said}");
}

#[test]
fn a_mistake_is_one_sentence_and_status_one_or_two() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("lodestone.toml");
    std::fs::write(&config, "host = \"127.0.0.1\"\nhtpp_port = 6333\n").expect("written");
    let config = config.to_str().expect("a path");
    let cases: [(&[&str], &str); 5] = [
        (&["serve", "--config", config], "line 2"),
        (&["serve", "--config", "no/such/file"], "no/such/file"),
        (&["serve", "--store", "ftp://x"], "not supported yet"),
        (&["serve", "--http-port", "7000", "--grpc-port", "7000"], "7000"),
        (&["doctor", "--log-level", "a=b=c"], "log.level"),
    ];
    for (arguments, part) in cases {
        let output = lodestone(arguments, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(part) && error.trim().lines().count() == 1, "{arguments:?}: {error}");
    }
    for arguments in [&["serve", "--http-port", "65536"][..], &["serf"], &[]] {
        assert_eq!(lodestone(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_doctor_looks_and_makes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let absent = dir.path().join("absent");
    let output = lodestone(&["doctor", "--store", absent.to_str().expect("a path")], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("\u{2717} store") && !absent.exists());

    let store = dir.path().join("store");
    std::fs::create_dir(&store).expect("made");
    let output = lodestone(&["doctor"], &[("LODESTONE_STORE", store.to_str().expect("a path"))]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in ["\u{2713} reachable", "\u{2713} create-only", "\u{2713} consistency", "\u{2713} clock"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn the_doctor_sees_a_store_that_is_not_there() {
    let keys = [("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    let output = lodestone(&["doctor", "--store", "s3://b/p", "--s3-endpoint", "http://127.0.0.1:1"], &keys);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\u{2717} reachable") && !said.contains("hunter2"), "{said}");
}
