//! How far an import has come, in a small file beside the source, so that the same command goes on there.
//!
//! It is replaced as a whole and says only what is acknowledged without a gap. Whatever ends the process, at worst some points are written
//! a second time, which changes nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lodestone_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::parquet::Columns;
use super::source::{Mark, Stamp};

/// How often it is written while points come in.
const PAUSE: Duration = Duration::from_millis(200);

/// What is imported, from where, to where. Another answer to any of it is another import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The server or store.
    pub target: String,
    /// The collection.
    pub collection: String,
    /// The file as it was when it was begun.
    pub source: Stamp,
    /// The same of the payloads' file.
    pub payload: Option<Stamp>,
    /// The vector that rows are.
    pub vector: String,
    /// The id of row 0.
    pub first_id: u64,
    /// Which columns of Parquet are what.
    #[serde(default)]
    pub columns: Columns,
}

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// What it is about.
    pub job: Job,
    /// Everything before this is acknowledged.
    pub mark: Mark,
    /// Of the points before it.
    pub checksum: Digest,
}

/// The state and where it is kept.
pub struct Keeper {
    path: PathBuf,
    /// As it is now; the file may be a moment behind.
    pub state: State,
    saved: Option<Instant>,
}

impl Keeper {
    /// Where the state of an import of `source` is kept unless told otherwise.
    pub fn beside(source: &Path, collection: &str) -> PathBuf {
        let mut name = source.as_os_str().to_owned();
        name.push(format!(".{collection}.import.json"));
        name.into()
    }

    /// Reads what is there, if it is about `job`; `restart` begins anew.
    pub fn open(path: PathBuf, job: Job, restart: bool) -> Result<Self> {
        let fresh = State { job, mark: Mark::default(), checksum: Digest::default() };
        let shown = path.display();
        let known = match fs::read(&path) {
            Ok(text) if !restart => Some(serde_json::from_slice::<State>(&text).map_err(|e| {
                Error::bad_request(format!(
                    "{shown} does not say how far an import came ({e}); --restart begins anew"
                ))
            })?),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::bad_request(format!("{shown}: {error}"))),
        };
        let state = match known {
            Some(known) if known.job != fresh.job => {
                return Err(Error::bad_request(format!(
                    "{shown} is of another import, or the file has changed since; --restart begins anew"
                )));
            }
            Some(known) => known,
            None => fresh,
        };
        Ok(Self { path, state, saved: None })
    }

    /// Everything before `mark` is acknowledged now.
    pub fn advance(&mut self, mark: Mark, checksum: Digest) -> Result<()> {
        self.state.mark = mark;
        self.state.checksum += checksum;
        match self.saved {
            Some(at) if at.elapsed() < PAUSE => Ok(()),
            _ => self.save(),
        }
    }

    /// Brings the file up to date.
    pub fn save(&mut self) -> Result<()> {
        let mut partial = self.path.as_os_str().to_owned();
        partial.push(".partial");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&partial)?;
            file.write_all(&serde_json::to_vec(&self.state)?)?;
            file.sync_data()?;
            fs::rename(&partial, &self.path)
        };
        write().map_err(|e| {
            Error::bad_request(format!("{}: {e}; --state names a file elsewhere", self.path.display()))
        })?;
        self.saved = Some(Instant::now());
        Ok(())
    }

    /// It is done: nothing is left to go on with.
    pub fn forget(self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::bad_request(format!("{}: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(size: u64) -> Job {
        Job {
            target: "http://a".into(),
            collection: "c".into(),
            source: Stamp { size, modified_ms: 7 },
            payload: None,
            vector: String::new(),
            first_id: 0,
            columns: Columns::default(),
        }
    }

    #[test]
    fn goes_on_where_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = Keeper::beside(&dir.path().join("a.npy"), "c");
        let mark = Mark { points: 5, lines: 0, bytes: 40, payload_bytes: 3 };
        let mut keeper = Keeper::open(path.clone(), job(1), false).unwrap();
        keeper.advance(mark, Digest::default()).unwrap();
        assert_eq!(Keeper::open(path.clone(), job(1), false).unwrap().state.mark, mark);
        let other = Keeper::open(path.clone(), job(2), false).err().unwrap();
        assert!(other.message.contains("--restart"), "{other}");
        assert_eq!(Keeper::open(path.clone(), job(2), true).unwrap().state.mark, Mark::default());
        keeper.forget().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(&path, "{\"job\":").unwrap();
        assert!(Keeper::open(path.clone(), job(1), false).is_err());
        assert!(Keeper::open(path, job(1), true).is_ok());
    }
}
