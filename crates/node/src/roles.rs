//! What a process does for a store, as a user names it.

use std::fmt;
use std::str::FromStr;

use lodestone_types::{Error, Result};
use serde::Deserialize;

/// The jobs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Roles {
    /// `meta`, `ingest`, `query` and `compact`: it claims the store, and is the only one that writes to it.
    #[default]
    All,
    /// `query`: it answers reads, writes nothing, and needs no other process. Any number may run beside one with all
    /// roles.
    Query,
}

const ALL: [&str; 4] = ["compact", "ingest", "meta", "query"];

impl FromStr for Roles {
    type Err = Error;

    /// Reads `query`, `all`, or all four in any order, with commas between.
    fn from_str(text: &str) -> Result<Self> {
        let mut named: Vec<&str> = text.split(',').map(str::trim).collect();
        named.sort_unstable();
        named.dedup();
        match named[..] {
            ["all"] => Ok(Self::All),
            ["query"] => Ok(Self::Query),
            _ if named == ALL => Ok(Self::All),
            _ => Err(Error::bad_request(format!(
                "roles `{text}`: write `all` for a process that reads and writes, or `query` for one that only reads; other \
                 combinations cannot run alone"
            ))),
        }
    }
}

impl TryFrom<String> for Roles {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Query => "query",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_run_is_read_and_what_cannot_is_refused() {
        assert_eq!("query".parse::<Roles>().unwrap(), Roles::Query);
        for all in ["all", "meta,ingest,query,compact", "query, compact, meta, ingest"] {
            assert_eq!(all.parse::<Roles>().unwrap(), Roles::All, "{all}");
        }
        for wrong in ["", "ingest", "query,compact", "all,query", "reader"] {
            assert!(wrong.parse::<Roles>().is_err(), "{wrong}");
        }
    }
}
