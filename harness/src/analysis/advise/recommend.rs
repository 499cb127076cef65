//! Which transport, why, and what would change it. In: predictions and the workload. Out: words with
//! the numbers they rest on.
//!
//! What a transport cannot do comes first, what it costs second: a saving of memory is not a reason for
//! a transport that cannot carry the workload.

use pushbench_protocol::transport::{Polls, Profile, Transport};
use serde::Serialize;

use super::model::{Key, Model, Prediction};
use super::workload::{Audience, Workload};
use crate::text::figure::three;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// The transport.
    pub transport: Transport,
    /// Why.
    pub reasons: Vec<String>,
    /// What would make it another one.
    pub would_change: Vec<String>,
}

/// Messages a second from a client from which a request for each is a burden: one in ten seconds.
const OFTEN_UPSTREAM: f64 = 0.1;

/// A cost is worth a word when it is at least this many times another.
const NOTABLE: f64 = 1.5;

/// The recommendation for `workload`.
pub fn recommend(workload: &Workload, predictions: &[Prediction]) -> Recommendation {
    let often = workload.upstream >= OFTEN_UPSTREAM;
    let cramped = workload.audience == Audience::Browser && !workload.http2;
    let mut reasons = Vec::new();
    let mut would_change = Vec::new();
    let transport = if often || workload.binary || cramped {
        if often {
            reasons.push(format!(
                "clients send {} messages a second each: frames on the connection that is there, not \
                 {} requests a second",
                three(workload.upstream),
                three(workload.upstream * f64::from(workload.clients))
            ));
        }
        if workload.binary {
            reasons.push(
                "messages are binary, which an event stream cannot carry as they are".to_owned(),
            );
        }
        if cramped {
            reasons.push(
                "browsers reach it over HTTP/1.1, where event streams and long polls share six \
                 connections to a host over all tabs; WebSockets are not counted among them"
                    .to_owned(),
            );
        }
        if !often && !workload.binary {
            would_change.push("HTTP/2 at the edge ('--http2'): then 'sse', which reconnects and resumes by itself".to_owned());
        } else if often {
            would_change.push("clients that seldom send (below one message in 10 s): then 'sse', if messages are text".to_owned());
        } else {
            would_change.push("text messages: then 'sse'".to_owned());
        }
        Transport::WebSocket
    } else {
        reasons.push("messages go one way and are text: plain HTTP carries them".to_owned());
        reasons.push(match workload.audience {
            Audience::Browser => "EventSource reconnects and resumes by itself".to_owned(),
            Audience::Native => "the id of the last event is all that resuming needs".to_owned(),
        });
        would_change.push("clients that send often (a message in 10 s or more), or binary messages: then 'websocket'".to_owned());
        if workload.audience == Audience::Browser {
            would_change.push(
                "no HTTP/2 at the edge: then 'websocket', because of the six connections to a host"
                    .to_owned(),
            );
        }
        Transport::Sse
    };
    if workload.proxy {
        would_change.push(match transport {
            Transport::Sse => "a proxy that buffers responses and cannot be configured not to: then 'long_poll'".to_owned(),
            _ => "a proxy that does not pass 'Upgrade': then 'sse', or 'long_poll' where it buffers too".to_owned(),
        });
    }
    costs(
        transport,
        workload,
        predictions,
        &mut reasons,
        &mut would_change,
    );
    Recommendation {
        transport,
        reasons,
        would_change,
    }
}

/// What the predictions say for and against the choice.
fn costs(
    chosen: Transport,
    workload: &Workload,
    predictions: &[Prediction],
    reasons: &mut Vec<String>,
    would_change: &mut Vec<String>,
) {
    let of = |transport| predictions.iter().find(|p| p.transport == transport);
    let Some(own) = of(chosen) else {
        reasons.push(format!(
            "what it costs is not known: no record has '{chosen}' in this profile"
        ));
        return;
    };
    for other in Transport::ALL {
        let compared = other != chosen && other != Transport::BASELINE;
        let Some(p) = of(other).filter(|_| compared) else {
            continue;
        };
        let mut less = Vec::new();
        let mut more = Vec::new();
        for (what, own, its) in [
            ("memory", own.user_bytes, p.user_bytes),
            ("CPU", own.cores, p.cores),
            (
                "bytes down",
                Some(own.down_bytes_per_s),
                Some(p.down_bytes_per_s),
            ),
        ] {
            let Some((own, its)) = own.zip(its).filter(|(own, its)| *own > 0.0 && *its > 0.0)
            else {
                continue;
            };
            if its / own >= NOTABLE {
                less.push(format!("{} times the {what}", three(its / own)));
            } else if own / its >= NOTABLE {
                more.push(format!("{}% of the {what}", three(its / own * 100.0)));
            }
        }
        if !less.is_empty() {
            reasons.push(format!("'{other}' would take {}", less.join(", ")));
        }
        if !more.is_empty() {
            let but = if other.polls() == Some(Polls::AtIntervals) {
                format!(
                    ", if a delay of {} s on average and {} s at most will do",
                    three(workload.poll_interval_s / 2.0),
                    three(workload.poll_interval_s)
                )
            } else {
                String::new()
            };
            would_change.push(format!("'{other}' would take {}{but}", more.join(", ")));
        }
    }
}

