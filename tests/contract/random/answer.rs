//! What a call returned, in the model's terms.

use diesel_status_tracker::Error;

use super::model::Answer;

pub fn done<T>(result: Result<T, Error>) -> Answer {
    result.map_or_else(refusal, |_| Answer::Done)
}

pub fn count(result: Result<usize, Error>) -> Answer {
    result.map_or_else(refusal, Answer::Count)
}

pub fn refusal(error: Error) -> Answer {
    match error {
        Error::NotFound { .. } => Answer::NotFound,
        Error::AlreadyExists { .. } => Answer::AlreadyExists,
        Error::Locked { expires_at, .. } => Answer::Locked {
            expires: expires_at.is_some(),
        },
        Error::AlreadySucceeded { .. } => Answer::AlreadySucceeded,
        Error::Ignored { retry, .. } => Answer::Ignored { retry },
        Error::NotReady { run_at, .. } => Answer::NotReady {
            waits: run_at.is_some(),
        },
        Error::LockLost { .. } => Answer::LockLost,
        Error::Failed { .. } => Answer::Failed,
        Error::Released { .. } => Answer::Released,
        other => Answer::Other(format!("{other:?}")),
    }
}
