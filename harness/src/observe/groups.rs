//! The control groups that this process is confined to, and what they allow it: either version.
//!
//! In: `/proc/self/cgroup` and the files of the controllers. Out: the folders of the groups around this
//! process, and the CPU that they allow. What they leave of memory is in `memory`.

use super::read;

/// CPU that the control groups of this process allow, and what they withheld so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// CPU time that they allow in a second, in ms: 1,500 are one core and a half. The tightest counts.
    pub ms_per_s: u64,
    /// How long the kernel has kept threads of these groups from running for it, in ns over all cores;
    /// cumulative.
    pub throttled_ns: u64,
}

impl CpuQuota {
    /// Reads it; `None` where no group has a quota.
    pub fn read() -> Option<Self> {
        Self::of(&read("/proc/self/cgroup")?, read)
    }

    /// `cpu.max` is 'max 100000' or '150000 100000' in version 2; version 1 has two files, and -1 for
    /// none. `cpu.stat` counts in µs in version 2 and in ns in version 1.
    fn of(groups: &str, files: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let mut found: Option<Self> = None;
        for group in around(groups, "cpu") {
            let folder = &group.folder;
            let number = |name: &str| files(&format!("{folder}/{name}"))?.trim().parse().ok();
            let limit: Option<(u64, u64)> = match group.version {
                Version::Two => files(&format!("{folder}/cpu.max")).and_then(|text| {
                    let (quota, period) = text.trim().split_once(' ')?;
                    Some((quota.parse().ok()?, period.parse().ok()?))
                }),
                Version::One => number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us")),
            };
            let Some((quota, period)) = limit.filter(|&(_, period)| period > 0) else {
                continue;
            };
            let stat = files(&format!("{folder}/cpu.stat")).unwrap_or_default();
            let (key, ns) = match group.version {
                Version::Two => ("throttled_usec ", 1_000),
                Version::One => ("throttled_time ", 1),
            };
            let throttled = stat.lines().find_map(|line| line.strip_prefix(key));
            let throttled: u64 = throttled.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
            let one = Self {
                ms_per_s: (u128::from(quota) * 1_000 / u128::from(period)) as u64,
                throttled_ns: throttled.saturating_mul(ns),
            };
            let all = found.get_or_insert(one);
            all.ms_per_s = all.ms_per_s.min(one.ms_per_s);
            all.throttled_ns = all.throttled_ns.max(one.throttled_ns);
        }
        found
    }
}

/// Which interface a control group has (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// One group around this process.
pub(super) struct Group {
    pub(super) version: Version,
    pub(super) folder: String,
}

/// The groups of a `/proc/self/cgroup` that a controller confines, from the innermost out. A container
/// may see its own group at the root, whatever the path says.
pub(super) fn around(groups: &str, controller: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (version, root) = match controllers {
            "" => (Version::Two, "/sys/fs/cgroup".to_owned()),
            c if c.split(',').any(|c| c == controller) => {
                (Version::One, format!("/sys/fs/cgroup/{controller}"))
            }
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            let folder = format!("{root}{path}");
            found.push(Group { version, folder });
            match path.rfind('/') {
                Some(end) => path = &path[..end],
                None => break,
            }
        }
    }
    found
}

/// The lowest `pids.max` of the groups around this process.
pub fn pids_max() -> Option<u64> {
    let groups = around(&read("/proc/self/cgroup")?, "pids");
    let most = |group: &Group| {
        let text = read(&format!("{}/pids.max", group.folder))?;
        text.trim().parse().ok()
    };
    groups.iter().filter_map(most).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(groups: &str, known: &[(&str, &str)]) -> Option<(u64, u64)> {
        let files = |path: &str| {
            let found = known.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        CpuQuota::of(groups, files).map(|quota| (quota.ms_per_s, quota.throttled_ns))
    }

    #[test]
    fn the_tightest_quota_around_the_process_counts_in_either_version() {
        let two = [
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            (
                "/sys/fs/cgroup/a/cpu.stat",
                "usage_usec 7\nnr_throttled 2\nthrottled_usec 250\n",
            ),
        ];
        assert_eq!(quota("0::/a/b\n", &two), Some((1_500, 250_000)));
        assert_eq!(quota("0::/\n", &two), None);
        let one = [
            ("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu/x/cpu.stat", "throttled_time 99\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(
            quota("5:cpu,cpuacct:/x\n4:memory:/y\n", &one),
            Some((500, 99))
        );
        assert_eq!(quota("4:memory:/x\n", &one), None);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_not_a_quota() {
        for text in ["", "max", "1", "1 0", "-5 100000", "1 2 3"] {
            let known = [("/sys/fs/cgroup/cpu.max", text)];
            assert_eq!(quota("0::/\n", &known), None, "{text}");
        }
    }
}
