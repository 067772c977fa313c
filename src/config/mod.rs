//! Defaults, files, environment and flags become the options of every module.
//!
//! Layers, the later over the earlier: built-in, /etc/openbucket/config.toml,
//! ~/.config/openbucket/config.toml, `--config FILE`, `OPENBUCKET_*`, flags
//! (mount options among them). A layer sets what it names and nothing else;
//! [`Settings::origin`] says which layer set a key. A key that nobody knows is
//! an error that names it and its file.

mod error;
mod layer;
mod mount_options;
mod settings;
mod sources;
mod value;

pub use error::Error;
pub use layer::{Layer, Origin};
pub use mount_options::{MOUNT_OPTIONS, MountOption, OptionOwner, ParsedOptions, parse_mount_options};
pub use settings::Settings;
pub use sources::{PASSWORD_VARIABLE, Sources, user_config_path};
pub use value::{Durability, NodeUrls, check_address, parse_time};
