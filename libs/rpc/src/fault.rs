//! [`Fault`]: the one door from an error to a gRPC status with its details.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{BoxError, Reason, Violation};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "slipway.dev";

const REASON_PREFIX: &str = "ERROR_REASON_";
// Details travel in HTTP/2 headers: together they stay under 4 KiB.
const MAX_MESSAGE: usize = 1024;
const MAX_VIOLATIONS: usize = 12;
const MAX_VIOLATION: usize = 160;
const MAX_METADATA_VALUE: usize = 256;

/// A limit that a call would go beyond.
#[derive(Debug)]
struct Quota {
    subject: String,
    description: String,
}

/// Why a call fails: a stable reason, a message that says what to do, and what programs need to act on it.
#[derive(Debug)]
pub struct Fault {
    reason: Reason,
    message: String,
    metadata: Vec<(String, String)>,
    violations: Vec<Violation>,
    quota: Option<Box<Quota>>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Fault {
    /// A fault with a reason and a message for people: lower case, no final period, says what to do.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            quota: None,
            retry_after: None,
            source: None,
        }
    }

    /// INVALID_ARGUMENT that names each field.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let named: Vec<_> = violations.iter().take(3).map(|v| format!("{} {}", v.field, v.description)).collect();
        let more = if violations.len() > 3 { format!(" (and {} more)", violations.len() - 3) } else { String::new() };
        let mut fault = Self::new(Reason::FieldInvalid, named.join("; ") + &more);
        fault.violations = violations;
        fault
    }

    /// A defect of ours. The cause goes to the log, not to the caller.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(Reason::Internal, "something failed inside Slipway; the server's log has the cause").source(source)
    }

    /// What Slipway keeps its state in is away for the moment. The cause goes to the log.
    pub fn away(source: impl Into<BoxError>) -> Self {
        Self::new(Reason::ServiceUnavailable, "the store that the call needs is away; try again").source(source)
    }

    /// There is no room left where Slipway keeps its state. The cause goes to the log.
    pub fn full(source: impl Into<BoxError>) -> Self {
        Self::new(Reason::StorageFull, "the server has no room left for data; its operator must make room").source(source)
    }

    /// A neighbour's error, with its reason and message kept.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        if info.is_none() && is_of_transport(status) {
            let message = "a service that the call needs broke off; try again";
            return Self::new(Reason::ServiceUnavailable, message).source(status.message());
        }
        let reason = info.and_then(|i| Reason::from_str_name(&format!("{REASON_PREFIX}{}", i.reason)));
        let mut fault = Self::new(reason.unwrap_or_else(|| reason_of(status.code())), status.message());
        if let Some(info) = info {
            fault.metadata = info.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        }
        if let Some(bad) = details.bad_request() {
            let violation = |v: &FieldViolation| Violation { field: v.field.clone(), description: v.description.clone() };
            fault.violations = bad.field_violations.iter().map(violation).collect();
        }
        if let Some(quota) = details.quota_failure().and_then(|q| q.violations.first()) {
            fault.quota = Some(Box::new(Quota { subject: quota.subject.clone(), description: quota.description.clone() }));
        }
        fault.retry_after = details.retry_info().and_then(|r| r.retry_delay);
        fault
    }

    /// Adds a fact for programs to `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.push((key.to_owned(), value.to_string()));
        self
    }

    /// Names a field, or a part of what the field holds, that is in the way.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push(Violation { field: field.into(), description: description.into() });
        self
    }

    /// Names the limit that was reached: whose it is, and what it says.
    #[must_use]
    pub fn quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.quota = Some(Box::new(Quota { subject: subject.into(), description: description.into() }));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The stable reason as `ErrorInfo` shows it: without the enum's prefix.
    pub fn reason_name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix(REASON_PREFIX).unwrap_or(name)
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fields that are wrong.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What `ErrorInfo` has besides the reason.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// When to try again, where that is known.
    pub fn delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The canonical code that the reason stands for.
    pub fn code(&self) -> Code {
        code_of(self.reason)
    }

    /// True when the same call may soon succeed without anyone changing anything: a budget is seldom full again soon.
    pub fn is_retryable(&self) -> bool {
        matches!(self.code(), Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
            && !matches!(self.reason, Reason::MessageTooLarge | Reason::BudgetExhausted | Reason::QuotaExceeded)
    }

    fn log(&self) {
        let Some(source) = &self.source else { return };
        let mut chain = source.to_string();
        let mut next = source.source();
        while let Some(cause) = next {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            next = cause.source();
        }
        match self.code() {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::error!(reason = self.reason_name(), error = chain, "call failed")
            }
            _ => tracing::debug!(reason = self.reason_name(), error = chain, "call refused"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        fault.log();
        let metadata: HashMap<_, _> = fault.metadata.iter().map(|(k, v)| (k.clone(), cut(v, MAX_METADATA_VALUE))).collect();
        let mut details = ErrorDetails::with_error_info(fault.reason_name(), DOMAIN, metadata);
        for v in fault.violations.iter().take(MAX_VIOLATIONS) {
            details.add_bad_request_violation(cut(&v.field, MAX_VIOLATION), cut(&v.description, MAX_VIOLATION));
        }
        if let Some(quota) = &fault.quota {
            details.add_quota_failure_violation(cut(&quota.subject, MAX_VIOLATION), cut(&quota.description, MAX_VIOLATION));
        }
        let retry = fault.retry_after.or_else(|| (fault.code() == Code::Unavailable).then_some(Duration::from_secs(1)));
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Self::with_error_details(fault.code(), cut(&fault.message, MAX_MESSAGE), details)
    }
}

/// Turns a service's error into a status: `.map_err(status)?`.
pub fn status<E: Into<Fault>>(error: E) -> Status {
    error.into().into()
}

/// The canonical code of each reason: by who must act.
fn code_of(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::FieldInvalid | R::PageTokenInvalid | R::PathInvalid | R::ArchiveInvalid | R::ArchiveTooLarge => Code::InvalidArgument,
        R::PatternInvalid | R::ContextTooLong | R::ProviderRejectedRequest => Code::InvalidArgument,
        R::CredentialsMissing | R::CredentialsInvalid => Code::Unauthenticated,
        R::ScopeInsufficient => Code::PermissionDenied,
        R::RateLimited | R::MessageTooLarge | R::ProviderRateLimited | R::BudgetExhausted => Code::ResourceExhausted,
        R::QuotaExceeded | R::StorageFull => Code::ResourceExhausted,
        R::MethodUnknown => Code::Unimplemented,
        R::ServiceUnavailable | R::ProviderUnavailable | R::ProviderTimeout | R::ProviderOverloaded => Code::Unavailable,
        R::DeadlineExceeded => Code::DeadlineExceeded,
        R::RequestIdReused => Code::AlreadyExists,
        R::CursorOutOfRange => Code::OutOfRange,
        R::EtagMismatch | R::BaseRevisionStale => Code::Aborted,
        R::CallCancelled => Code::Cancelled,
        R::WorkspaceNotFound | R::RevisionNotFound | R::FileNotFound | R::IndexNotFound => Code::NotFound,
        R::ModelNotFound | R::PlanNotFound | R::ConversationNotFound | R::RunNotFound | R::DeadLetterNotFound => Code::NotFound,
        R::BudgetNotFound | R::OverlayNotFound => Code::NotFound,
        R::ChangeConflict | R::EmbedderUnavailable | R::ProviderAuthFailed | R::ProviderCreditExhausted => {
            Code::FailedPrecondition
        }
        R::MergeConflict | R::FileNotText | R::EditNotFound | R::EditAmbiguous => Code::FailedPrecondition,
        R::DocumentUnreadable => Code::FailedPrecondition,
        R::EditMalformed => Code::InvalidArgument,
        R::SecretFound | R::ContentNotFound | R::UploadIncomplete | R::UploadCorrupt | R::UploadsFull => Code::FailedPrecondition,
        R::OverlaysFull => Code::FailedPrecondition,
        R::ImportRefused | R::ExportUnsupported => Code::FailedPrecondition,
        R::ImportFailed => Code::Unavailable,
        R::UploadNotFound => Code::NotFound,
        R::UploadOffsetWrong => Code::Aborted,
        R::BlobStoreRefused | R::LinkUnsupported | R::ProviderPermissionDenied | R::RecordingMissing => Code::FailedPrecondition,
        R::ContentRefused | R::PlanStateConflict | R::PlanVersionStale | R::PlanBaseMoved => Code::FailedPrecondition,
        R::WorkspaceEmpty | R::PlanUnusable | R::EditFailed | R::RunActive => Code::FailedPrecondition,
        R::EncryptionKeyMissing | R::ProviderKeyUnreadable | R::ProviderNotConfigured | R::ProviderKeysFull => {
            Code::FailedPrecondition
        }
        R::ProviderKeyNotFound => Code::NotFound,
        R::Internal | R::Unspecified => Code::Internal,
    }
}

