use std::fs;
use std::io;
use std::path::Path;

use crate::key::{STAGING, is_key_prefix};
use crate::port::{ObjectInfo, unix_ms};

/// Up to `limit` objects below `root`, as the port's list wants them. Only directories that can hold one of
/// them are read, and only files that are returned are asked for their size.
pub(super) fn page(
    root: &Path,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<Vec<ObjectInfo>> {
    let top = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
    let mut walk = Walk { root, prefix, start_after, limit, page: Vec::new() };
    // What no key starts with could lead out of the root.
    if is_key_prefix(prefix) && limit > 0 {
        walk.visit(top)?;
    }
    Ok(walk.page)
}

struct Walk<'a> {
    root: &'a Path,
    prefix: &'a str,
    start_after: Option<&'a str>,
    limit: usize,
    page: Vec<ObjectInfo>,
}

impl Walk<'_> {
    /// Visits the directory `base`, which is empty or ends with a slash, in the order of full keys.
    fn visit(&mut self, base: &str) -> io::Result<()> {
        for name in self.names(base)? {
            if self.page.len() == self.limit {
                return Ok(());
            }
            let full = format!("{base}{name}");
            if full.ends_with('/') { self.visit(&full)? } else { self.take(full)? }
        }
        Ok(())
    }

    /// Names in `base` that may matter; directories end with a slash, which also sorts them among their
    /// neighbours as the keys below them sort.
    fn names(&self, base: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(base)) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is not UTF-8 was not written by us.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            if base.is_empty() && name == STAGING {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                name.push('/');
            } else if !kind.is_file() {
                continue;
            }
            if self.may_hold(base, &name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn may_hold(&self, base: &str, name: &str) -> bool {
        let full = format!("{base}{name}");
        let is_directory = name.ends_with('/');
        let matches = full.starts_with(self.prefix) || (is_directory && self.prefix.starts_with(&full));
        let later = self
            .start_after
            .is_none_or(|after| full.as_str() > after || (is_directory && after.starts_with(&full)));
        matches && later
    }

    fn take(&mut self, key: String) -> io::Result<()> {
        let metadata = match fs::metadata(self.root.join(&key)) {
            Ok(metadata) => metadata,
            // Deleted since its directory was read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        self.page.push(ObjectInfo {
            size: metadata.len(),
            last_modified: unix_ms(metadata.modified()?),
            key,
        });
        Ok(())
    }
}
