//! The emulator's idea of now, which a test may put wrong.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

#[derive(Debug, Default)]
pub(super) struct Clock {
    skew: AtomicI64,
}

/// A moment in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(pub i64);

impl Clock {
    pub(super) fn skew(&self, seconds: i64) {
        self.skew.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Moment {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let real = i64::try_from(real.as_millis()).unwrap_or(i64::MAX);
        Moment(real.saturating_add(self.skew.load(Ordering::Relaxed).saturating_mul(1000)))
    }
}

impl Moment {
    pub(super) fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// `2026-01-02T03:04:05.678Z`, always as long, so that text sorts as time does.
    pub(super) fn rfc3339(self) -> String {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(format).ok())
            .unwrap_or_default()
    }

    pub(super) fn from_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }

    /// As the `date` header prints it.
    pub(super) fn http(self) -> String {
        let seconds = u64::try_from(self.seconds()).unwrap_or(0);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment survives being printed.
    #[test]
    fn printing() {
        let moment = Moment(1_767_323_045_678);
        expect_test::expect!["2026-01-02T03:04:05.678Z"].assert_eq(&moment.rfc3339());
        expect_test::expect!["Fri, 02 Jan 2026 03:04:05 GMT"].assert_eq(&moment.http());
        assert_eq!(Moment::from_rfc3339(&moment.rfc3339()), Some(moment));
    }
}
