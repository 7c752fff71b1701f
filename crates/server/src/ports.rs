//! The two listening sockets, bound before anything else so that a port in use costs nothing.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use lodestone_types::{Error, Result};

use crate::config::Config;

/// Bound, not yet answering.
pub struct Ports {
    /// REST.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

impl Ports {
    /// Binds both or says in one sentence why not.
    pub async fn bind(config: &Config) -> Result<Self> {
        Ok(Self {
            http: bind(&config.host, config.http_port, "--http-port").await?,
            grpc: bind(&config.host, config.grpc_port, "--grpc-port").await?,
        })
    }

    /// Where REST and gRPC are.
    pub fn addresses(&self) -> Result<(SocketAddr, SocketAddr)> {
        let address = |listener: &TcpListener| {
            listener.local_addr().map_err(|e| Error::internal(format!("a socket has no address: {e}")))
        };
        Ok((address(&self.http)?, address(&self.grpc)?))
    }
}

async fn bind(host: &str, port: u16, flag: &str) -> Result<TcpListener> {
    // Tokio resolves names, tries each address, and lets a port be taken again right after a stop.
    let bound = tokio::net::TcpListener::bind((host, port)).await.and_then(tokio::net::TcpListener::into_std);
    bound.map_err(|e| {
        Error::bad_request(match e.kind() {
            ErrorKind::AddrInUse => {
                format!("port {port} on {host} is in use by another process; stop it, or choose another with {flag}")
            }
            ErrorKind::PermissionDenied => {
                format!("port {port} on {host} needs rights this user lacks; choose one above 1023 with {flag}")
            }
            ErrorKind::AddrNotAvailable => {
                format!("this machine has no address {host}; choose another with --host")
            }
            _ => format!("cannot listen on {host}, port {port}: {e}"),
        })
    })
}

/// An address to be dialled on this machine: one that stands for all of them is loopback from here.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_one_clear_sentence() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let config = Config { http_port: port, grpc_port: 0, ..Config::default() };
        let message = Ports::bind(&config).await.err().unwrap().to_string();
        assert!(message.contains(&format!("port {port} on 127.0.0.1 is in use")), "{message}");
        assert!(message.contains("--http-port") && !message.contains('\n'), "{message}");
    }

    #[tokio::test]
    async fn what_cannot_be_listened_on_is_named() {
        let config = Config { host: "203.0.113.1".into(), http_port: 0, grpc_port: 0, ..Config::default() };
        let message = Ports::bind(&config).await.err().unwrap().to_string();
        assert!(message.contains("203.0.113.1"), "{message}");
        let config = Config { host: "no such host".into(), ..config };
        assert!(Ports::bind(&config).await.is_err());
    }

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        for (bound, dialled) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3")]
        {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), dialled);
        }
    }
}
