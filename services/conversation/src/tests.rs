//! Tests of the whole service against its neighbours as fakes.
