//! What a token or an authentication server may say of somebody beside his name: what he may do, and until when.

use serde::Deserialize;
use serde_json::Number;

use super::rules::Rules;
use crate::base::Timestamp;
use crate::mqtt::TopicFilter;

/// The end of the year 9999. Beyond it is no date, but milliseconds where seconds are meant: a token that never ends.
const SECS_MAX: u64 = 253_402_300_799;

/// Filters of what may be published and received.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct AclClaim {
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// Both.
    all: Vec<String>,
}

impl AclClaim {
    /// None: one of the filters is none.
    pub fn rules(mut self) -> Option<Rules> {
        self.publish.extend(self.all.iter().cloned());
        self.subscribe.append(&mut self.all);
        let are_filters = |texts: &[String]| texts.iter().all(|text| TopicFilter::new(text).is_ok());
        (are_filters(&self.publish) && are_filters(&self.subscribe)).then(Rules::default)
    }
}

/// A NumericDate (RFC 7519, section 2): seconds since the epoch, with a fraction or without.
pub fn numeric_date(secs: &Number) -> Option<Timestamp> {
    if let Some(secs) = secs.as_u64() {
        return (secs <= SECS_MAX).then(|| Timestamp(secs * 1_000));
    }
    let secs = secs.as_f64()?;
    (0.0..=SECS_MAX as f64).contains(&secs).then(|| Timestamp((secs * 1_000.0) as u64))
}
