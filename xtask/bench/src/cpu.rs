//! Which core does what, and how much CPU time a process has used.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::terminal::Result;

/// One core for the proxy, one for everything else.
pub(super) struct Cores {
    proxy: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(super) fn choose() -> Result<Self> {
        let allowed =
            sched_getaffinity(None).map_err(|error| format!("cannot read the CPU affinity: {error}"))?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).map(|core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        });
        match (cores.next(), cores.next()) {
            (Some(proxy), Some(load)) => Ok(Self { proxy, load }),
            _ => Err("the benchmark needs two cores: one for the proxy, one for the load".to_owned()),
        }
    }

    /// Moves this thread, and those it starts from now on, to the core of the load.
    pub(super) fn take_load_core(&self) -> Result<()> {
        pin(&self.load)
    }

    /// Processes that `start` starts stay on the core of the proxy.
    pub(super) fn on_proxy_core<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(&self.proxy)?;
        let started = start();
        pin(&self.load)?;
        started
    }
}

fn pin(cores: &CpuSet) -> Result<()> {
    sched_setaffinity(None, cores).map_err(|error| format!("cannot set the CPU affinity: {error}"))
}

/// User and system time of all threads of a process so far: to the nanosecond of those that there are, or where the
/// kernel does not tell, to a clock tick (usually 10 ms).
///
/// With it counts what it started and what is still there: Varnish serves from a process of its own.
pub(super) fn used_by(pid: u32) -> Result<Duration> {
    let own = match scheduled(pid) {
        Some(time) if !time.is_zero() => time,
        _ => ticked(pid)?,
    };
    children(pid).into_iter().try_fold(own, |sum, child| Ok(sum + used_by(child)?))
}

fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The first field of each thread's `schedstat` (Documentation/scheduler/sched-stats.rst). Proxies have the same threads
/// from the beginning of a measurement to its end.
fn scheduled(pid: u32) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let times = tasks.filter_map(|task| {
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(times.sum()))
}

fn ticked(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    // proc(5): the name in parentheses may hold anything; `utime` and `stime` are fields 14 and 15.
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut fields = rest.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    });
    let ticks = ticks.ok_or_else(|| format!("{file} is not as proc(5) says"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// As many open files as the system lets this process and those that it starts have: ten thousand connections take more
/// than the usual thousand. Returns how many that are.
pub(super) fn allow_descriptors() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .map_err(|error| format!("cannot allow more open files: {error}"))?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
