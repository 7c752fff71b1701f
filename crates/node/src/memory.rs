//! How much memory there is: what the machine has, or what the container may use.

use std::path::Path;

/// What is assumed where nobody says.
const UNKNOWN: u64 = 2 << 30;

/// Half of what this process may use at most: the rest is for everything that is not counted.
pub(crate) fn default_budget() -> u64 {
    usable(Path::new("/")).unwrap_or(UNKNOWN) / 2
}

/// The least of the machine's memory and the limits of the control groups that this process is in. `None` where there is
/// no `/proc` under `root`.
fn usable(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    let machine = total(&read("proc/meminfo")?)?;
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let files = groups.lines().filter_map(group).flat_map(|(tree, path, file)| {
        // A group is bound by those around it too. Inside a container the path may be that of the host, where only the
        // outermost file exists.
        Path::new(path)
            .ancestors()
            .map(move |group| format!("{tree}{}/{file}", group.display()))
            .collect::<Vec<_>>()
    });
    let limits = files.filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    Some(limits.fold(machine, u64::min))
}

/// `MemTotal` in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where the limit of a line of `/proc/self/cgroup` is: the tree, the path in it, the name of the file.
fn group(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    if controllers.is_empty() {
        return Some(("sys/fs/cgroup", path, "memory.max"));
    }
    let memory = controllers.split(',').any(|name| name == "memory");
    memory.then_some(("sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        usable(dir.path())
    }

    const MACHINE: (&str, &str) =
        ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       1000 kB\nSwapTotal: 9 kB\n");

    #[test]
    fn the_least_limit_counts() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("proc/meminfo", "MemTotal: many")]), None);
        assert_eq!(with(&[MACHINE]), Some(1_024_000));
        let own = ("proc/self/cgroup", "0::/a/b\n");
        let none = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        let around = ("sys/fs/cgroup/a/memory.max", "500000\n");
        let outermost = ("sys/fs/cgroup/memory.max", "400000\n");
        let more = ("sys/fs/cgroup/memory.max", "9000000\n");
        assert_eq!(with(&[MACHINE, own]), Some(1_024_000));
        assert_eq!(with(&[MACHINE, own, none, around]), Some(500_000));
        assert_eq!(with(&[MACHINE, own, none, around, outermost]), Some(400_000));
        assert_eq!(with(&[MACHINE, own, more]), Some(1_024_000));
        let old = ("proc/self/cgroup", "7:cpu,memory:/docker/x\n3:pids:/y\nnonsense\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
        assert_eq!(with(&[MACHINE, old, limit]), Some(300_000));
    }

    #[test]
    fn here_there_is_some() {
        assert!(default_budget() >= 16 << 20);
    }
}