/// True when no service made the status: the connection broke off, which shows as INTERNAL or UNKNOWN with a cause.
fn is_of_transport(status: &Status) -> bool {
    matches!(status.code(), Code::Internal | Code::Unknown) && std::error::Error::source(status).is_some()
}

/// The nearest reason for a status that carries none.
fn reason_of(code: Code) -> Reason {
    match code {
        Code::Unavailable => Reason::ServiceUnavailable,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Cancelled => Reason::CallCancelled,
        Code::Unauthenticated => Reason::CredentialsInvalid,
        Code::PermissionDenied => Reason::ScopeInsufficient,
        Code::Unimplemented => Reason::MethodUnknown,
        Code::InvalidArgument => Reason::FieldInvalid,
        Code::ResourceExhausted => Reason::MessageTooLarge,
        _ => Reason::Internal,
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let sent: Status = Fault::new(Reason::BaseRevisionStale, "moved").with("head_number", 7).into();
        assert_eq!(sent.code(), Code::Aborted);
        let received = Fault::from_status(&sent);
        assert_eq!(received.reason(), Reason::BaseRevisionStale);
        assert_eq!(received.metadata, [("head_number".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn a_limit_is_named_through_two_services() {
        let sent: Status = Fault::new(Reason::BudgetExhausted, "no").quota("budget/1", "5 of 5 dollars").into();
        let again: Status = Fault::from_status(&sent).into();
        let details = again.get_error_details();
        let quota = &details.quota_failure().unwrap().violations[0];
        assert_eq!((again.code(), quota.subject.as_str()), (Code::ResourceExhausted, "budget/1"));
        assert_eq!(quota.description, "5 of 5 dollars");
    }

    #[test]
    fn a_broken_connection_is_an_absent_service() {
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        let fault = Fault::from_status(&broken);
        assert_eq!(fault.reason(), Reason::ServiceUnavailable, "{broken:?}");
        assert!(fault.is_retryable() && fault.message().ends_with("try again"));
        assert_eq!(Fault::from_status(&Status::internal("cannot decode")).reason(), Reason::Internal);
    }

    #[test]
    fn details_stay_under_four_kibibytes() {
        let long = "é".repeat(5_000);
        let violations = (0..100).map(|n| Violation { field: format!("f{n}"), description: long.clone() }).collect();
        let status: Status = Fault::invalid(violations).with("path", &long).into();
        assert!(status.details().len() < 4096, "{} bytes", status.details().len());
    }

    #[test]
    fn every_reason_has_a_code_and_a_name() {
        for n in 1..=600 {
            let Ok(reason) = Reason::try_from(n) else { continue };
            let fault = Fault::new(reason, "x");
            assert_ne!(fault.code(), Code::Ok);
            assert!(!fault.reason_name().starts_with(REASON_PREFIX));
            assert_eq!(fault.code() == Code::Internal, reason == Reason::Internal, "{reason:?}");
        }
    }

    #[test]
    fn unavailable_says_when_to_retry() {
        let status: Status = Fault::new(Reason::ServiceUnavailable, "down").into();
        assert!(status.get_error_details().retry_info().is_some());
    }
}
