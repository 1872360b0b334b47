//! The domain: state machines, scheduler, reconcilers, authorization, quotas.
