//! What can go wrong: a provider's failures by kind, each with advice, and what they become for the caller.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_rpc::{BoxError, Fault, Reason, Violation, now_micros};
use slipway_storage::StorageError;
use uuid::Uuid;

use crate::keys::KmsError;
use crate::model::{Budget, Span, Standing, Usage, WindowKind};

/// The kinds of a provider's failures, by who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The provider refused our key.
    Auth,
    /// Our key is good, but not for this.
    Permission,
    /// Too many calls.
    RateLimited,
    /// The account has no credit.
    CreditExhausted,
    /// The messages do not fit the model's window.
    ContextTooLong,
    /// The provider's content rules refused the request.
    ContentRefused,
    /// The provider has no such model.
    ModelNotFound,
    /// The provider found the request malformed.
    BadRequest,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed, or answered something that cannot be read.
    Server,
    /// The provider cannot be reached, or broke off.
    Network,
    /// Silence before the provider accepted the call.
    TimeoutBeforeAnswer,
    /// Silence in the middle of an answer.
    TimeoutBetweenDeltas,
    /// Answers come from recordings, and none is of this request.
    RecordingMissing,
}

impl Kind {
    /// The stable reason that callers see.
    pub fn reason(self) -> Reason {
        match self {
            Self::Auth => Reason::ProviderAuthFailed,
            Self::Permission => Reason::ProviderPermissionDenied,
            Self::RateLimited => Reason::ProviderRateLimited,
            Self::CreditExhausted => Reason::ProviderCreditExhausted,
            Self::ContextTooLong => Reason::ContextTooLong,
            Self::ContentRefused => Reason::ContentRefused,
            Self::ModelNotFound => Reason::ModelNotFound,
            Self::BadRequest => Reason::ProviderRejectedRequest,
            Self::Overloaded => Reason::ProviderOverloaded,
            Self::Server | Self::Network => Reason::ProviderUnavailable,
            Self::TimeoutBeforeAnswer | Self::TimeoutBetweenDeltas => Reason::ProviderTimeout,
            Self::RecordingMissing => Reason::RecordingMissing,
        }
    }

    /// What a person can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Auth => "check the provider's api_key in the settings, or its environment variable",
            Self::Permission => "give the provider's key the right to this model, or choose another model",
            Self::RateLimited => "wait and try again, or ask the provider for a higher limit",
            Self::CreditExhausted => "add credit to the provider's account, or choose another model",
            Self::ContextTooLong => "send less text, or choose a model with a larger context window",
            Self::ContentRefused => "rephrase the request, or choose another model",
            Self::ModelNotFound => "check the model's name against ListModels",
            Self::BadRequest => {
                "check that the model supports what was asked (tools, temperature, output limit) and the base_url"
            }
            Self::Overloaded | Self::Server => "try again later, or choose another model",
            Self::Network => "check the provider's base_url and this machine's network",
            Self::TimeoutBeforeAnswer | Self::TimeoutBetweenDeltas => {
                "try again, or raise the provider's timeouts in the settings"
            }
            Self::RecordingMissing => "record the call with inference.recordings.mode = \"record\", or ask as it was recorded",
        }
    }

    /// True when the same request may succeed in a moment.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Server | Self::Network)
    }
}

/// What a provider said of a request that is too long, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// The most that the model reads.
    pub(crate) limit: Option<u64>,
    /// What was sent.
    pub(crate) sent: Option<u64>,
}

/// A provider's failure.
#[derive(Debug, thiserror::Error)]
#[error("{provider}: {message}")]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: Kind,
    /// The provider's name in the settings.
    pub provider: String,
    /// What happened, for people.
    pub message: String,
    /// When the provider said to try again.
    pub retry_after: Option<Duration>,
    /// What the call had used when it failed, once the provider had accepted it.
    pub(crate) usage: Option<Box<Usage>>,
    /// For `ContextTooLong`: what the provider said of sizes.
    pub(crate) size: Option<Box<Size>>,
    /// What a person can do about this one, where the kind's advice is too general.
    pub(crate) advice: Option<&'static str>,
    /// The cause, for the log.
    #[source]
    pub cause: Option<BoxError>,
}

