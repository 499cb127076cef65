//! What is wrong with a scenario, said so that it can be mended without reading the code.

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Something in the file. Mend the line.
    #[error("{path}:{line}: {message}")]
    File {
        /// The file as it was named.
        path: String,
        /// Line, from 1, of the key that is wrong.
        line: usize,
        /// Which key, what was found, what was expected.
        message: String,
    },
    /// An option of the command line, alone or together with the file. Change the option.
    #[error("{0}")]
    Option(String),
    /// No scenario of that name is built in.
    #[error(
        "'{name}' is no scenario{hint}; the built-in ones are {known}; give a file as a path that \
         ends in '.toml'"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// `; did you mean '…'?`, or nothing.
        hint: String,
        /// The built-in names, quoted.
        known: String,
    },
    /// The file cannot be read.
    #[error(
        "cannot read scenario '{path}': {reason}; 'pushbench list' shows the scenarios that are \
         built in"
    )]
    Read {
        /// The file as it was named.
        path: String,
        /// What the operating system said.
        reason: String,
    },
}

/// A value that is of the right type but cannot be: found by [`check`](super::check), told with a
/// line or with an option by whoever knows where the value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The key with its table, such as `publish.rate_per_s`.
    pub(super) key: &'static str,
    /// What follows the quoted key: `is 0, but …`.
    pub(super) message: String,
}

impl Problem {
    /// The key without its table.
    pub(super) fn short_key(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }
}
