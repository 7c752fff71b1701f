//! Stands in front of an S3 service and makes it as far away as a bucket is: every request waits before it is passed on, and is
//! counted. `relay --to 127.0.0.1:9000 --delay 63` prints its own address; each line on its input is answered with the
//! counts since the last one, as JSON.
//!
//! Bytes of answers, their heads included, are passed on as they come. With `--spread` the delays vary about the given median as
//! reads of S3 do: one in a hundred takes a quarter longer, one in a thousand nearly twice as long. With `--total` the delay is until an
//! answer begins: requests are passed on at once and answers held back, so that what the service itself takes is part of it.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lodestone_store::Latency;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

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
    /// Until the answer, instead of before the request.
    total: bool,
}

impl Delay {
    /// Of one request: the median, or as far about it as those of S3 are.
    fn of(self, rng: &mut StdRng) -> Duration {
        let median = Duration::from_secs_f64(self.median / 1000.0);
        if !self.spread {
            return median;
        }
        let of_s3 = Latency::s3().get;
        median.mul_f64(of_s3.sample(rng).as_secs_f64() / of_s3.p50.as_secs_f64())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut to, mut delay) = (String::new(), Delay { median: 63.0, spread: false, total: false });
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--spread" => delay.spread = true,
            "--total" => delay.total = true,
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
    let (answer_at, due) = watch::channel(Instant::now());
    let back = tokio::spawn(pass_back(from_server, to_client, counts.clone(), due));
    let done = pass_requests(from_client, to_server, delay, counts, answer_at).await;
    back.abort();
    done
}

/// Passes on what the service answers, none of it before it is `due`.
async fn pass_back(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: Arc<Counts>,
    due: watch::Receiver<Instant>,
) -> std::io::Result<()> {
    let (mut held, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let at = *due.borrow();
        tokio::select! {
            // What has come must not fill the pipe, or the service would wait.
            read = from.read(&mut buffer) => match read? {
                0 => {
                    let at = *due.borrow();
                    sleep_until(at).await;
                    to.write_all(&held).await?;
                    return to.shutdown().await;
                }
                read => {
                    counts.bytes.fetch_add(read as u64, Relaxed);
                    held.extend_from_slice(&buffer[..read]);
                }
            },
            () = sleep_until(at), if !held.is_empty() => {}
        }
        let is_due = Instant::now() >= *due.borrow();
        if is_due {
            to.write_all(&held).await?;
            held.clear();
        }
    }
}

/// Reads one request after another; clients wait for an answer before they send the next one.
async fn pass_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Delay,
    counts: &Counts,
    answer_at: watch::Sender<Instant>,
) -> Result<(), Failure> {
    let mut rng = StdRng::seed_from_u64(counts.connections.load(Relaxed));
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
        let line = text.lines().next().unwrap_or_default();
        let is_get = line.starts_with("get ") && !line.contains("list-type=");
        let counter = if is_get { &counts.gets } else { &counts.others };
        counter.fetch_add(1, Relaxed);
        let due = Instant::now() + delay.of(&mut rng);
        match delay.total {
            true => _ = answer_at.send(due),
            false => sleep_until(due).await,
        }
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
