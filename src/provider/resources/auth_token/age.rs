//! How old a token is. Oracle says when one was made as RFC 3339.

use std::time::{Duration, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The time since a token was made; nothing when that is not known, and none at
/// all when our clock is behind Oracle's.
pub(super) fn of(time_created: Option<&str>, now: SystemTime) -> Option<Duration> {
    let made = OffsetDateTime::parse(time_created?, &Rfc3339).ok()?;
    let age = OffsetDateTime::from(now) - made;
    Some(Duration::try_from(age).unwrap_or_default())
}

/// Whole days.
pub(super) fn days(age: Duration) -> u64 {
    age.as_secs() / DAY
}

/// An age as a person says it: in the largest unit that fits.
pub(super) fn words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = [(DAY, "day"), (60 * 60, "hour"), (60, "minute")]
        .into_iter()
        .map(|(size, unit)| (seconds / size, unit))
        .find(|(count, _)| *count > 0)
        .unwrap_or((seconds, "second"));
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} old")
}

const DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest unit counts, and what is left over does not.
    #[test]
    fn ages_in_words() {
        for (seconds, expected) in [
            (0, "0 seconds old"),
            (1, "1 second old"),
            (119, "1 minute old"),
            (7_300, "2 hours old"),
            (DAY - 1, "23 hours old"),
            (DAY, "1 day old"),
            (90 * DAY + 5, "90 days old"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }

    /// A day is over after twenty-four hours, whatever a calendar says; a moment
    /// in the future is no age.
    #[test]
    fn ages_by_the_clock() -> anyhow::Result<()> {
        let at = |text| OffsetDateTime::parse(text, &Rfc3339).map(SystemTime::from);
        let made = Some("2026-01-02T23:00:00.678Z");
        let days_at = |now| of(made, now).map(days);
        assert_eq!(days_at(at("2026-01-03T22:59:59Z")?), Some(0));
        assert_eq!(days_at(at("2026-01-03T23:00:01Z")?), Some(1));
        assert_eq!(of(made, at("2026-01-02T22:00:00Z")?), Some(Duration::ZERO));
        assert_eq!(of(None, SystemTime::now()), None);
        assert_eq!(of(Some("yesterday"), SystemTime::now()), None);
        Ok(())
    }

    proptest::proptest! {
        /// Whatever the service gives as the time when a token was made, it has an age or none.
        #[test]
        fn any_time(
            text in crate::spoilt::text(&["2026-01-02T23:00:00.678Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00-23:59"]),
            now in 0..250_000_000_000_u64,
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            if let Some(age) = of(Some(&text), now) {
                proptest::prop_assert!(words(age).ends_with(" old") && words(age).len() < 30);
                proptest::prop_assert!(days(age) < 11_000 * 366);
            }
        }
    }
}
