//! Stands in front of an S3 service and makes it as far away as a bucket is: every request waits before it is passed on, and is
//! counted. `relay --to 127.0.0.1:9000 --delay 63` prints its own address; each line on its input is answered with the
//! counts since the last one, as JSON.
//!
//! Bytes of answers are passed on as they come. With `--spread` the delays vary as those of S3 do: a tenth takes a quarter
//! longer than the given median, a hundredth nearly twice as long.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BUFFER: usize = 256 << 10;

#[derive(Default)]
struct Counts {
    gets: AtomicU64,
    others: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn take(&self) -> String {
        let [gets, others, connections, bytes] =
            [&self.gets, &self.others, &self.connections, &self.bytes].map(|count| count.swap(0, Relaxed));
        format!(r#"{{"gets":{gets},"others":{others},"connections":{connections},"bytes":{bytes}}}"#)
    }
}

#[derive(Clone, Copy)]
struct Delay {
    median: f64,
    spread: bool,
}

impl Delay {
    /// Of one request. `draw` is evenly spread below 1000.
    fn of(self, draw: u64) -> Duration {
        let factor = match draw {
            _ if !self.spread => 1.0,
            // From the least to the median, to the 90th and to the 99th of a hundred, in straight lines.
            0..500 => 0.75 + 0.25 * draw as f64 / 500.0,
            500..900 => 1.0 + 0.24 * (draw - 500) as f64 / 400.0,
            _ => 1.24 + 0.63 * (draw.min(990) - 900) as f64 / 90.0,
        };
        Duration::from_secs_f64(self.median * factor / 1000.0)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut to, mut delay) = (String::new(), Delay { median: 63.0, spread: false });
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--spread" => delay.spread = true,
            "--to" => to = arguments.next().ok_or("--to lacks its value")?,
            "--delay" => delay.median = arguments.next().ok_or("--delay lacks its value")?.parse()?,
            _ => return Err(format!("no argument is called {name}").into()),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let counts = Arc::new(Counts::default());
    let told = counts.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            if writeln!(out, "{}", told.take()).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    loop {
        let (client, _) = listener.accept().await?;
        let (to, counts) = (to.clone(), counts.clone());
        tokio::spawn(async move {
            counts.connections.fetch_add(1, Relaxed);
            // A connection that breaks is the client's to see.
            let _ = serve(client, &to, delay, &counts).await;
        });
    }
}

async fn serve(client: TcpStream, to: &str, delay: Delay, counts: &Arc<Counts>) -> Result<(), Failure> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let back = tokio::spawn(pass_back(from_server, to_client, counts.clone()));
    let done = pass_requests(from_client, to_server, delay, counts).await;
    back.abort();
    done
}

async fn pass_back(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: Arc<Counts>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        counts.bytes.fetch_add(read as u64, Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}

/// Reads one request after another; clients wait for an answer before they send the next one.
async fn pass_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Delay,
    counts: &Counts,
) -> Result<(), Failure> {
    let mut state = counts.connections.load(Relaxed);
    let (mut held, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let head = loop {
            if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            held.extend_from_slice(&buffer[..read]);
        };
        let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let body: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
        let counter = if text.starts_with("get ") { &counts.gets } else { &counts.others };
        counter.fetch_add(1, Relaxed);
        // Knuth's linear congruential generator (TAOCP 2, 3.3.4); its upper bits are random enough for this.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(delay.of((state >> 33) % 1000)).await;
        while held.len() < head + body {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            held.extend_from_slice(&buffer[..read]);
        }
        to.write_all(&held[..head + body]).await?;
        held.drain(..head + body);
    }
}
