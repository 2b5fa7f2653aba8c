// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How often something may be said: some at once, then one each time a while has passed.

/// A bucket of tokens, as the time at which it would be full again.
#[derive(Debug, Default)]
pub struct Limiter {
    full_at: u64,
    held_back: u32,
}

impl Limiter {
    /// Asks to say one thing more at the time `now`, where `burst` may be said at once and then one in each `period`.
    /// If it may, tells how many were held back since the last that might.
    pub fn admit(&mut self, now: u64, burst: u64, period: u64) -> Option<u32> {
        if self.full_at.saturating_sub(now) > burst.saturating_sub(1).saturating_mul(period) {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.full_at = self.full_at.max(now).saturating_add(period);
        Some(self.held_back())
    }

    /// How many were held back and not told of, which they are now.
    pub fn held_back(&mut self) -> u32 {
        core::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_a_period() {
        let mut limiter = Limiter::default();
        let mut ask = |now| limiter.admit(now, 3, 100);
        assert_eq!([ask(5), ask(5), ask(6)], [Some(0); 3]);
        assert_eq!([ask(7), ask(50), ask(104)], [None; 3]);
        assert_eq!(ask(105), Some(3), "one token, and word of what it was kept for");
        assert_eq!([ask(106), ask(204)], [None; 2]);
        assert_eq!([ask(205), ask(10_000)], [Some(2), Some(0)]);
        assert_eq!(
            [ask(10_000), ask(10_000), ask(10_000)],
            [Some(0), Some(0), None],
            "never more than a burst"
        );
        assert_eq!((limiter.held_back(), limiter.held_back()), (1, 0));
    }

    #[test]
    fn a_flood_is_held_to_the_rate() {
        let mut limiter = Limiter::default();
        let (mut said, mut held) = (0_u64, 0_u64);
        for now in 0..1_000_000 {
            if let Some(before) = limiter.admit(now, 16, 1000) {
                said += 1;
                held += u64::from(before);
            }
        }
        assert_eq!(said, 16 + 999);
        assert_eq!(said + held + u64::from(limiter.held_back()), 1_000_000, "each is told or counted");
    }

    #[test]
    fn the_ends_of_time_are_no_exception() {
        let mut limiter = Limiter::default();
        assert_eq!(limiter.admit(u64::MAX, u64::MAX, u64::MAX), Some(0));
        assert_eq!(limiter.admit(u64::MAX, 1, u64::MAX), Some(0));
        assert_eq!(limiter.admit(0, 1, 1), None);
        assert_eq!(Limiter::default().admit(0, 0, 0), Some(0));
    }
}
