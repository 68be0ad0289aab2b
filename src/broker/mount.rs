//! Mount points: what stands before each topic that a client names, unseen by it. Everything behind the edge knows full
//! topics only; here they are made, and [`crate::mqtt::ShownBody`] takes the mount point off again.

use crate::base::limits::STRING_BYTES_MAX;
use crate::mqtt::{Properties, PropertyBuffer, PropertyId, TopicFilter, TopicName};

/// The topic and the properties of a message, its Response Topic among them, with the mount point of who sends it.
#[derive(Debug)]
pub(super) struct Mounted {
    topic: String,
    /// None: as they came.
    properties: Option<PropertyBuffer>,
}

impl Mounted {
    /// `None`: no topic that there can be, or none that clients may write.
    pub(super) fn new(mount: &str, topic: TopicName<'_>, properties: &Properties<'_>) -> Option<Self> {
        if topic.is_dollar() {
            return None;
        }
        let topic = below(mount, topic.as_str()).filter(|topic| TopicName::new(topic).is_ok())?;
        let properties = match properties.contains(PropertyId::ResponseTopic) {
            true => Some(PropertyBuffer::with_response_topic_below(properties, mount)?),
            false => None,
        };
        Some(Self { topic, properties })
    }

    pub(super) fn topic(&self) -> TopicName<'_> {
        TopicName::trusted(&self.topic)
    }

    pub(super) fn properties<'a>(&'a self, as_they_came: &Properties<'a>) -> Properties<'a> {
        self.properties.as_ref().map_or(*as_they_came, PropertyBuffer::properties)
    }
}

/// `None`: no filter that there can be.
pub(super) fn mounted_filter(mount: &str, filter: TopicFilter<'_>) -> Option<String> {
    below(mount, filter.as_str()).filter(|filter| TopicFilter::new(filter).is_ok())
}

/// A topic or a filter is a string of the protocol still. [MQTT-4.7.3-3]
fn below(mount: &str, text: &str) -> Option<String> {
    (mount.len() + text.len() <= STRING_BYTES_MAX).then(|| [mount, text].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(mount: &str, topic: &str) -> Option<String> {
        let mounted = Mounted::new(mount, TopicName::new(topic).unwrap(), &Properties::EMPTY)?;
        Some(mounted.topic().as_str().to_owned())
    }

    #[test]
    fn a_topic_is_mounted_unless_it_becomes_too_long_or_is_the_brokers() {
        assert_eq!(topic("t/", "a/b").as_deref(), Some("t/a/b"));
        assert_eq!(topic("t/", "$SYS/a"), None);
        assert_eq!(topic("t+/", "a"), None);
        let longest = "x".repeat(STRING_BYTES_MAX - 2);
        assert_eq!(topic("t/", &longest).map(|topic| topic.len()), Some(STRING_BYTES_MAX));
        assert_eq!(topic("t//", &longest), None);
    }

    #[test]
    fn a_filter_is_mounted_where_it_stays_one() {
        let filter = |mount, text| mounted_filter(mount, TopicFilter::new(text).unwrap());
        assert_eq!(filter("t/", "#").as_deref(), Some("t/#"));
        // A mount point is a level or more of its own; of another one no wildcard can follow.
        assert_eq!(filter("t", "#"), None);
        assert_eq!(filter("t/", &"x".repeat(STRING_BYTES_MAX - 1)), None);
    }

    #[test]
    fn a_response_topic_is_mounted_and_other_properties_stay() {
        let mut properties = PropertyBuffer::new();
        properties.push_user_property("key", "value");
        properties.push_text(PropertyId::ResponseTopic, "r");
        let properties = properties.properties();
        let topic = TopicName::new("a").unwrap();
        let mounted = Mounted::new("t/", topic, &properties).unwrap();
        let changed = mounted.properties(&properties);
        assert_eq!(changed.text(PropertyId::ResponseTopic), Some("t/r"));
        assert!(changed.contains(PropertyId::UserProperty));
        let long = "x".repeat(STRING_BYTES_MAX);
        let mut properties = PropertyBuffer::new();
        properties.push_text(PropertyId::ResponseTopic, &long);
        assert!(Mounted::new("t/", topic, &properties.properties()).is_none());
    }
}
