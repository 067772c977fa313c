//! Speaks FUSE to the kernel on behalf of a bucket, and only translates.
//!
//! [`check_mountpoint`] says in one line why a directory cannot be mounted on; [`mount`] attaches the file system
//! (`attach`), starts the threads that take the kernel's requests (`session`), and gives a [`Mounted`] to unmount it by.
//! Each request becomes one call of the bucket (`filesystem`, with the help of `work`). Calls that do not wait are answered on the thread that took
//! the request; what waits for the network or the disk takes the reply along into a tracked task (`door`), and what waits
//! for a file that others are at joins its line (`lines`).
//!
//! The mount is the only writer, so the kernel caches without limits: entries and attributes for a day, pages across
//! opens, writes until it chooses to send them. With the write-back cache the kernel is right about the size and the times of
//! a file in use, and tells the bucket. It checks permissions itself, access control lists too; what is left to do here is what
//! a new file gets of the umask and of its directory, and the clearing of set-user-id bits (`privileges`, `caller`).
//!
//! After mounting, nothing in this process may touch a path below the mount point: it would wait for itself.

mod attach;
mod caller;
mod check;
mod convert;
mod door;
mod error;
mod filesystem;
mod guard;
mod holders;
mod lines;
mod listings;
mod options;
mod privileges;
mod ranges;
mod session;
mod table;
mod work;

pub use attach::remount;
pub use check::{Occupant, check_mountpoint, detach_lazily, detach_silent, mounted, occupant};
pub use convert::errno;
pub use error::Error;
pub use guard::{guard, unguard};
pub use holders::who_holds;
pub use options::Options;
pub use session::{Invalidator, Mounted, mount};

/// The extended attribute by which a command finds the daemon of a path: the path of its API socket.
pub const SOCKET_ATTRIBUTE: &str = "user.openbucket.socket";
