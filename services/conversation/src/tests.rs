//! Tests of the whole service against its neighbours as fakes.

mod conversations;
mod fakes;
mod messages;
mod plans;
mod replicas;
mod resume;
mod suite;
