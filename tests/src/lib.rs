//! What is tested from outside.
