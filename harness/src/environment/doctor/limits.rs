//! One function per limit: its value, what it allows, how to raise it, how the program works around it.
//! These are the limits on the number of clients; the others are in `notes`.

use super::machine::Machine;
use super::{LimitFound, MemoryPerClient, State};
use crate::environment::guard::DEFAULT_SHARE;
use crate::environment::layout::{FILL, MAX_SHARDS, per_table};
use crate::load::client::socket::CLIENTS_PER_SOURCE;
use crate::text::figure::count;

/// Addresses of 127.0.0.0/8 that clients connect from.
const SOURCES: u64 = 0x00ff_fff0;

/// Threads of both processes in addition to their shards: main, publisher, control, and some to spare.
const OTHER_THREADS: u64 = 32;

/// Threads for both processes with as many shards as they may have, and as many again.
const ENOUGH_THREADS: u64 = 2 * (2 * MAX_SHARDS as u64 + OTHER_THREADS);

/// Open files of the run and of both processes in addition to their connections.
const OTHER_FILES: u64 = 1_024;

/// Every limit at `clients` clients.
pub(super) fn all(machine: &Machine, memory: &MemoryPerClient, clients: u64) -> Vec<LimitFound> {
    let at = At { machine, clients };
    vec![
        at.descriptors(),
        at.nr_open(),
        at.file_max(),
        at.epoll(),
        at.loopback(),
        at.ports(),
        at.backlog(),
        at.syn_backlog(),
        at.memory(memory),
        at.group_memory(memory),
        at.tcp_memory(),
        at.time_wait(),
        at.conntrack(),
        at.threads(),
        at.group_pids(),
        at.cores(),
        at.quota(),
        at.timers(),
        at.clock(),
        at.congestion(),
        at.steal(),
        at.stamps(),
    ]
}

/// A machine, and the number of clients that it is compared with.
pub(super) struct At<'a> {
    pub(super) machine: &'a Machine,
    pub(super) clients: u64,
}

pub(super) fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), count)
}

pub(super) fn sysctl(key: &str, value: impl std::fmt::Display) -> Option<String> {
    Some(format!("sudo sysctl -w {key}={value}"))
}

