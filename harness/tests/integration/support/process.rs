//! Processes of the program: started by a test, or looked at from outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, await_some, inodes, pushbench};

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("the process is there");
}

/// A process that this test started. Dropped, it is killed.
pub(crate) struct Running(pub(crate) Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().expect("the program starts")))
    }

    /// With what it writes kept for [`Self::output`].
    pub(crate) fn piped(command: &mut Command) -> Self {
        Self::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().expect("it has not been waited for").id()
    }

    /// Waits for its end, and kills it where that does not come.
    pub(crate) fn output(mut self) -> Output {
        let mut child = self.0.take().expect("it has not been waited for");
        let pid = child.id();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE).is_err() {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        });
        drop(child.stdin.take());
        let output = child.wait_with_output().expect("a child can be waited for");
        let _ = done.send(());
        watch.join().expect("no panic");
        output
    }

    /// Its exit status; `None` where a signal ended it.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let child = self.child();
        await_some("the end of a process", || {
            child.try_wait().expect("a child can be waited for")
        })
        .code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `pushbench serve` on free ports, with the line that it said at its start.
pub(crate) struct Served {
    pub(crate) process: Running,
    pub(crate) said: Value,
}

impl Served {
    /// On any port of loopback, with the arguments of `line`.
    pub(crate) fn start(line: &str) -> Self {
        Self::by(&mut pushbench(&format!(
            "serve --listen 127.0.0.1:0 {line}"
        )))
    }

    /// By a command of its own.
    pub(crate) fn by(command: &mut Command) -> Self {
        let mut process = Running::start(command.stdout(Stdio::piped()));
        let output = process.child().stdout.take().expect("piped");
        let mut line = String::new();
        let _ = BufReader::new(output).read_line(&mut line);
        let said = serde_json::from_str(&line).expect("one line of JSON");
        Self { process, said }
    }

    /// The address called `key` in what it said.
    pub(crate) fn address(&self, key: &str) -> &str {
        self.said[key].as_str().expect(key)
    }
}

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// With which the same number is another process.
    started: u64,
    parent: u32,
    arguments: Vec<String>,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold spaces; the fields behind it do not (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Dead, but its parent has not asked for its status yet.
        if fields[0] == "Z" {
            return None;
        }
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self {
            pid,
            started: fields[19].parse().ok()?,
            parent: fields[1].parse().ok()?,
            arguments: arguments.split('\0').map(str::to_owned).collect(),
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started)
    }

    pub(crate) fn runs(&self, command: &str) -> bool {
        self.arguments.get(1).is_some_and(|first| first == command)
    }

    /// How many sockets it has open.
    pub(crate) fn sockets(&self) -> usize {
        inodes(self.pid).len()
    }
}

/// The living children of `pid`.
pub(crate) fn children(pid: u32) -> Vec<Process> {
    let processes = std::fs::read_dir("/proc").expect("a Linux with /proc");
    processes
        .filter_map(|entry| Process::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|process| process.parent == pid)
        .collect()
}

pub(crate) fn await_end(processes: &[Process]) {
    await_some("the end of every process", || {
        let ended = processes.iter().all(|process| !process.is_alive());
        ended.then_some(())
    });
}