impl ProviderError {
    /// A failure without a cause below it.
    pub fn new(kind: Kind, provider: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            provider: provider.to_owned(),
            message: message.into(),
            retry_after: None,
            usage: None,
            size: None,
            advice: None,
            cause: None,
        }
    }

    /// The same for another caller.
    pub(crate) fn copy(&self) -> Self {
        Self {
            kind: self.kind,
            provider: self.provider.clone(),
            message: self.message.clone(),
            retry_after: self.retry_after,
            usage: self.usage.clone(),
            size: self.size.clone(),
            advice: self.advice,
            cause: self.cause.as_ref().map(|cause| cause.to_string().into()),
        }
    }

    /// Keeps the cause for the log.
    pub(crate) fn caused_by(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl From<ProviderError> for Fault {
    fn from(error: ProviderError) -> Self {
        let message = format!("{error}; {}", error.advice.unwrap_or(error.kind.advice()));
        let mut fault = Fault::new(error.kind.reason(), message).with("provider", &error.provider);
        if let Some(delay) = error.retry_after {
            fault = fault.retry_after(delay);
        }
        let size = error.size.map(|s| *s).unwrap_or_default();
        for (name, tokens) in [("limit_tokens", size.limit), ("prompt_tokens", size.sent)] {
            if let Some(tokens) = tokens {
                fault = fault.with(name, tokens);
            }
        }
        match error.cause {
            Some(cause) => fault.source(cause),
            None => fault,
        }
    }
}

/// Why an answer that is on its way breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// What the call cost cannot be written down.
    #[error("the ledger failed")]
    Ledger(#[from] StorageError),
}

impl Broken {
    /// The same for another caller.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Provider(error) => Self::Provider(error.copy()),
            Self::Ledger(error) => Self::Ledger(error.clone()),
        }
    }

    /// The stable reason that callers see.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Provider(error) => error.kind.reason(),
            Self::Ledger(error) => Fault::from(Error::Store(error.clone())).reason(),
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Provider(error) => Self::Provider(error),
            Broken::Ledger(error) => Self::Store(error),
        }
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Error::from(broken).into()
    }
}