impl At<'_> {
    /// The state of a limit that allows this many, on its own and with the program's workaround.
    fn state(&self, alone: Option<u64>, allows: Option<u64>) -> State {
        let below = |most: Option<u64>| most.is_some_and(|most| most < self.clients);
        match (below(alone), below(allows)) {
            (_, true) => State::Binds,
            (true, false) => State::Avoided,
            (false, false) => State::Free,
        }
    }

    fn counted(
        &self,
        limit: &'static str,
        value: String,
        (alone, allows): (Option<u64>, Option<u64>),
        raise: Option<String>,
        instead: impl Into<String>,
    ) -> LimitFound {
        let state = self.state(alone, allows);
        LimitFound {
            limit,
            value,
            alone,
            allows,
            state,
            // The commands set what is needed, which would lower a limit that has room.
            raise: raise.filter(|_| state != State::Free),
            instead: instead.into(),
        }
    }

    /// Descriptors that one table needs for all clients of a side.
    fn table_for_all(&self) -> u64 {
        ((self.clients + 64) as f64 / FILL).ceil() as u64
    }

    fn descriptors(&self) -> LimitFound {
        let (soft, hard) = (self.machine.nofile_soft, self.machine.nofile_hard);
        let alone = hard.map(per_table);
        let shards = MAX_SHARDS as u64;
        let allows = match self.machine.own_tables {
            true => alone.map(|one| one.saturating_mul(shards)),
            false => alone,
        };
        let instead = if self.machine.own_tables {
            let tables = alone.map_or(1, |one| self.clients.div_ceil(one.max(1)));
            format!(
                "raises the soft limit to the hard one, and gives each shard its own descriptor \
                 table if one is not enough: {tables} per side here, of at most {shards}"
            )
        } else {
            "raises the soft limit to the hard one; this system refuses more descriptor tables \
             (unshare(CLONE_FILES)), so one must be enough"
                .to_owned()
        };
        let needed = self.table_for_all();
        let limit = format!("sudo prlimit --pid $$ --nofile={needed}:{needed}");
        // The kernel refuses a limit above fs.nr_open.
        let raise = match self.machine.nr_open {
            Some(most) if most < needed => format!("sudo sysctl -w fs.nr_open={needed} && {limit}"),
            _ => limit,
        };
        self.counted(
            "RLIMIT_NOFILE (ulimit -n)",
            format!("{} soft, {} hard", number(soft), number(hard)),
            (alone, allows),
            Some(raise),
            instead,
        )
    }

    fn nr_open(&self) -> LimitFound {
        let alone = self.machine.nr_open.map(per_table);
        let allows = alone.filter(|_| !self.machine.own_tables);
        self.counted(
            "fs.nr_open",
            number(self.machine.nr_open),
            (alone, allows),
            sysctl("fs.nr_open", self.table_for_all()),
            match self.machine.own_tables {
                true => "does not need more: it gives each shard its own descriptor table",
                false => "cannot work around it: it has only one descriptor table per side here",
            },
        )
    }

    fn file_max(&self) -> LimitFound {
        let left = self.machine.file_max.map(|most| {
            let open = self.machine.files_open.unwrap_or(0);
            most.saturating_sub(open + OTHER_FILES) / 2
        });
        self.counted(
            "fs.file-max",
            format!(
                "{}, {} open",
                number(self.machine.file_max),
                number(self.machine.files_open)
            ),
            (left, left),
            sysctl(
                "fs.file-max",
                2 * self.clients + self.machine.files_open.unwrap_or(0) + OTHER_FILES,
            ),
            "cannot work around it: both ends of each connection are open files of this machine",
        )
    }

    fn epoll(&self) -> LimitFound {
        let allows = self.machine.epoll_watches.map(|watches| watches / 2);
        self.counted(
            "fs.epoll.max_user_watches",
            number(self.machine.epoll_watches),
            (allows, allows),
            sysctl("fs.epoll.max_user_watches", 2 * self.clients + OTHER_FILES),
            "cannot work around it: it watches both ends of a connection as the same user",
        )
    }

    fn loopback(&self) -> LimitFound {
        let [v4, v6] = [&self.machine.loopback_fails, &self.machine.ipv6_fails];
        let works = |fails: &Option<String>| match fails {
            None => "works".to_owned(),
            Some(reason) => reason.clone(),
        };
        let allows = v4.as_ref().map(|_| 0);
        self.counted(
            "loopback",
            format!("127.0.0.1: {}, ::1: {}", works(v4), works(v6)),
            (allows, allows),
            Some("sudo ip link set lo up".to_owned()),
            match (v4, v6) {
                (Some(_), _) => {
                    "cannot work around it: server, clients and the run meet on 127.0.0.1; if the \
                     address is missing, 'ip address add 127.0.0.1/8 dev lo' adds it"
                }
                (None, Some(_)) => "refuses '--source-addresses' of IPv6",
                (None, None) => "listens on ::1 if '--source-addresses' has addresses of IPv6",
            },
        )
    }

    fn ports(&self) -> LimitFound {
        let range = self.machine.ports;
        let alone = range.map(|(first, last)| u64::from(last.saturating_sub(first)) + 1);
        let per_source = u64::from(CLIENTS_PER_SOURCE);
        // A client whose address has no port left does not try another.
        let allows = alone.map(|ports| match ports >= per_source {
            // Clients are numbered with 32 bits.
            true => (per_source * SOURCES).min(u32::MAX.into()),
            false => ports,
        });
        let value = range.map_or_else(
            || "unknown".to_owned(),
            |(first, last)| format!("{first} to {last}"),
        );
        let sources = self.clients.div_ceil(per_source);
        self.counted(
            "net.ipv4.ip_local_port_range",
            value,
            (alone, allows),
            sysctl("net.ipv4.ip_local_port_range", "'1024 65535'"),
            format!(
                "spreads clients over source addresses from 127.0.0.1 on, {} per address: it needs \
                 {sources} here",
                count(per_source)
            ),
        )
    }

    fn holds(bytes: Option<u64>, memory: &MemoryPerClient) -> Option<u64> {
        let usable = bytes? as f64 * DEFAULT_SHARE;
        Some((usable / memory.bytes().max(1.0)) as u64)
    }

    fn of_memory(
        &self,
        limit: &'static str,
        bytes: Option<u64>,
        raise: Option<String>,
        memory: &MemoryPerClient,
    ) -> LimitFound {
        let allows = Self::holds(bytes, memory);
        let kb = |bytes: f64| format!("{:.2}", bytes / 1e3);
        let value = bytes.map_or_else(
            || "unknown".to_owned(),
            |bytes| format!("{} MiB available", count(bytes >> 20)),
        );
        self.counted(
            limit,
            value,
            (allows, allows),
            raise,
            format!(
                "stops connecting when {:.0}% of that is used; one client takes {} KB (server {}, \
                 clients {}, kernel {} for both ends; {}), less in a leaner profile",
                DEFAULT_SHARE * 100.0,
                kb(memory.bytes()),
                kb(memory.server_bytes),
                kb(memory.harness_bytes),
                kb(memory.kernel_bytes),
                memory.source
            ),
        )
    }

    fn memory(&self, memory: &MemoryPerClient) -> LimitFound {
        self.of_memory("memory", self.machine.available_bytes, None, memory)
    }

    fn group_memory(&self, memory: &MemoryPerClient) -> LimitFound {
        let Some(bytes) = self.machine.group_available_bytes else {
            return Self::noted(
                "memory of the control group",
                "no lower than the machine's".to_owned(),
                false,
                None,
                "needs no workaround",
            );
        };
        let needed = (self.clients as f64 * memory.bytes() / DEFAULT_SHARE).ceil() as u64;
        // For the owner of a container; if systemd runs, it knows the group of this shell.
        let raise = format!(
            "sudo systemctl set-property --runtime \"$(ps -o unit= -p $$)\" MemoryMax={needed}"
        );
        self.of_memory(
            "memory of the control group",
            Some(bytes),
            Some(raise),
            memory,
        )
    }

    fn conntrack(&self) -> LimitFound {
        let limit = "net.netfilter.nf_conntrack_max";
        let Some(most) = self.machine.conntrack_max else {
            let value = "no connection is tracked".to_owned();
            return Self::noted(limit, value, false, None, "needs no workaround");
        };
        let tracked = self.machine.conntrack_count.unwrap_or(0);
        let left = Some(most.saturating_sub(tracked));
        self.counted(
            limit,
            format!("{}, {} tracked", count(most), count(tracked)),
            (left, left),
            sysctl(limit, self.clients + tracked + OTHER_FILES),
            "cannot work around it: the firewall tracks connections here, and each takes an entry",
        )
    }

    /// Clients that fit into the shards of this many threads, both sides together.
    fn in_threads(&self, threads: Option<u64>) -> Option<u64> {
        let shards = threads?.saturating_sub(OTHER_THREADS) / 2;
        let per_shard = self.machine.nofile_hard.map_or(u64::MAX, per_table);
        Some(shards.saturating_mul(per_shard))
    }

    fn threads(&self) -> LimitFound {
        let Machine {
            threads_max,
            pid_max,
            threads,
            nproc,
            ..
        } = *self.machine;
        let used = threads.unwrap_or(0);
        let machines = [threads_max, pid_max].into_iter().flatten().min();
        let left = [machines, nproc].into_iter().flatten().min();
        let left = left.map(|most| most.saturating_sub(used));
        let allows = self.in_threads(left);
        let needed = used + ENOUGH_THREADS;
        // Each by itself: one that has room would be lowered.
        let commands = [
            (threads_max, "sudo sysctl -w kernel.threads-max="),
            (pid_max, "sudo sysctl -w kernel.pid_max="),
            (nproc, "ulimit -u "),
        ];
        let commands = commands
            .iter()
            .filter(|(now, _)| now.is_some_and(|now| now < needed))
            .map(|(_, command)| format!("{command}{needed}"));
        self.counted(
            "kernel.threads-max, kernel.pid_max, ulimit -u",
            format!(
                "{}, {} per user, {used} in use",
                number(machines),
                number(nproc)
            ),
            (allows, allows),
            Some(commands.collect::<Vec<_>>().join(" && ")),
            format!("uses at most {MAX_SHARDS} threads each for server and clients"),
        )
    }

    fn group_pids(&self) -> LimitFound {
        let pids = self.machine.group_pids;
        let allows = self.in_threads(pids);
        let value = pids.map_or_else(|| "no limit".to_owned(), |pids| pids.to_string());
        let raise = "sudo systemctl set-property --runtime \"$(ps -o unit= -p $$)\" TasksMax=";
        let raise = pids.map(|pids| format!("{raise}{}", pids + ENOUGH_THREADS));
        self.counted(
            "pids of the control group",
            value,
            (allows, allows),
            raise,
            format!("uses at most {MAX_SHARDS} threads each for server and clients"),
        )
    }
}
