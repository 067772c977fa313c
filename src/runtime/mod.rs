//! Time, chance, the CPU pool, tracked tasks and shutdown: what a simulation must own.

mod chance;
mod clock;
mod pool;
mod shutdown;

pub use chance::{Chance, SeededChance, SystemChance};
pub use clock::{Clock, ManualClock, SystemClock};
pub use pool::CpuPool;
pub use shutdown::{Shutdown, Tasks};
