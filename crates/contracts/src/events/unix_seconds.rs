//! A time as whole Unix seconds in JSON: what existing Go consumers read as `int64`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use time::OffsetDateTime;

/// The last second of the year 9999, the last one that the other formats can write.
const LAST_SECOND: i64 = 253_402_300_799;

pub(super) fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.unix_timestamp())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let seconds = i64::deserialize(deserializer)?;
    if !(0..=LAST_SECOND).contains(&seconds) {
        return Err(D::Error::custom(format!(
            "{seconds} is no time in Unix seconds (0 to {LAST_SECOND}; are these milliseconds?)"
        )));
    }
    OffsetDateTime::from_unix_timestamp(seconds).map_err(D::Error::custom)
}
