//! What a token or an authentication server may say of somebody beside his name: what he may do, and until when.

use serde::Deserialize;
use serde_json::Number;

use super::rules::Rules;
use crate::base::Timestamp;

/// The end of the year 9999. Beyond it is no date, but milliseconds where seconds are meant: a token that never ends.
const SECS_MAX: u64 = 253_402_300_799;

/// Filters of what may be published and received; `%u` and `%c` in them are the user's name and the client identifier.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct AclClaim {
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// Both.
    all: Vec<String>,
}

impl AclClaim {
    /// None: one of the filters is none, or there are too many.
    pub fn rules(mut self) -> Option<Rules> {
        self.publish.extend(self.all.iter().cloned());
        self.subscribe.append(&mut self.all);
        Rules::of_claims(&self.publish, &self.subscribe).ok()
    }
}

/// A NumericDate (RFC 7519, section 2): seconds since the epoch, with a fraction or without.
pub fn numeric_date(secs: &Number) -> Option<Timestamp> {
    if let Some(secs) = secs.as_u64() {
        return (secs <= SECS_MAX).then(|| Timestamp(secs * 1_000));
    }
    let secs = secs.as_f64()?;
    (0.0..=SECS_MAX as f64).contains(&secs).then_some(Timestamp((secs * 1_000.0) as u64))
}
