// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arm's generic watchdog, version 0 (Base System Architecture, DEN 0094, appendix A), without the interrupt of
//! its first stage.

use crate::syndrome::Size;

/// Bytes of a frame: the control frame comes first, the refresh frame behind it.
const FRAME: u64 = 0x1000;

/// Register offsets from the start of the control frame.
mod offset {
    pub const WCS: u64 = 0x000;
    pub const WOR: u64 = 0x008;
    pub const WCV_LOW: u64 = 0x010;
    pub const WCV_HIGH: u64 = 0x014;
    pub const WRR: u64 = super::FRAME;
}

/// Bits of WCS.
const ENABLE: u32 = 1;
const FIRST_STAGE: u32 = 1 << 1;

/// What is to be done about a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing: it is off.
    Never,
    /// To look again when the system counter has come so far.
    At(u64),
    /// It expired: both stages have passed without a refresh.
    Now,
}

/// A watchdog, after reset off. Whoever owns it serialises the calls.
#[derive(Clone, Debug, Default)]
pub struct Watchdog {
    status: u32,
    /// WOR: counts of a stage.
    stage: u32,
    /// WCV: where the stage ends.
    compare: u64,
}

impl Watchdog {
    /// A load at `offset` bytes from the control frame's start.
    #[must_use]
    pub const fn read(&self, offset: u64, size: Size) -> u64 {
        let value = match offset & !7 {
            offset::WCS => self.status as u64,
            offset::WOR => self.stage as u64,
            offset::WCV_LOW => self.compare,
            _ => 0,
        };
        value.wrapping_shr((offset as u32 & 7).wrapping_mul(8)) & size.mask()
    }

    /// A store, while the system counter reads `now`. Registers are written as words.
    pub const fn write(&mut self, offset: u64, value: u64, now: u64) {
        let value = value as u32;
        match offset {
            offset::WCS => self.status = value & ENABLE,
            offset::WOR => self.stage = value,
            offset::WRR => {}
            offset::WCV_LOW => return self.compare = self.compare >> 32 << 32 | value as u64,
            offset::WCV_HIGH => return self.compare = (value as u64) << 32 | self.compare & 0xffff_ffff,
            _ => return,
        }
        // Each of the three is a refresh (A.2).
        self.status &= ENABLE;
        self.compare = now.saturating_add(self.stage as u64);
    }

    /// Goes on to the next stage if this one has passed.
    pub const fn look(&mut self, now: u64) -> Due {
        if self.status & ENABLE == 0 {
            return Due::Never;
        }
        if now >= self.compare {
            if self.status & FIRST_STAGE != 0 {
                return Due::Now;
            }
            self.status |= FIRST_STAGE;
            self.compare = now.saturating_add(self.stage as u64);
        }
        Due::At(self.compare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(stage: u64) -> Watchdog {
        let mut watchdog = Watchdog::default();
        watchdog.write(offset::WOR, stage, 0);
        watchdog.write(offset::WCS, 1, 1_000);
        watchdog
    }

    #[test]
    fn it_is_off_until_it_is_turned_on_and_again_after() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.look(u64::MAX), Due::Never);
        watchdog = started(100);
        watchdog.write(offset::WCS, 0, 1_050);
        assert_eq!(watchdog.look(u64::MAX), Due::Never);
    }

    #[test]
    fn two_stages_pass_before_it_expires() {
        let mut watchdog = started(100);
        assert_eq!(watchdog.look(1_099), Due::At(1_100));
        assert_eq!(watchdog.read(offset::WCS, Size::Word), 1);
        assert_eq!(watchdog.look(1_100), Due::At(1_200));
        assert_eq!(watchdog.read(offset::WCS, Size::Word), 3);
        assert_eq!(watchdog.look(1_199), Due::At(1_200));
        assert_eq!(watchdog.look(1_200), Due::Now);
    }

    #[test]
    fn a_refresh_starts_over() {
        let mut watchdog = started(100);
        watchdog.look(1_100);
        watchdog.write(offset::WRR, 0, 1_150);
        assert_eq!(watchdog.read(offset::WCS, Size::Word), 1, "the first stage is over");
        assert_eq!(watchdog.look(1_249), Due::At(1_250));
        assert_eq!(watchdog.read(offset::WCV_LOW, Size::Double), 1_250);
    }

    #[test]
    fn the_compare_value_can_be_set() {
        let mut watchdog = started(100);
        watchdog.write(offset::WCV_HIGH, 1, 1_000);
        watchdog.write(offset::WCV_LOW, 5, 1_000);
        assert_eq!(watchdog.look(1_100), Due::At(1 << 32 | 5));
        assert_eq!(watchdog.read(offset::WCV_HIGH, Size::Word), 1);
        assert_eq!(watchdog.read(0xfcc, Size::Word), 0, "version 0");
    }
}
