//! Topic names and filters, valid by construction: whoever holds one need not look again.

/// Why a text is not a topic name or a topic filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// Names and filters are at least one character long. [MQTT-4.7.3-1]
    Empty,
    /// U+0000 is in no name and no filter. [MQTT-4.7.3-2]
    Nul,
    /// A name holds neither `+` nor `#`. [MQTT-4.7.0-1]
    WildcardInName,
    /// `#` is the last level and alone in it [MQTT-4.7.1-1]; `+` is alone in its level [MQTT-4.7.1-2].
    MisplacedWildcard,
    /// `$share/{ShareName}/{filter}` with a ShareName of at least one character that holds no `/`, `+` or `#`, and a
    /// filter that is valid by itself. [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    MalformedShare,
}

/// The topic of a message. [MQTT-3.3.2-2]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    #[inline]
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        // Without a branch in it, the loop looks at many bytes at once.
        let suspect = text.bytes().fold(false, |found, byte| found | matches!(byte, b'+' | b'#' | 0));
        if suspect { Err(Self::fault(text)) } else { Ok(Self(text)) }
    }

    #[cold]
    fn fault(text: &str) -> TopicError {
        match text.bytes().find(|byte| matches!(byte, b'+' | b'#' | 0)) {
            Some(0) => TopicError::Nul,
            _ => TopicError::WildcardInName,
        }
    }

    /// A text that was a topic name before it was stored.
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok());
        Self(text)
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Topics that start with `$` are not matched by a filter that starts with a wildcard. [MQTT-4.7.2-1]
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

/// What a subscription asks for, without a `$share` prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.bytes().any(|byte| byte == 0) {
            return Err(TopicError::Nul);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let alone = level.len() == 1;
            let misplaced = level.contains('+') && !alone || level.contains('#') && !(alone && levels.peek().is_none());
            if misplaced {
                return Err(TopicError::MisplacedWildcard);
            }
        }
        Ok(Self(text))
    }

    /// A text that was a topic filter before it was stored.
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok());
        Self(text)
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }

    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// The definition of a match, level by level. The indexes must agree with it.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        // [MQTT-4.7.2-1]
        if topic.is_dollar() && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut levels = topic.levels();
        for wanted in self.levels() {
            // `#` stands for its parent level too: `sport/#` matches `sport`.
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                // Every character counts, case included. [MQTT-4.7.3-4]
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// A filter as it stands in SUBSCRIBE: plain, or shared by a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SharedFilter<'a> {
    pub group: Option<&'a str>,
    pub filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix("$share/") else {
            return if text == "$share" {
                Err(TopicError::MalformedShare)
            } else {
                Ok(Self { group: None, filter: TopicFilter::new(text)? })
            };
        };
        // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        let (group, filter) = shared.split_once('/').ok_or(TopicError::MalformedShare)?;
        if group.is_empty() || filter.is_empty() || group.contains(['+', '#', '\0']) {
            return Err(TopicError::MalformedShare);
        }
        Ok(Self { group: Some(group), filter: TopicFilter::new(filter)? })
    }

    /// As it stands in SUBSCRIBE.
    pub fn text(&self) -> Box<str> {
        match self.group {
            Some(group) => format!("$share/{group}/{}", self.filter.as_str()).into(),
            None => self.filter.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_alone_in_a_level_and_the_hash_last() {
        for valid in ["#", "+", "/", "a/+/b", "+/+", "/+", "a/#", "a//#", "$SYS/#", "a b/c"] {
            assert!(TopicFilter::new(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "a#", "a/#/b", "#/a", "a+", "+a/b", "a/b+", "##", "a/##", "a\0"] {
            assert!(TopicFilter::new(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn a_name_has_no_wildcard_no_nul_and_at_least_one_character() {
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::new("a\0"), Err(TopicError::Nul));
        assert!(TopicName::new("/").is_ok());
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("a", "/a", false),
        ];
        for (filter, topic, expected) in cases {
            let matched = TopicFilter::trusted(filter).matches(TopicName::trusted(topic));
            assert_eq!(matched, expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_valid_filter() {
        let shared = SharedFilter::new("$share/g/a/+").unwrap();
        assert_eq!((shared.group, shared.filter.as_str()), (Some("g"), "a/+"));
        assert_eq!(SharedFilter::new("a/b").unwrap().group, None);
        assert_eq!(SharedFilter::new("$shared/x").unwrap().group, None);
        for invalid in
            ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$share/g/a#"]
        {
            assert!(SharedFilter::new(invalid).is_err(), "{invalid}");
        }
        // The group's filter may itself begin with a separator: `$share/g//a` asks for `/a`.
        assert_eq!(SharedFilter::new("$share/g//a").unwrap().filter.as_str(), "/a");
    }
}
