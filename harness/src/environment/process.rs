//! The processes of a trial: started, spoken to, and always reaped.
//!
//! Beside the data path. A child is this program again, in a process group of its own so that an
//! interrupt reaches the run alone, and with a pipe as its standard input: when that ends, however
//! the run ended, the child ends. Dropped, it is killed.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::files::MAX_RECORD_BYTES;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::control::TOKEN_VARIABLE;
use pushbench_protocol::transport::Transport;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a child may take to say where it listens.
const START_WAIT: Duration = Duration::from_secs(20);

/// How long a child may take to end once its standard input has.
const END_WAIT: Duration = Duration::from_secs(5);

/// Longest line in which a child says where it listens, in bytes: an address for each transport.
const MAX_GREETING_BYTES: u64 = 64 << 10;

/// Longest answer to be waited for: a report over a million clients takes seconds.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Why a trial's process could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not start.
    #[error("cannot start the {role}: {}", crate::text::io_reason(.source))]
    Start {
        /// `server` or `fleet`.
        role: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It said something else than its addresses, or nothing.
    #[error("the {role} did not say where it listens within {} s: {found}", START_WAIT.as_secs())]
    Greeting {
        /// `server` or `fleet`.
        role: &'static str,
        /// What came instead.
        found: String,
    },
    /// It ended before its time.
    #[error("the {role} died in the middle of the trial ({how})")]
    Died {
        /// `server` or `fleet`.
        role: &'static str,
        /// Its exit status or signal.
        how: std::process::ExitStatus,
    },
    /// It refused a request.
    #[error("the {role} refused '{request}': {answer}")]
    Refused {
        /// `server` or `fleet`.
        role: &'static str,
        /// Method and path.
        request: String,
        /// What it said.
        answer: String,
    },
    /// It listens for something else.
    #[error("the server did not say where it listens for {0}")]
    NoAddress(Transport),
    /// It was asked for something while it did not run.
    #[error("the {0} does not run")]
    NotThere(&'static str),
    /// It did not answer.
    #[error("the {role} did not answer '{request}': {source}")]
    Silent {
        /// `server` or `fleet`.
        role: &'static str,
        /// Method and path.
        request: String,
        /// What went wrong.
        source: reqwest::Error,
    },
}

impl ChildError {
    /// Whether SIGKILL ended it: the kernel's, for want of memory, since nobody else here sends it
    /// to a process of a trial that has not ended.
    pub fn is_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        matches!(self, Self::Died { how, .. } if how.signal() == Some(nix::libc::SIGKILL))
    }
}

/// 16 random bytes in hexadecimal.
fn token() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A running child.
#[derive(Debug)]
pub struct ManagedProcess {
    role: &'static str,
    child: Child,
    control: SocketAddr,
    client: reqwest::Client,
    /// What it asks for of who commands it.
    token: String,
    /// What it said of itself at the start.
    pub greeting: serde_json::Value,
    /// Its process.
    pub pid: u32,
}

impl ManagedProcess {
    /// Starts `program` with `arguments` and waits for the line of JSON in which it says where it
    /// listens.
    ///
    /// # Errors
    /// [`ChildError::Start`] and [`ChildError::Greeting`].
    pub async fn start(
        role: &'static str,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self, ChildError> {
        let token = token().map_err(|source| ChildError::Start { role, source })?;
        let mut child = Command::new(program)
            // What lists of processes show.
            .arg0("pushbench")
            .args(arguments)
            // Not among the arguments, which every user of the machine can read.
            .env(TOKEN_VARIABLE, &token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ChildError::Start { role, source })?;
        let pid = child.id().unwrap_or_default();
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output).take(MAX_GREETING_BYTES);
            let read = tokio::time::timeout(START_WAIT, output.read_line(&mut line)).await;
            if !matches!(read, Ok(Ok(1..))) {
                let found = match tokio::time::timeout(END_WAIT, child.wait()).await {
                    Ok(Ok(status)) => format!("it ended with {status}"),
                    _ => "nothing came".to_owned(),
                };
                return Err(ChildError::Greeting { role, found });
            }
        }
        let greeting: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let control = greeting["control"].as_str().and_then(|c| c.parse().ok());
        let control = control.ok_or_else(|| ChildError::Greeting {
            role,
            found: format!("'{}'", line.trim()),
        })?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_WAIT)
            .build()
            .map_err(|e| ChildError::Start {
                role,
                source: std::io::Error::other(e),
            })?;
        Ok(Self {
            role,
            child,
            control,
            client,
            token,
            greeting,
            pid,
        })
    }

    /// Its allocator, where it says so.
    pub(crate) fn allocator(&self) -> Option<Allocator> {
        serde_json::from_value(self.greeting["allocator"].clone()).ok()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// [`ChildError::Died`] where it does not.
    pub fn check(&mut self) -> Result<(), ChildError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ChildError::Died {
                role: self.role,
                how: status,
            }),
            _ => Ok(()),
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ChildError`]: a child that died is told from one that is silent.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ChildError> {
        self.ask(reqwest::Method::GET, path, None::<&()>).await
    }

    /// Tells it something and takes its answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ChildError> {
        self.ask(reqwest::Method::POST, path, Some(body)).await
    }

    /// Has it end something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ChildError> {
        self.ask(reqwest::Method::DELETE, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ChildError> {
        let role = self.role;
        let asked = format!("{method} {path}");
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.control))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let mut answer = request.send().await?;
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await? {
                body.extend_from_slice(&piece);
                if body.len() as u64 > MAX_RECORD_BYTES {
                    return Ok((answer.status(), None));
                }
            }
            Ok::<_, reqwest::Error>((answer.status(), String::from_utf8(body).ok()))
        };
        let (status, text) = match answer.await {
            Ok((status, text)) => (status, text),
            Err(source) => {
                // The connection broke first; the process may need a moment to be seen dead.
                let _ = tokio::time::timeout(Duration::from_millis(200), self.child.wait()).await;
                self.check()?;
                return Err(ChildError::Silent {
                    role,
                    request: asked,
                    source,
                });
            }
        };
        let refused = |answer: String| ChildError::Refused {
            role,
            request: asked,
            answer,
        };
        let Some(text) = text else {
            let most = MAX_RECORD_BYTES;
            return Err(refused(format!(
                "an answer that is not UTF-8, or above {most} bytes"
            )));
        };
        if !status.is_success() {
            let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let said = said["error"].as_str().map_or(text, str::to_owned);
            return Err(refused(said));
        }
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|e| refused(format!("an answer that is no such: {e}")))
    }

    /// Kills it (SIGKILL) and reaps it.
    pub async fn kill(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill().await;
    }

    /// Ends it by ending its standard input, and waits; kills it where it does not end.
    pub async fn end(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(END_WAIT, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}
