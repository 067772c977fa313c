//! Error kinds to gRPC codes and back, exhaustively on both sides.

use tonic::{Code, Status};

use crate::base::{ErrorKind, Kinded};

/// The status that carries an error to a client: its kind as the code, its words as the message.
pub fn to_status(error: &impl Kinded) -> Status {
    Status::new(code_of(error.kind()), error.to_string())
}

/// The kind of a failure that a daemon told.
pub fn kind_of(status: &Status) -> ErrorKind {
    match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Exists,
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => ErrorKind::Invalid,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::ResourceExhausted => ErrorKind::Full,
        Code::Unavailable | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::FailedPrecondition => ErrorKind::Unpaid,
        Code::Aborted | Code::Cancelled => ErrorKind::Closed,
        Code::Internal | Code::Unknown | Code::Ok => ErrorKind::Bug,
    }
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Exists => Code::AlreadyExists,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Full => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Unpaid => Code::FailedPrecondition,
        ErrorKind::Closed => Code::Aborted,
        ErrorKind::Bug => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the words")]
    struct Failure(ErrorKind);

    impl Kinded for Failure {
        fn kind(&self) -> ErrorKind {
            self.0
        }
    }

    #[test]
    fn every_kind_comes_back_as_itself() {
        use ErrorKind::*;
        for kind in [NotFound, Exists, Invalid, Denied, Full, Unavailable, Corrupt, Unpaid, Closed, Bug] {
            let status = to_status(&Failure(kind));
            assert_eq!(kind_of(&status), kind);
            assert_eq!(status.message(), "the words");
        }
    }
}