/// The limits on connections, by what sets them, least first.
pub fn limits(workload: &Workload, model: &Model, key: Key) -> Vec<(f64, String)> {
    let mut limits = vec![(
        1_048_576.0,
        "descriptors of a process, as Linux sets 'fs.nr_open' (1,024 until the soft limit is raised)"
            .to_owned(),
    )];
    if workload.proxy {
        limits.push((
            28_232.0,
            "source ports of a proxy to one address of the server ('net.ipv4.ip_local_port_range' 32768 \
             to 60999); more addresses help"
                .to_owned(),
        ));
    }
    let memory = |n: u32| {
        let p = model.predict(&Workload::with_clients(workload, n), key)?;
        Some(p.user_bytes? + p.kernel_bytes?)
    };
    let cores = |n: u32| {
        model
            .predict(&Workload::with_clients(workload, n), key)?
            .cores
    };
    if let Some(n) = most(|n| memory(n).map(|bytes| bytes <= 1e9)) {
        limits.push((f64::from(n), "a GB of memory".to_owned()));
    }
    if let Some(n) = most(|n| cores(n).map(|c| c <= 0.8)) {
        limits.push((f64::from(n), "a core at 80%".to_owned()));
    }
    limits.sort_by(|a, b| a.0.total_cmp(&b.0));
    limits
}

/// The most clients for which `fits`, up to 100 million; `None` where that is not known.
fn most(fits: impl Fn(u32) -> Option<bool>) -> Option<u32> {
    if !fits(1)? {
        return Some(0);
    }
    let (mut low, mut high) = (1u32, 100_000_000u32);
    if fits(high)? {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

impl Workload {
    /// The same with more or fewer clients; a broadcast stays one.
    #[must_use]
    pub fn with_clients(&self, clients: u32) -> Self {
        let all = self.group == self.clients && self.clients > 1;
        Self {
            clients,
            group: if all {
                clients
            } else {
                self.group.min(clients)
            },
            ..self.clone()
        }
    }
}

/// The key of each transport in `profile`, or where it does not run in that, in the one next to it.
pub fn key(transport: Transport, profile: Profile) -> Key {
    (transport, transport.profile_for(profile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advise::workload::WorkloadArgs;

    fn chosen(asked: WorkloadArgs) -> (Transport, String, String) {
        let found = recommend(&asked.check().expect("good"), &[]);
        (
            found.transport,
            found.reasons.join("; "),
            found.would_change.join("; "),
        )
    }

    #[test]
    fn one_way_text_goes_by_sse_and_what_needs_more_by_websocket() {
        let one_way = WorkloadArgs {
            http2: true,
            ..WorkloadArgs::default()
        };
        let (transport, reasons, change) = chosen(one_way.clone());
        assert_eq!(transport, Transport::Sse);
        assert!(
            reasons.contains("one way") && change.contains("'websocket'"),
            "{reasons} {change}"
        );
        for asked in [
            WorkloadArgs {
                upstream: Some(2.0),
                ..one_way.clone()
            },
            WorkloadArgs {
                binary: true,
                ..one_way.clone()
            },
            WorkloadArgs::default(),
        ] {
            assert_eq!(chosen(asked).0, Transport::WebSocket);
        }
        let native = WorkloadArgs {
            audience: Some(Audience::Native),
            proxy: true,
            ..WorkloadArgs::default()
        };
        let (transport, _, change) = chosen(native);
        assert_eq!(transport, Transport::Sse);
        assert!(
            change.contains("buffers responses") && change.contains("long_poll"),
            "{change}"
        );
    }

    #[test]
    fn the_largest_number_that_fits_is_found_and_none_is_guessed() {
        assert_eq!(most(|n| Some(n <= 12_345)), Some(12_345));
        assert_eq!(most(|_| Some(false)), Some(0));
        assert_eq!(most(|_| Some(true)), None);
        assert_eq!(most(|_| None), None);
    }
}
