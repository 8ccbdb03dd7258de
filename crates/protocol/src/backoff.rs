//! How long to wait before the next try: delays for `StatusTracked::RETRY_DELAY`.
//!
//! ```
//! # use status_protocol::backoff;
//! use std::time::Duration;
//!
//! const EVERY_MINUTE: Option<fn(i32) -> Duration> = Some(|_| backoff::constant(Duration::from_secs(60)));
//! // 1 s, 2 s, 4 s, … an hour at the most.
//! const LONGER_AND_LONGER: Option<fn(i32) -> Duration> =
//!     Some(|retry| backoff::exponential(Duration::from_secs(1), Duration::from_secs(3600), retry));
//! ```

use std::time::Duration;

/// A random time between half of `delay` and the whole, so that jobs that
/// failed together do not come back together.
///
/// ```
/// # use std::time::Duration; use status_protocol::backoff;
/// let minute = Duration::from_secs(60);
/// let delay = backoff::constant(minute);
/// assert!(minute / 2 <= delay && delay <= minute);
/// ```
#[must_use]
pub fn constant(delay: Duration) -> Duration {
    let chance = uuid::Uuid::new_v4().as_bytes()[0];
    let half = delay / 2;
    half + half / u32::from(u8::MAX) * u32::from(chance)
}

/// `first` after the first failure (`retry` 1), then twice as long each time,
/// but never longer than `cap`. The result is a random time between half of
/// that and the whole, as in [`constant`].
///
/// ```
/// # use std::time::Duration; use status_protocol::backoff;
/// let (first, cap) = (Duration::from_secs(1), Duration::from_secs(60));
/// let third = backoff::exponential(first, cap, 3);
/// assert!(first * 2 <= third && third <= first * 4);
/// assert!(backoff::exponential(first, cap, i32::MAX) <= cap);
/// ```
#[must_use]
pub fn exponential(first: Duration, cap: Duration, retry: i32) -> Duration {
    let doublings = u32::try_from(retry.saturating_sub(1)).unwrap_or(0);
    constant(
        first
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(cap),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_delay_stays_in_its_bounds() {
        // So often that every random number comes.
        for _ in 0..10_000 {
            let delay = exponential(Duration::MAX, Duration::MAX, 5);
            assert!(Duration::MAX / 2 <= delay);
        }
    }
}
