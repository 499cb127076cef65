//! Limits that do not bound the number of clients, but slow something down or prevent a measurement.

use super::limits::{At, number, sysctl};
use super::machine::Machine;
use super::{LimitFound, State};
use crate::text::figure::count;

/// Listen queue that the servers request.
const BACKLOG: u64 = 4_096;

/// Most pending connects over all shards of the fleet; also at most half of a listen queue.
const CONNECTING: u64 = 2_048;

/// With fewer pending connects than this, connecting waits for the round trip to the server.
const FEW: u64 = 512;

/// Share of the machine that others may take before the audit doubts a trial.
const STEAL: f64 = crate::audit::MAX_STEAL;

impl At<'_> {
    /// A limit that does not bound the number of clients.
    pub(super) fn noted(
        limit: &'static str,
        value: String,
        slows: bool,
        raise: Option<String>,
        instead: impl Into<String>,
    ) -> LimitFound {
        LimitFound {
            limit,
            value,
            alone: None,
            allows: None,
            state: if slows { State::Slows } else { State::Free },
            raise,
            instead: instead.into(),
        }
    }

    pub(super) fn backlog(&self) -> LimitFound {
        let somaxconn = self.machine.somaxconn;
        Self::noted(
            "net.core.somaxconn",
            number(somaxconn),
            somaxconn.is_some_and(|queue| queue < 2 * FEW),
            sysctl("net.core.somaxconn", BACKLOG).filter(|_| somaxconn < Some(BACKLOG)),
            format!(
                "limits pending connects to half of this queue, at most {}; the server has one \
                 listener per shard",
                count(CONNECTING)
            ),
        )
    }

    pub(super) fn syn_backlog(&self) -> LimitFound {
        let backlog = self.machine.syn_backlog;
        Self::noted(
            "net.ipv4.tcp_max_syn_backlog",
            number(backlog),
            backlog.is_some_and(|queue| queue < FEW),
            sysctl("net.ipv4.tcp_max_syn_backlog", BACKLOG).filter(|_| backlog < Some(BACKLOG)),
            format!("limits pending connects to {}", count(CONNECTING)),
        )
    }

    pub(super) fn tcp_memory(&self) -> LimitFound {
        let pages = self.machine.tcp_mem_pages;
        // An unread message takes at least a page; idle connections take none.
        let pressed = pages.is_some_and(|[_, pressure, _]| pressure < self.clients);
        let [low, _, most] = pages.unwrap_or_default();
        let pressure = self.clients.max(low);
        let value = pages.map_or_else(
            || "unknown".to_owned(),
            |[low, pressure, most]| {
                format!(
                    "{low} {pressure} {most} pages of {} bytes",
                    self.machine.page_bytes
                )
            },
        );
        Self::noted(
            "net.ipv4.tcp_mem",
            value,
            pressed,
            sysctl(
                "net.ipv4.tcp_mem",
                format!("'{low} {pressure} {}'", most.max(2 * pressure)),
            )
            .filter(|_| pressed),
            "leaves no unread message on an idle connection; a broadcast to more clients than there \
             are pages may put the kernel under memory pressure while it lasts",
        )
    }

    pub(super) fn time_wait(&self) -> LimitFound {
        Self::noted(
            "net.ipv4.tcp_max_tw_buckets",
            number(self.machine.time_wait_buckets),
            false,
            sysctl("net.ipv4.tcp_max_tw_buckets", self.clients)
                .filter(|_| self.machine.time_wait_buckets < Some(self.clients)),
            "uses other source addresses in each trial, so that connections in TIME_WAIT do no \
             harm; the kernel drops those beyond the limit at once",
        )
    }

    pub(super) fn cores(&self) -> LimitFound {
        let cores = self.machine.usable_cores;
        let (pins, instead) = match (cores, self.machine.pins) {
            (0 | 1, _) => (
                false,
                "cannot pin: server and clients share one core, and the record says so",
            ),
            (_, false) => (
                false,
                "may not pin: server and clients share the cores, and the record says so",
            ),
            _ => (
                true,
                "pins the server to the first half of the cores and the clients to the rest",
            ),
        };
        Self::noted("usable cores", cores.to_string(), !pins, None, instead)
    }

    pub(super) fn quota(&self) -> LimitFound {
        let limit = "CPU quota of the control group";
        let Some(ms) = self.machine.cpu_quota_ms_per_s else {
            return Self::noted(limit, "none".to_owned(), false, None, "needs no workaround");
        };
        let cores = ms as f64 / 1e3;
        let slows = cores < self.machine.usable_cores as f64;
        // For the owner of a container; if systemd runs, it knows the group of this shell.
        let raise =
            "sudo systemctl set-property --runtime \"$(ps -o unit= -p $$)\" CPUQuota=infinity";
        Self::noted(
            limit,
            format!("{cores:.2} cores"),
            slows,
            slows.then(|| raise.to_owned()),
            "reads how long the kernel throttled it, and marks a trial as suspect if that was long \
             enough to show in its figures",
        )
    }

    pub(super) fn timers(&self) -> LimitFound {
        let slack = self.machine.timer_slack_ns;
        let value = slack.map_or_else(|| "unknown".to_owned(), |ns| format!("{} ns", count(ns)));
        Self::noted(
            "timer slack",
            value,
            false,
            None,
            "sets 1 ns for the publisher's thread",
        )
    }

    pub(super) fn clock(&self) -> LimitFound {
        let source = self.machine.clock_source.as_deref().unwrap_or("unknown");
        // Reading it takes a system call or a device access: microseconds instead of 20 ns.
        let slow = matches!(source, "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies");
        Self::noted(
            "clock source",
            source.to_owned(),
            slow,
            slow.then(|| {
                "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/\
                 current_clocksource"
                    .to_owned()
            }),
            "reads the clock once per socket read, whatever it costs",
        )
    }

    pub(super) fn congestion(&self) -> LimitFound {
        let has_cubic = |names: &[String]| names.iter().any(|name| name == "cubic");
        let Machine {
            congestion,
            congestions,
            congestions_allowed,
            ..
        } = self.machine;
        let default = congestion.as_deref().unwrap_or("unknown");
        let (instead, raise) = match (has_cubic(congestions_allowed), has_cubic(congestions)) {
            (true, _) => (
                "sets cubic on every socket, regardless of the default",
                None,
            ),
            (false, true) => (
                "keeps the default on every socket, because this user may not set cubic (no \
                 CAP_NET_ADMIN)",
                // The list is replaced as a whole.
                Some(format!(
                    "sudo sysctl -w net.ipv4.tcp_allowed_congestion_control='{}'",
                    congestions.join(" ")
                )),
            ),
            (false, false) => (
                "keeps the default on every socket, because cubic is not available",
                Some("sudo modprobe tcp_cubic".to_owned()),
            ),
        };
        let paces = raise.is_some() && default.starts_with("bbr");
        let value = default.to_owned();
        Self::noted("congestion control", value, paces, raise, instead)
    }

    pub(super) fn steal(&self) -> LimitFound {
        let share = self.machine.steal_share;
        let value = share.map_or_else(
            || "unknown".to_owned(),
            |share| format!("{:.2}% since boot", share * 100.0),
        );
        Self::noted(
            "steal",
            value,
            share.is_some_and(|share| share > STEAL),
            None,
            format!(
                "marks a trial as suspect if the hypervisor gave more than {:.0}% to others",
                STEAL * 100.0
            ),
        )
    }

    pub(super) fn stamps(&self) -> LimitFound {
        let (value, instead) = match self.machine.stamps {
            Some(true) => (
                "works",
                "uses it to measure the clients' own share of a latency",
            ),
            Some(false) => (
                "refused",
                "cannot measure the clients' own share of a latency",
            ),
            None => ("unknown", "tries again in each trial"),
        };
        let missing = self.machine.stamps == Some(false);
        Self::noted("SO_TIMESTAMPING", value.to_owned(), missing, None, instead)
    }
}
