//! What REST says between binding its port and being able to answer: alive, not ready, come back.
//!
//! Recovering a large store takes a moment, and a supervisor that asks meanwhile must not take the silence for a
//! dead process. A second process that asks who holds the store learns that it is not us yet.

use std::net::TcpListener;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lodestone_types::{Error, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The answers, until [`Starting::end`].
pub struct Starting {
    end: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Starting {
    /// Answers on a second handle of `listener`, which the caller keeps for later.
    pub fn serve(listener: &TcpListener) -> Result<Self> {
        let second = listener.try_clone().and_then(tokio::net::TcpListener::from_std);
        let second =
            second.map_err(|e| Error::internal(format!("the listening socket cannot be shared: {e}")))?;
        let (end, ended) = oneshot::channel();
        let serve = axum::serve(second, router()).with_graceful_shutdown(async {
            // A dropped sender means the end as well.
            let _ = ended.await;
        });
        Ok(Self { end, task: tokio::spawn(serve.into_future()) })
    }

    /// Stops taking connections and waits for the answers under way.
    pub async fn end(self) {
        // Nobody listens only if the task has ended by itself, which is what is wanted.
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

fn router() -> Router {
    let alive = get(|| async { "alive, still starting" });
    Router::new().route("/livez", alive.clone()).route("/healthz", alive).fallback(not_yet)
}

async fn not_yet() -> impl IntoResponse {
    const BODY: &str =
        r#"{"status":{"error":"Service is starting; try again in a moment"},"time":0.0,"result":null}"#;
    let headers = [(header::RETRY_AFTER, "1"), (header::CONTENT_TYPE, "application/json")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, BODY)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_is_alive_and_not_ready_and_leaves_the_socket_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let starting = Starting::serve(&listener).unwrap();
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Service is starting"), "{answer}");
        starting.end().await;
        let later = tokio::net::TcpListener::from_std(listener).unwrap();
        let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), later.accept());
        assert!(client.is_ok() && accepted.is_ok());
    }
}
