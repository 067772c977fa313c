//! Random numbers: from the machine's secure source, or from a seed in a simulation.

use rand::{Rng, SeedableRng, rngs::StdRng};
use ring::rand::SecureRandom;

use crate::base::Mutex;

/// A source of random bytes, fit for keys and ids unless it is a simulation's.
pub trait Chance: Send + Sync + 'static {
    /// Fills the buffer with random bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// 32 random bytes.
    fn bytes32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// A random number.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number in 0..bound, uniform up to 2^-32 for bounds below 2^32; 0 when the bound is 0.
    fn below(&self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.u64()) * u128::from(bound)) >> 64).expect("below a u64 bound")
    }
}

/// The operating system's secure source.
#[derive(Debug)]
pub struct SystemChance(ring::rand::SystemRandom);

impl Default for SystemChance {
    fn default() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Chance for SystemChance {
    fn fill(&self, bytes: &mut [u8]) {
        // Going on with predictable keys would be worse than ending the process.
        self.0.fill(bytes).expect("the kernel gives random bytes");
    }
}

/// Repeats exactly from one seed. For tests and simulations only.
#[derive(Debug)]
pub struct SeededChance(Mutex<StdRng>);

impl SeededChance {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Chance for SeededChance {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b) = (SeededChance::new(7), SeededChance::new(7));
        assert_eq!(a.bytes32(), b.bytes32());
        assert_ne!(a.bytes32(), SeededChance::new(8).bytes32());
        assert!((0..1000).all(|_| a.below(10) < 10));
    }
}
