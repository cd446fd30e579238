//! The one error type of the core; each variant is one exception class of the Python package.

/// What can go wrong. The text is meant for the person who made the call: it names the column in
/// double quotes, the count, the first offending row (0-based) and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The logged data break a rule.
    #[error("{0}")]
    InvalidLog(String),
    /// A candidate policy's columns break a rule, or an estimator needs one that is missing.
    #[error("{0}")]
    InvalidPolicy(String),
    /// An argument is out of its range, or names nothing.
    #[error("{0}")]
    InvalidArgument(String),
    /// The caller asked to stop (Ctrl-C).
    #[error("cancelled")]
    Cancelled,
}

/// `Result` with the core's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
