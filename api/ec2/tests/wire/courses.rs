//! The list of what a death can leave half-done knows every call, and no other.

use std::collections::BTreeSet;

use tepui_core::failpoint::CALLS;
use tepui_types::endpoint::{self, Method};

#[test]
fn every_action_that_changes_something_tells_what_a_death_in_its_middle_leaves() {
    let listed: BTreeSet<_> = CALLS.iter().map(|(action, _)| *action).collect();
    let endpoints = endpoint::ALL.iter().filter(|endpoint| endpoint.method != Method::Get);
    let changing: BTreeSet<_> =
        tepui_ec2::changing_actions().chain(endpoints.map(|endpoint| endpoint.action)).collect();
    let missing: Vec<_> = changing.difference(&listed).collect();
    assert!(missing.is_empty(), "not in tepui_core::failpoint::CALLS: {missing:?}");
    let unknown: Vec<_> = listed.difference(&changing).collect();
    assert!(unknown.is_empty(), "no call is {unknown:?}");
}
