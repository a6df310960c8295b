//! What the program says and returns when something fails: one sentence and an exit code.

use std::fmt::Write as _;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The exit codes, as `--help` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something failed.
    Failed = 1,
    /// The command line, the settings or a field of the request is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Its state does not allow this, or it has changed meanwhile.
    Refused = 4,
    /// Not signed in, or not allowed.
    Denied = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

/// A failure with its exit code; displays as the sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into() }
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    pub(crate) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, sentence)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// The exit code and the sentence for an error that reached `main`. `server` is the address that client commands call.
pub(crate) fn explain(error: &anyhow::Error, server: &str) -> (Exit, String) {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return (failure.exit, failure.sentence.clone());
    }
    if let Some(status) = error.chain().find_map(|e| e.downcast_ref::<Status>()) {
        return of_status(status, server);
    }
    if error.chain().any(|e| e.is::<slipway_settings::SettingsError>()) {
        return (Exit::Usage, chain(error));
    }
    (Exit::Failed, chain(error))
}

/// True when whoever read our output has gone away; that is no failure. A server that hangs up on us is one.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_a_call = error.chain().any(|e| e.is::<Status>() || e.is::<tonic::transport::Error>());
    !of_a_call
        && error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An error and its causes in one line; a cause that the text before it already tells is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text.replace('\n', " ")
}

fn of_status(status: &Status, server: &str) -> (Exit, String) {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        return (transport_exit(status), transport(status, server));
    };
    let exit = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => Exit::Refused,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        Code::Unavailable => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let mut text = status.message().to_owned();
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            let told = format!("{} {}", violation.field, violation.description);
            if !text.contains(&told) {
                let _ = write!(text, "; {told}");
            }
        }
    }
    if let Some(delay) = details.retry_info().and_then(|r| r.retry_delay) {
        let _ = write!(text, "; try again in {} s", delay.as_secs_f64().ceil());
    }
    if exit == Exit::Denied {
        text.push_str("; give a token with --token or SLIPWAY_TOKEN");
    }
    let _ = write!(text, " ({})", info.reason);
    (exit, text.replace('\n', " "))
}

fn transport_exit(status: &Status) -> Exit {
    match status.code() {
        Code::Unavailable | Code::Unknown => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// A status that no Slipway made: the connection failed, or something else answered.
fn transport(status: &Status, server: &str) -> String {
    let mut cause = std::error::Error::source(status);
    let mut root = status.message().to_owned();
    while let Some(error) = cause {
        root = error.to_string();
        cause = error.source();
    }
    format!("cannot talk to Slipway at {server}: {root}; start it with `slipway up`, or name another with --server")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_failure_keeps_its_code_and_sentence() {
        let error = anyhow::Error::from(Failure::not_found("no workspace is called \"x\""));
        assert_eq!(explain(&error, "s"), (Exit::NotFound, "no workspace is called \"x\"".to_owned()));
    }

    #[test]
    fn a_status_names_its_fields_and_reason() {
        let mut details = ErrorDetails::new();
        details.set_error_info("FIELD_INVALID", "slipway.dev", std::collections::HashMap::new());
        details.set_bad_request(vec![FieldViolation::new("title", "is longer than 200 characters")]);
        let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
        let (exit, text) = explain(&status.into(), "s");
        assert_eq!(exit, Exit::Usage);
        assert_eq!(text, "the request is not valid; title is longer than 200 characters (FIELD_INVALID)");
    }

    #[test]
    fn a_status_of_nobody_is_about_the_connection() {
        let (exit, text) = explain(&Status::unavailable("tcp connect error").into(), "http://127.0.0.1:50051");
        assert_eq!(exit, Exit::Unreachable);
        assert!(text.contains("http://127.0.0.1:50051") && text.contains("slipway up"), "{text}");
    }

    #[test]
    fn causes_are_told_once() {
        let error = Err::<(), _>(std::io::Error::other("disk full")).context("cannot write x: disk full").unwrap_err();
        assert_eq!(explain(&error, "s").1, "cannot write x: disk full");
    }
}
