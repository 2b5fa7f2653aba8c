// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The true random number generator's firmware interface (Arm DEN 0098).

use super::{Call, NOT_SUPPORTED, Outcome};
use crate::limiter::Limiter;

const TRNG_VERSION: u32 = 0x8400_0050;
const TRNG_FEATURES: u32 = 0x8400_0051;
const TRNG_GET_UUID: u32 = 0x8400_0052;
const TRNG_RND32: u32 = 0x8400_0053;
const TRNG_RND64: u32 = 0xc400_0053;

const VERSION_1_0: u64 = 1 << 16;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const NO_ENTROPY: u64 = -3i64 as u64;

/// The entropy source's UUID, 5be2c9d4-83a1-4f6e-b0d7-2c14e95a6f38: the CPU's or firmware's own, passed on.
const UUID: [u64; 4] = [0xd4c9_e25b, 0x6e4f_a183, 0x142c_d7b0, 0x386f_5ae9];

/// A source of random numbers.
pub trait Entropy {
    /// Whether there is a source. Does not change while guests run.
    fn is_present(&self) -> bool;
    /// 64 random bits, or `None` if the source has run dry for now. Takes a bounded time.
    fn random(&self) -> Option<u64>;
}

/// There is no source: every TRNG call is NOT_SUPPORTED.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEntropy;

impl Entropy for NoEntropy {
    fn is_present(&self) -> bool {
        false
    }
    fn random(&self) -> Option<u64> {
        None
    }
}

/// What one partition may draw of a source that all partitions share, such as firmware, which serves one call at a time: a
/// burst of 64-bit numbers, then one in each period. Beyond that the answer is NO_ENTROPY, as from a source that has
/// run dry (DEN 0098, 2.4.4), after which a caller tries again later.
#[derive(Debug)]
pub struct Metered<'a, E, N> {
    /// The source.
    pub source: &'a E,
    /// How much the partition has drawn.
    pub bucket: &'a spin::Mutex<Limiter>,
    /// Reads the counter. A type of its own, not a pointer: that would be a branch to an address in a register.
    pub now: N,
    /// Numbers that may be drawn at once.
    pub burst: u64,
    /// Counts of the counter after which there may be one more.
    pub period: u64,
}

impl<E: Entropy, N: Fn() -> u64> Entropy for Metered<'_, E, N> {
    fn is_present(&self) -> bool {
        self.source.is_present()
    }
    fn random(&self) -> Option<u64> {
        self.bucket.lock().admit((self.now)(), self.burst, self.period)?;
        self.source.random()
    }
}

#[inline(never)]
pub(super) fn handle(call: Call, entropy: &impl Entropy) -> Outcome {
    if !entropy.is_present() {
        return Outcome::Return(NOT_SUPPORTED);
    }
    match call.function {
        TRNG_VERSION => Outcome::Return(VERSION_1_0),
        TRNG_FEATURES => Outcome::Return(match call.arguments[0] as u32 {
            TRNG_VERSION | TRNG_FEATURES | TRNG_GET_UUID | TRNG_RND32 | TRNG_RND64 => 0,
            _ => NOT_SUPPORTED,
        }),
        TRNG_GET_UUID => Outcome::Return4(UUID),
        TRNG_RND32 => random(&call, entropy, 32),
        TRNG_RND64 => random(&call, entropy, 64),
        _ => Outcome::Return(NOT_SUPPORTED),
    }
}

/// Up to three registers of `width` random bits each: the lowest in x3, bits beyond those asked for zero.
fn random(call: &Call, entropy: &impl Entropy, width: u32) -> Outcome {
    let [wanted, ..] = call.arguments_by_width();
    if wanted == 0 || wanted > u64::from(width.saturating_mul(3)) {
        return Outcome::Return4([INVALID_PARAMETERS, 0, 0, 0]);
    }
    let mut left = wanted as u32;
    let mut registers = [0; 3];
    for register in registers.iter_mut().rev() {
        let bits = left.min(width);
        left = left.saturating_sub(bits);
        if bits == 0 {
            break;
        }
        let Some(random) = entropy.random() else { return Outcome::Return4([NO_ENTROPY, 0, 0, 0]) };
        *register = random.wrapping_shr(64u32.saturating_sub(bits));
    }
    let [x1, x2, x3] = registers;
    Outcome::Return4([0, x1, x2, x3])
}
