//! Time, chance, the CPU pool and who comes first on it, tracked tasks and shutdown: what a simulation must own; where tests end a process; and
//! directories and files for their owner alone, and how many files may be open.

mod blocking;
mod chance;
mod clock;
mod directory;
mod failpoint;
mod open_files;
mod pool;
mod priority;
mod private_file;
mod shutdown;
mod status_socket;

pub use blocking::{OneThread, spawn_blocking};
pub use chance::{Chance, SeededChance, SystemChance};
pub use clock::{Clock, ManualClock, SystemClock};
pub use directory::make_directory;
pub use failpoint::{FAILPOINTS, FailpointError, check_failpoint, failpoint};
pub use open_files::allow_open_files;
pub use pool::CpuPool;
pub use priority::{Prompt, like_this_thread, process_in_background, work_first, work_in_background, work_promptly};
pub use private_file::{PrivateFileError, read_private, write_private};
pub use shutdown::{Shutdown, Tasks};
pub use status_socket::{StatusError, read_status, serve_status};
