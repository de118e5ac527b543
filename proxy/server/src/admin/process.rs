//! What the system knows of this process.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Numbers that are not known are left out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) max_descriptors: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let directory = fs::read_dir("/proc/self/fd").ok();
        Self {
            // That of the listing is among them.
            open_descriptors: directory.map(|open| (open.count() as u64).saturating_sub(1)),
            max_descriptors: getrlimit(Resource::Nofile).current,
            ..stat.as_deref().map(Self::read).unwrap_or_default()
        }
    }

    /// From the text of `stat` (proc(5)). The name of the program, in parentheses, may contain anything.
    fn read(stat: &str) -> Self {
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Counted from 1, the state after the name is field 3.
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        #[expect(clippy::cast_precision_loss, reason = "ticks of a processor's time")]
        let cpu = number(14)
            .zip(number(15))
            .map(|(user, system)| (user + system) as f64 / clock_ticks_per_second() as f64);
        Self {
            cpu_seconds: cpu,
            threads: number(20),
            virtual_bytes: number(23),
            resident_bytes: number(24).map(|pages| pages * page_size() as u64),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        let process = Process::now();
        assert!(process.resident_bytes > Some(1 << 20), "{process:?}");
        assert!(process.virtual_bytes > process.resident_bytes && process.threads >= Some(1), "{process:?}");
        assert!(process.open_descriptors >= Some(3) && process.cpu_seconds >= Some(0.0), "{process:?}");
    }

    #[test]
    fn a_strange_name_misleads_nobody() {
        let stat = "1 (a) S b) R 0 0 0 0 0 0 0 0 0 0 300 100 0 0 20 0 7 0 5 8192 2 0";
        let process = Process::read(stat);
        assert_eq!((process.threads, process.virtual_bytes), (Some(7), Some(8192)));
        assert_eq!(process.resident_bytes, Some(2 * page_size() as u64));
        assert_eq!(Process::read("nothing"), Process::default());
    }
}
