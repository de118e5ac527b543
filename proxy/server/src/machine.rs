//! What the machine has, or the part of it that this process may use.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Assumed where the kernel does not say.
const UNKNOWN: u64 = 1 << 30;

/// No default is more: one client's tenth of a large machine would be a lot.
const ENOUGH: u64 = 4 << 30;

/// The default of `limits.memory`.
pub(crate) fn memory_for_requests() -> u64 {
    (memory() / 2).min(ENOUGH)
}

/// How many files and sockets this process may have open: as many as it is allowed to allow itself. The lower limit that a
/// process begins with is for programs that use `select`.
pub(crate) fn descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// Bytes of memory: the machine's, or the limit of the cgroup if that is lower.
fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total);
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok().as_deref().and_then(cgroup_limit);
    machine.into_iter().chain(cgroup).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of /proc/meminfo.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The lowest `memory.max` from the process's own cgroup (version 2) up to the root.
fn cgroup_limit(cgroups: &str) -> Option<u64> {
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut limits = Vec::new();
    let mut path = own.trim_end();
    loop {
        // `max` is no number.
        let text = fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max"));
        limits.extend(text.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        match path.rsplit_once('/') {
            Some((above, _)) => path = above,
            None if path.is_empty() => break,
            None => path = "",
        }
    }
    limits.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_descriptors_as_are_allowed() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let lower = maximum.map_or(1 << 20, |maximum| maximum - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum }).expect("a lower limit");
        assert_eq!(descriptors(), maximum.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }

    #[test]
    fn the_total_is_found_among_others() {
        assert_eq!(total("MemFree: 5 kB\nMemTotal:       24689764 kB\n"), Some(24_689_764 << 10));
        assert_eq!(total("MemTotal: many\n"), None);
        assert!(memory() >= 1 << 20);
    }
}
