//! Small days, for the simulation itself; whole ones are lived through by `make days`.

use tepui_simulation::{Scale, Summary, live};

/// One test, as fail points are the process's.
#[test]
fn one_seed_gives_one_day_in_which_everything_happens() {
    let scale = Scale { seed: 1, nodes: 10, tenants: 2, hours: 2 };
    let day = live(scale).expect("no promise is broken");
    assert!(everything_happened(&day), "{day:#?}");
    assert_eq!(live(scale).expect("no promise is broken"), day);
    let other = live(Scale { seed: 2, ..scale }).expect("no promise is broken");
    assert_ne!(other.trace, day.trace);
}

fn everything_happened(day: &Summary) -> bool {
    let counts = [day.acknowledged, day.messages, day.agent_deaths, day.control_deaths, day.reboots];
    counts.into_iter().chain([day.partitions, day.guests_off, day.starts]).all(|count| count > 0)
}
