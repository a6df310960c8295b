//! [`Ctx`]: who calls, for which project, until when. The first argument of every use case.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tonic::Status;
use uuid::Uuid;

use crate::{Fault, Reason, trace};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

id! {
    /// The tenant: everything that Slipway stores belongs to one project.
    ProjectId
}
id! {
    /// A person or a program with an account.
    UserId
}
id! {
    /// Those who pay for some projects together. Nil: nobody has named one, and every project is on its own.
    OrganisationId
}

/// What a caller's token allows; a wider scope includes the narrower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reads.
    Read,
    /// Reads and changes.
    Write,
    /// Administers.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// Who calls, and what their token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// What the token allows.
    pub scope: Scope,
    /// Who pays.
    pub organisation: OrganisationId,
    /// The name of the token; empty when there was none.
    pub token: Arc<str>,
}

impl Caller {
    /// A user with a scope, of no organisation, and without a token.
    pub fn new(user: UserId, scope: Scope) -> Self {
        Self { user, scope, organisation: nobody(), token: Arc::default() }
    }

    /// True when the caller may see and change what belongs to the whole organisation: an administrator whose token names
    /// one.
    pub fn administers_organisation(&self) -> bool {
        self.scope == Scope::Admin && !self.organisation.0.is_nil()
    }
}

/// On whose behalf work is done that no call waits for: what a job keeps of the call that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The user.
    pub user: UserId,
    /// Who pays. Jobs of before there were organisations have none.
    #[serde(default = "nobody")]
    pub organisation: OrganisationId,
    /// The name of the token.
    #[serde(default)]
    pub token: String,
}

fn nobody() -> OrganisationId {
    OrganisationId(Uuid::nil())
}

impl From<UserId> for Origin {
    fn from(user: UserId) -> Self {
        Self { user, organisation: nobody(), token: String::new() }
    }
}

impl From<&Caller> for Origin {
    fn from(caller: &Caller) -> Self {
        Self { user: caller.user, organisation: caller.organisation, token: caller.token.to_string() }
    }
}

/// The context of one call, carried through every layer and on to every neighbour.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who calls.
    pub caller: Caller,
    /// The project that the call is about; every finder is scoped by it.
    pub project: ProjectId,
    /// The id that the logs of all services show for this call.
    pub request_id: String,
    /// When the caller stops waiting; absent for streams that follow something and for background work.
    pub deadline: Option<Instant>,
    traceparent: String,
}

impl Ctx {
    /// A context made by a door: the gateway, or the server layer.
    pub fn new(caller: Caller, project: ProjectId, request_id: String, deadline: Option<Instant>, traceparent: String) -> Self {
        Self { caller, project, request_id, deadline, traceparent }
    }

    /// The context of a received request. Fails with UNAUTHENTICATED when the server layer did not put one there.
    #[allow(clippy::result_large_err, reason = "tonic's traits return Status by value")]
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        let missing = || Fault::new(Reason::CredentialsMissing, "the call carries no identity");
        request.extensions().get::<Self>().cloned().ok_or_else(|| missing().into())
    }

    /// The context of work that no call waits for: jobs and event handlers.
    pub fn background(project: ProjectId, origin: impl Into<Origin>, traceparent: &str) -> Self {
        let Origin { user, organisation, token } = origin.into();
        let caller = Caller { user, scope: Scope::Write, organisation, token: token.into() };
        Self::new(caller, project, Uuid::now_v7().to_string(), None, traceparent.to_owned())
    }

    /// A request to a neighbour on behalf of this call.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(self.clone());
        request
    }

    /// How long the caller still waits; zero when the deadline has passed, `None` when there is none.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// The W3C trace context to hand on: the current span's, else what came with the call. Empty when not traced.
    pub fn traceparent(&self) -> String {
        trace::current().unwrap_or_else(|| self.traceparent.clone())
    }
}
