//! A day of a cloud in minutes: the real control plane on the real database, and real agents with real
//! ledgers on hosts that only remember their guests. Time, chance and messages are the simulation's, so
//! that the same seed gives the same day.
//!
//! ```text
//!   clients ──▶ Cloud ◀── polls, reports ── agents ──▶ guests
//!      │          │        lost, late,         │          │
//!      ▼          ▼        repeated            ▼          ▼
//!   promises   database                     ledgers    journal
//!      └──────────┴────────── judge ──────────┴──────────┘
//! ```
//!
//! While the day goes on, partitions, deaths of agents and of the control plane at their fail points, reboots
//! of hosts, guests that go off and jumps of the clock come at random. After every step the judge holds what
//! was done on the host against what clients had asked for; at noon, in the evening and at the end it waits
//! until everything is healed and compares the whole.
//!
//! Beside the days there is a walk: from every state, everything that can be asked or go wrong, once each.

mod chance;
mod control;
mod day;
mod events;
mod fake_clock;
mod guests;
mod host;
mod judge;
mod promises;
mod states;
mod walk;

pub use chance::WallClock;
pub use control::{Control, Tenant, folder};
pub use day::{Scale, Summary, live};
pub use judge::Violation;
pub use states::states_page;
pub use walk::{Walked, walk};
