//! The integration tests of the harness, in one program: one is linked, and all of them share the
//! machine's cores. They run the `pushbench` program, or its client fleets against a server in this
//! process; a single module runs with `cargo test -p pushbench --test integration NAME::`.
//!
//! The tests share one process, so none changes what a process has only one of (environment,
//! working folder, limits), and none counts what is not its own: processes are looked up by their
//! parent, connections by a listener's address.

mod fleets;
mod support;

mod addresses;
mod advise;
mod architecture;
mod bad_input;
mod browser;
mod cli;
mod clients_of_plans;
mod compare;
mod conditions;
mod doctor;
mod end_to_end;
mod faults_of_the_run;
mod fuzzed;
mod hostile_pages;
mod known_ledger;
mod known_stall;
mod licences;
mod limits;
mod limits_met;
mod numbers_of_pages;
mod options;
mod posts;
mod reconnect;
mod refused_calls;
mod report;
mod report_page;
mod serve;
mod sweep;
mod upstream;
