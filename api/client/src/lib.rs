//! Typed client of the REST surface over the endpoint registry.
