//! Memory that may still be taken on this machine, or in the group of processes we are confined to.
//!
//! In: `/proc/meminfo` and the memory controller of cgroups, either version. Out: bytes, `None`
//! where this platform does not tell.

use super::groups::{Version, around};
use super::{field_bytes, read};

/// Bytes that may be taken without swapping: `MemAvailable`, or what the control group of this
/// process leaves, whichever is less.
pub fn available_bytes() -> Option<u64> {
    let meminfo = read("/proc/meminfo")?;
    let available = field_bytes(&meminfo, "MemAvailable")?;
    let total = field_bytes(&meminfo, "MemTotal")?;
    let group = read("/proc/self/cgroup").and_then(|text| group_left(&text, total, read));
    Some(group.map_or(available, |left| left.min(available)))
}

/// Bytes that the control groups of this process leave; `None` where they are no tighter than the
/// machine.
pub fn group_available_bytes() -> Option<u64> {
    let total = field_bytes(&read("/proc/meminfo")?, "MemTotal")?;
    group_left(&read("/proc/self/cgroup")?, total, read)
}

/// What the limits of a control group, and of those around it, leave, where they are tighter than
/// the `total` of the machine. `files` reads a path.
fn group_left(groups: &str, total: u64, files: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |path: String| files(&path)?.trim().parse::<u64>().ok();
    let left = |folder: &str, limit: &str, usage: &str| {
        // 'max' in version 2 is not a number, and so not a limit.
        let limit = number(format!("{folder}/{limit}")).filter(|&limit| limit < total)?;
        let usage = number(format!("{folder}/{usage}"))?;
        // Pages of files are given back when memory is short, so they are not taken.
        let stat = files(&format!("{folder}/memory.stat")).unwrap_or_default();
        let held = usage.saturating_sub(file_bytes(&stat));
        Some(limit.saturating_sub(held))
    };
    let groups = around(groups, "memory");
    let found = groups.iter().filter_map(|group| match group.version {
        Version::Two => left(&group.folder, "memory.max", "memory.current"),
        Version::One => left(
            &group.folder,
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    });
    found.min()
}

/// Bytes of pages of files in a `memory.stat`, those of groups within included.
fn file_bytes(stat: &str) -> u64 {
    let value = |name: &str| -> Option<u64> {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(' ')?.trim().parse().ok()
    };
    let either = |names: [&str; 2]| names.into_iter().find_map(value).unwrap_or(0);
    either(["total_inactive_file", "inactive_file"]) + either(["total_active_file", "active_file"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(known: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |path| {
            let found = known.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned())
        }
    }

    #[test]
    fn the_tightest_group_around_the_process_counts() {
        let known = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "10\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/memory.current", "400\n"),
        ];
        assert_eq!(group_left("0::/a/b\n", 1 << 40, files(&known)), Some(600));
        assert_eq!(group_left("0::/\n", 1 << 40, files(&known)), None);
        assert_eq!(
            group_left("0::/a/b\n", 1_000, files(&known)),
            None,
            "a limit beyond the machine's memory is none"
        );
    }

    #[test]
    fn the_first_version_of_groups_is_read_too() {
        let known = [
            ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "500\n"),
            ("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "700\n"),
            (
                "/sys/fs/cgroup/memory/x/memory.stat",
                "inactive_file 5\ntotal_inactive_file 200\ntotal_active_file 50\n",
            ),
        ];
        let groups = "5:cpu,cpuacct:/x\n4:memory:/x\n";
        assert_eq!(
            group_left(groups, 1 << 40, files(&known)),
            Some(50),
            "pages of files can be given back"
        );
        assert_eq!(group_left(groups, 1 << 40, files(&known[..2])), Some(0));
        assert_eq!(
            group_left("5:cpu,cpuacct:/x\n", 1 << 40, files(&known)),
            None
        );
    }

    #[test]
    fn this_machine_has_memory_to_take() {
        assert!(available_bytes().expect("a Linux with /proc") > 0);
    }
}
