//! The life of a server process: ready, answering, stopped by a signal, and started again on what it left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server on ports of its own. Killed if a test fails before it has stopped.
struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    rest: SocketAddr,
}

fn command(verb: &str, store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lodestone"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LODESTONE_"))
    {
        command.env_remove(name);
    }
    command
        .args([verb, "--log-format", "json", "--http-port", "0", "--grpc-port", "0", "--store"])
        .arg(store);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let ready = wait_for(&mut log, "ready");
        let rest = ready["rest"].as_str().and_then(|url| url.strip_prefix("http://")).expect("an address");
        let rest = rest.parse().expect("an address");
        Self { child, log, rest }
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.rest).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; the rest of the log.
    fn ends_with(mut self, code: i32) -> String {
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("UTF-8");
        assert_eq!(self.child.wait().expect("ends").code(), Some(code), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(log: &mut impl BufRead, message: &str) -> Value {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).expect("UTF-8"), 0, "ended without `{message}`:\n{seen}");
        seen += &line;
        let event: Value = serde_json::from_str(&line).expect("one JSON object a line");
        if event["message"] == message {
            return event;
        }
    }
}

#[test]
fn it_answers_stops_on_a_signal_and_starts_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&mut command("serve", &store));
        assert!(server.get("/readyz", "").starts_with("HTTP/1.1 200"));
        assert!(server.get("/collections", "").contains("\"collections\""));
        server.signal(signal);
        let log = server.ends_with(0);
        assert!(log.contains("\"stopped\""), "{log}");
    }
    assert!(dir.path().join("store.local").exists() || store.exists());
}

/// Whether a file below `directory` holds `text`.
fn holds(directory: &Path, text: &str) -> bool {
    let files =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut bytes = files.map(|path| std::fs::read(path).expect("a file"));
    bytes.any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[test]
fn the_claim_names_what_is_advertised_and_the_log_says_what_is_assumed() {
    for (advertise, address) in [(Some("node-1"), "node-1"), (None, "127.0.0.1")] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("store");
        let mut serve = command("serve", &store);
        serve.args(["--host", "0.0.0.0"]).args(advertise.iter().flat_map(|host| ["--advertise", host]));
        let mut child = serve.spawn().expect("the binary runs");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("\"ready\"")) {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).expect("UTF-8"), 0, "ended: {lines:?}");
            lines.push(line);
        }
        child.kill().and_then(|()| child.wait()).expect("ends");
        assert!(holds(&store.join("claims"), &format!("{address}:")), "{address}");
        assert_eq!(lines.iter().any(|line| line.contains("--advertise")), advertise.is_none(), "{lines:?}");
    }
}

#[test]
fn an_idle_connection_does_not_delay_the_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&mut command("serve", &dir.path().join("store")));
    let mut idle = TcpStream::connect(server.rest).expect("connects");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    idle.read_exact(&mut [0; 12]).expect("answered");
    let start = Instant::now();
    server.signal("-TERM");
    server.ends_with(0);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// A request whose head is sent and whose body is not.
fn half_a_request(server: &Server) -> (TcpStream, &'static [u8]) {
    let body = br#"{"vectors":{"size":4,"distance":"Dot"}}"#;
    let mut stream = TcpStream::connect(server.rest).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let head = "PUT /collections/late HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n", body.len()).expect("sent");
    // The server asks for the body once the request is in work.
    stream.read_exact(&mut [0; 25]).expect("HTTP/1.1 100 Continue");
    (stream, body)
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(&mut command("serve", &dir.path().join("store")));
    let (mut stream, body) = half_a_request(&server);
    server.signal("-TERM");
    wait_for(&mut server.log, "SIGTERM: stopping");
    stream.write_all(body).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.ends_with(0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(&mut command("serve", &dir.path().join("store")));
    let _open = half_a_request(&server);
    server.signal("-TERM");
    wait_for(&mut server.log, "SIGTERM: stopping");
    server.signal("-TERM");
    server.ends_with(130);
}

#[test]
fn a_key_is_asked_for_and_never_logged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut line = command("serve", &dir.path().join("store"));
    line.env("LODESTONE_API_KEY", "hunter2").env("LODESTONE_LOG_LEVEL", "trace");
    let server = Server::start(&mut line);
    assert!(server.get("/collections", "").starts_with("HTTP/1.1 401"));
    assert!(server.get("/collections", "api-key: hunter2\r\n").starts_with("HTTP/1.1 200"));
    server.signal("-TERM");
    assert!(!server.ends_with(0).contains("hunter2"));
}

#[test]
fn an_open_door_is_warned_about() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child =
        command("serve", &dir.path().join("store")).args(["--host", "0.0.0.0"]).spawn().expect("runs");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut first = String::new();
    log.read_line(&mut first).expect("UTF-8");
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(first.contains("WARN") && first.contains("without a key"), "{first}");
}

#[test]
fn a_port_in_use_ends_it_before_the_store_is_touched() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port().to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let output = Command::new(env!("CARGO_BIN_EXE_lodestone"))
        .args(["serve", "--grpc-port", "0", "--http-port", &port, "--store"])
        .arg(&store)
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("is in use by another process"), "{error}");
    assert!(!store.exists());
}

fn tool(verb: &str, store: &Path, code: i32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lodestone")).args([verb, "--store"]).arg(store).output();
    let output = output.expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The largest object of the log: points of the demo.
fn a_large_object(store: &Path) -> PathBuf {
    let objects = std::fs::read_dir(store.join("wal")).expect("a log").map(|entry| entry.expect("an entry"));
    let largest = objects.max_by_key(|entry| entry.metadata().expect("metadata").len());
    largest.expect("an object").path()
}

/// What `doctor` and `recover` say of the demo's store, whole and then damaged.
fn examine(store: &Path) {
    let said = tool("recover", store, 0);
    assert!(said.contains("`demo`:") && said.contains("everything that is needed is there"), "{said}");
    let said = tool("doctor", store, 0);
    assert!(said.contains("\u{2713} checkpoint") && said.contains("\u{2713} checksums"), "{said}");

    let object = a_large_object(store);
    let mut bytes = std::fs::read(&object).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, &bytes).expect("written");
    let name = object.file_name().expect("a name").to_string_lossy().into_owned();
    let said = tool("doctor", store, 1);
    assert!(said.contains("\u{2717} damaged") && said.contains(&name), "{said}");

    std::fs::remove_file(&object).expect("removed");
    let said = tool("doctor", store, 1);
    assert!(said.contains(&name), "{said}");
}

#[test]
fn the_demo_loads_once_searches_and_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    for what in ["WordNet entries written to", "WordNet entries are in"] {
        let mut line = command("demo", &store);
        line.args(["--log-level", "info"]);
        let mut server = Server::start(&mut line);
        let mut shown = BufReader::new(server.child.stdout.take().expect("piped"));
        let mut text = String::new();
        while !text.contains("what was written is in") {
            assert_ne!(shown.read_line(&mut text).expect("UTF-8"), 0, "{text}");
        }
        assert!(text.contains(what) && text.contains("0.762  Schadenfreude"), "{text}");
        let filtered = text.split("only where topic = noun.animal").nth(1).expect("a filtered search");
        assert!(filtered.contains("alley cat") && !filtered.contains("rain heavily"), "{text}");
        assert!(server.get("/collections/demo", "").contains("\"points_count\":3162"));
        server.signal("-INT");
        server.ends_with(0);
    }
    examine(&store);
}
