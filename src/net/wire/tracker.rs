//! The messages of `/openbucket/tracker/1`. The order of the variants is the format.

use serde::{Deserialize, Serialize};

use super::Refused;
use crate::{
    base::PeerId,
    net::{Beat, Candidate, CandidateQuery, Registration},
};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) enum TrackerRequest {
    Register(Registration),
    Beat(Beat),
    Leave,
    Candidates(CandidateQuery),
    /// What is known of these.
    Find(Vec<PeerId>),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::net) enum TrackerAnswer {
    Refused(Refused),
    Done,
    Candidates(Vec<Candidate>),
}