/// Why a call of this service fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No provider of that name, or a provider that has no such model.
    #[error("no configured provider serves the model \"{model}\"; ListModels names those that can be called")]
    ModelNotFound {
        /// What was asked for.
        model: String,
    },
    /// A page token that this service did not make.
    #[error("the page token is not one that ListModels returned")]
    PageToken,
    /// What looks for secrets broke down; nothing has left.
    #[error("the request could not be looked through for secrets, so it was not sent")]
    Screening,
    /// What counts tokens broke down.
    #[error("the tokens of the request could not be counted")]
    Counting,
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No such budget, for this caller.
    #[error("there is no such budget in this project or its organisation")]
    BudgetNotFound,
    /// The budget was changed since its etag was read.
    #[error("the budget has changed; read it and try again")]
    EtagMismatch {
        /// The one that it has now.
        etag: String,
    },
    /// A request id with another payload.
    #[error("the request id was used for another payload")]
    RequestIdReused {
        /// What the first one made.
        first_id: Uuid,
    },
    /// What belongs to an organisation is for those who administer it.
    #[error("this needs the scope \"admin\" and a token that names an organisation")]
    NotOfOrganisation,
    /// A change that would leave a budget without any limit.
    #[error("a budget limits money, tokens or both")]
    NoLimit,
    /// A budget has no room.
    #[error("{}", exhausted(budget, standing))]
    BudgetExhausted {
        /// Which.
        budget: Box<Budget>,
        /// How it stands.
        standing: Standing,
    },
    /// A budget refuses models without a price.
    #[error("the budget \"{}\" refuses models without a price, and {model} has none; set one in the settings", budget.name)]
    Unpriced {
        /// Which.
        budget: Box<Budget>,
        /// How it stands.
        standing: Standing,
        /// The model.
        model: String,
    },
    /// No such provider's key in this project.
    #[error("there is no such provider's key in this project")]
    ProviderKeyNotFound,
    /// A key for a provider that the settings do not have.
    #[error("the settings have no provider \"{provider}\" that takes a key; ListProviders names those that there are")]
    ProviderNotConfigured {
        /// Its name.
        provider: String,
    },
    /// The project has too many keys.
    #[error("the project has {most} providers' keys already; delete one first")]
    ProviderKeysFull {
        /// How many it may have.
        most: u64,
    },
    /// A stored key cannot be encrypted or opened.
    #[error(transparent)]
    Keys(#[from] KmsError),
    /// A client for a project's key cannot be made.
    #[error("a client with the project's key cannot be made")]
    Client(#[source] BoxError),
    /// Several callers waited for the same, and it failed.
    #[error("{0}")]
    Shared(Arc<Error>),
    /// The ledger's database failed.
    #[error("the ledger failed")]
    Store(#[from] StorageError),
}

/// The budget that blocks, in a sentence.
fn exhausted(budget: &Budget, standing: &Standing) -> String {
    let taken = standing.spent.plus(standing.reserved);
    let of = |taken: i64, limit: Option<i64>, unit: fn(i64) -> String| {
        limit.map(|limit| format!("{} of {}", unit(taken), unit(limit)))
    };
    let parts =
        [of(taken.micros, budget.limit_micros, dollars), of(taken.tokens, budget.limit_tokens, |n| format!("{n} tokens"))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let again = match budget.window {
        WindowKind::Day => "it is full again at midnight UTC",
        WindowKind::Month => "it is full again on the first of the next month",
        WindowKind::Total => "it is never full again: raise its limit",
    };
    let whose = if standing.subject.is_empty() { String::new() } else { format!(" {}", standing.subject) };
    let (kind, window, parts) = (budget.kind.name(), budget.window.name(), parts.join(" and "));
    format!(
        "the budget \"{}\" ({kind}{whose}, {window}) has no room for the call: {parts} are spent or reserved; {again}",
        budget.name
    )
}

/// Dollars with all their digits that count.
fn dollars(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, (micros % 1_000_000).abs());
    let cents = text.len() - 4;
    let short = text.trim_end_matches('0').len().max(cents);
    format!("${}", &text[..short])
}

fn blocked(message: String, budget: &Budget, standing: &Standing) -> Fault {
    let fault = Fault::new(Reason::BudgetExhausted, message.clone())
        .with("budget_id", budget.id)
        .with("budget", &budget.name)
        .with("subject_kind", budget.kind.name())
        .with("subject", &standing.subject)
        .with("window", budget.window.name())
        .quota(format!("budget:{}", budget.id), message);
    let left = u64::try_from(standing.span.end.saturating_sub(now_micros())).unwrap_or(0);
    if standing.span.is_endless() { fault } else { fault.retry_after(Duration::from_micros(left)) }
}

fn keys_reason(error: &KmsError) -> Reason {
    match error {
        KmsError::Missing | KmsError::Unknown(_) => Reason::EncryptionKeyMissing,
        KmsError::Mismatch(_) => Reason::ProviderKeyUnreadable,
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::ModelNotFound { model } => Fault::new(Reason::ModelNotFound, message).with("model", model),
            Error::PageToken => Fault::new(Reason::PageTokenInvalid, message),
            Error::Screening | Error::Counting => Fault::new(Reason::Internal, message),
            Error::Provider(error) => error.into(),
            Error::BudgetNotFound => Fault::new(Reason::BudgetNotFound, message),
            Error::EtagMismatch { etag } => Fault::new(Reason::EtagMismatch, message).with("etag", etag),
            Error::RequestIdReused { first_id } => Fault::new(Reason::RequestIdReused, message).with("first_id", first_id),
            Error::NoLimit => Fault::invalid(vec![Violation {
                field: "clear_limit_micros".to_owned(),
                description: "would leave the budget without any limit".to_owned(),
            }]),
            Error::NotOfOrganisation => {
                Fault::new(Reason::ScopeInsufficient, message).with("required", "admin of an organisation")
            }
            Error::BudgetExhausted { budget, standing } => blocked(message, &budget, &standing),
            // No time will help.
            Error::Unpriced { budget, standing, .. } => blocked(message, &budget, &Standing { span: Span::ALWAYS, ..standing }),
            Error::ProviderKeyNotFound => Fault::new(Reason::ProviderKeyNotFound, message),
            Error::ProviderNotConfigured { provider } => {
                Fault::new(Reason::ProviderNotConfigured, message).with("provider", provider)
            }
            Error::ProviderKeysFull { most } => Fault::new(Reason::ProviderKeysFull, message).with("limit", most),
            Error::Keys(ref why) => Fault::new(keys_reason(why), message),
            Error::Shared(shared) => match &*shared {
                Error::Keys(why) => Fault::new(keys_reason(why), message),
                Error::Store(source) => source.clone().into(),
                _ => Fault::internal(Error::Shared(shared)),
            },
            Error::Client(_) => Fault::internal(error),
            Error::Store(source) => source.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_provider_and_its_advice() {
        let mut error = ProviderError::new(Kind::RateLimited, "openai", "too many requests");
        error.retry_after = Some(Duration::from_secs(7));
        let fault = Fault::from(error);
        assert_eq!(fault.reason(), Reason::ProviderRateLimited);
        assert!(fault.message().contains("openai: too many requests"));
        assert!(fault.message().contains("wait and try again"));
    }

    #[test]
    fn only_failures_that_pass_are_retried() {
        for kind in [
            Kind::Auth,
            Kind::Permission,
            Kind::CreditExhausted,
            Kind::ContextTooLong,
            Kind::BadRequest,
            Kind::TimeoutBetweenDeltas,
        ] {
            assert!(!kind.is_retryable(), "{kind:?}");
        }
        assert!(Kind::Server.is_retryable() && Kind::Overloaded.is_retryable());
    }
}
