//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limits;

/// As many as a service may need, or as the system lets it have: the usual 1024 are for programs that use select(2), see
/// getrlimit(2).
pub fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(limits::OPEN_FILES, |most| most.min(limits::OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::debug!(%error, "no more files may be open than before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_be_open_as_the_system_allows() {
        let before = getrlimit(Resource::Nofile);
        allow_open_files();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        let allowed = after.maximum.map_or(limits::OPEN_FILES, |most| most.min(limits::OPEN_FILES));
        assert!(after.current.is_none_or(|now| now >= allowed), "{after:?}");
    }
}
