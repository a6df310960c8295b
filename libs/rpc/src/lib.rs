//! How Slipway's services are called and call each other.
//!
//! A request enters by [`Server`], whose layer verifies the signed identity, reads the deadline and the trace context, and
//! puts a [`Ctx`] into the request. It leaves by a [`Channel`], which carries the `Ctx` on: to a service in this process
//! without a socket, or to another process, with the same headers either way. Every error becomes a status through
//! [`Fault`], the one door.

mod channel;
mod check;
mod clock;
mod ctx;
mod fault;
mod identity;
mod layer;
mod link;
mod pool;
mod server;
mod tls;
mod trace;

pub use channel::Channel;
pub use check::{Check, Violation};
pub use clock::{now_micros, timestamp};
pub use ctx::{Caller, Ctx, OrganisationId, Origin, ProjectId, Scope, UserId};
pub use fault::{DOMAIN, Fault, status};
pub use identity::IdentityKey;
pub use layer::timeout as parse_timeout;
pub use link::{LINKS, Link, LinkError, LinkKey, Linked};
pub use server::{BuildError, Running, Server};
pub use slipway_proto::api::ErrorReason as Reason;
pub use tls::{FrontTlsSettings, Tls, TlsSettings};
pub use trace::set_parent as join_trace;

/// An error of any type, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
