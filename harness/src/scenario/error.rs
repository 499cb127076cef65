//! What is wrong with a scenario, written so that it can be mended without reading the code.
//!
//! Before the data path. In: a rule that a value breaks. Out: an error with the line or the option
//! that the value came from.

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
        "'{name}' is not a scenario{hint}; the built-in ones are {known}; give a file as a path that \
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

/// A value of the right type that breaks a rule; the line or the option is added by the caller that
/// knows where it came from.
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

/// Whether the rules are kept.
pub(super) type Check = Result<(), Problem>;

/// Returns a [`Problem`] with the key and the message where the condition does not hold.
macro_rules! ensure {
    ($holds:expr, $key:expr, $($message:tt)+) => {
        // The negation of a comparison differs from its opposite for NaN, which keeps no rule.
        #[allow(clippy::neg_cmp_op_on_partial_ord)]
        if !($holds) {
            return Err($crate::scenario::error::Problem {
                key: $key,
                message: format!($($message)+),
            });
        }
    };
}
pub(super) use ensure;
