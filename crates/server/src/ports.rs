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

/// The address that other processes are told: what the user says, else where REST listens.
pub fn advertised(config: &Config, http: SocketAddr) -> Result<String> {
    if let Some(text) = &config.advertise {
        return with_port(text, http.port());
    }
    let address = reachable(http).to_string();
    if http.ip().is_unspecified() {
        tracing::warn!(
            "listening on every address; other processes are told that we answer at {address}, which is right on this \
             machine alone: name it to others with --advertise"
        );
    }
    Ok(address)
}

/// `text` is a host, or a host and a port; a bare IPv6 address has no port.
fn with_port(text: &str, port: u16) -> Result<String> {
    let wrong = || {
        Error::bad_request(format!(
            "advertise `{text}`: write HOST or HOST:PORT, an IPv6 address as [::1]:6333"
        ))
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port).to_string());
    }
    let is_host = |host: &str| {
        let brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        brackets.map_or_else(
            || !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            |ip| ip.parse::<Ipv6Addr>().is_ok(),
        )
    };
    match text.rsplit_once(':') {
        _ if is_host(text) => Ok(format!("{text}:{port}")),
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err(wrong()),
    }
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
    fn what_is_advertised_has_a_port() {
        let said = |text: &str| with_port(text, 6333);
        for (text, address) in [
            ("node-1", "node-1:6333"),
            ("node-1.example:80", "node-1.example:80"),
            ("10.0.0.1", "10.0.0.1:6333"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("fd00::1", "[fd00::1]:6333"),
            ("[fd00::1]", "[fd00::1]:6333"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            assert_eq!(said(text).unwrap(), address);
        }
        for wrong in ["", ":80", "node-1:", "node-1:many", "node-1:0", "http://node-1", "a b", "[node]:80"] {
            assert!(said(wrong).unwrap_err().to_string().contains("HOST:PORT"), "{wrong}");
        }
        let config = Config { advertise: Some("node-1".into()), ..Config::default() };
        let http = "0.0.0.0:77".parse().unwrap();
        assert_eq!(advertised(&config, http).unwrap(), "node-1:77");
        assert_eq!(advertised(&Config::default(), http).unwrap(), "127.0.0.1:77");
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
