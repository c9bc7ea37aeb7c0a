//! What the machine has: files that may be open, and memory.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is open besides connections: standard streams, the log, timers, signals, connections that are just being
/// refused.
const FILES_BESIDES: u64 = 128;

/// Lets the process open as many files as it may, and says how many connections that is enough for, and of how many files;
/// `None` if there is no limit.
pub(crate) fn connections_possible(listeners: usize) -> Option<(usize, u64)> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let (before, maximum) = (limit.current, limit.maximum);
        limit.current = maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit.current = before;
        }
    }
    let files = limit.current?;
    let besides = FILES_BESIDES.saturating_add(u64::try_from(listeners).unwrap_or(u64::MAX));
    Some((usize::try_from(files.saturating_sub(besides)).unwrap_or(usize::MAX), files))
}

/// How much memory the process may use, in bytes: what the machine has, or less if its control group says so. `None` if
/// nobody says.
pub(crate) fn memory_bytes() -> Option<usize> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let machine = total(&read(Path::new("/proc/meminfo")));
    let groups = Path::new("/sys/fs/cgroup");
    // Version 2: every group above counts, too. Version 1: the container's own is all that can be seen.
    let own = groups.join(group(&read(Path::new("/proc/self/cgroup"))));
    let above = own.ancestors().take_while(|path| path.starts_with(groups));
    let limits = above.map(|path| path.join("memory.max"));
    let limits = limits.chain([groups.join("memory/memory.limit_in_bytes")]);
    limits.filter_map(|path| read(&path).trim().parse().ok()).chain(machine).min()
}

/// The total in `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The control group of version 2 in `/proc/self/cgroup`, relative to the root of all.
fn group(cgroup: &str) -> &str {
    cgroup.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_understood() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree:  1 kB\n"), Some(16 << 20));
        for strange in ["", "MemTotal:", "MemTotal: x kB", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(total(strange), None, "{strange:?}");
        }
        assert_eq!(group("12:memory:/old\n0::/system.slice/chat.service\n"), "system.slice/chat.service");
        assert_eq!(group("0::/\n"), "");
        assert_eq!(group(""), "");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
