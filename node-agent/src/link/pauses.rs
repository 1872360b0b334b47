//! Pauses between tries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses between tries, with full jitter: each is any time up to a bound that doubles. A control plane
/// that comes back is met by its nodes spread over the bound, not by all at once; a jitter on top of the
/// bound would leave its first half empty and fill the second twice as densely.
pub struct Pauses {
    random: SmallRng,
    bounds: ExponentialBackoff,
}

impl Pauses {
    /// The pauses of one loop. `seed` differs between nodes and between the loops of one.
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), bounds: bounds() }
    }

    /// Waits.
    pub async fn next(&mut self) {
        tokio::time::sleep(self.draw()).await;
    }

    /// A try succeeded: the next failure is a first one.
    pub fn over(&mut self) {
        self.bounds = bounds();
    }

    fn draw(&mut self) -> Duration {
        let bound = self.bounds.next().unwrap_or(LONGEST);
        bound.mul_f64(self.random.random())
    }
}

fn bounds() -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(SHORTEST).with_max_delay(LONGEST);
    builder.without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses of a hundred nodes at the same try.
    fn at_try(number: usize) -> Vec<Duration> {
        let nth = |seed| {
            let mut pauses = Pauses::new(seed);
            (0..number).fold(pauses.draw(), |_, _| pauses.draw())
        };
        let mut all: Vec<_> = (0..100).map(nth).collect();
        all.sort();
        all
    }

    #[test]
    fn nodes_are_spread_over_the_whole_bound_at_every_try() {
        for (number, bound) in [(0, 200), (1, 400), (2, 800), (20, 15_000)] {
            let pauses = at_try(number);
            let bound = Duration::from_millis(bound);
            assert!(pauses[99] <= bound && pauses[99] > bound * 9 / 10, "{number}: {:?}", pauses[99]);
            assert!(pauses[0] < bound / 10, "{number}: {:?}", pauses[0]);
            let first_half = pauses.iter().filter(|pause| **pause < bound / 2).count();
            assert!((35..65).contains(&first_half), "{number}: {first_half} of 100");
        }
    }

    #[test]
    fn a_success_begins_anew_but_not_with_the_same_pauses() {
        let mut pauses = Pauses::new(1);
        let first = pauses.draw();
        let late = (0..10).fold(first, |_, _| pauses.draw());
        pauses.over();
        let again = pauses.draw();
        assert!(again <= SHORTEST);
        assert_ne!(again, first);
        assert_ne!(again, late);
    }
}
