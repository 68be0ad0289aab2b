//! Starts: what segments and settled store come to together, what a crash leaves, and what must not pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::batch::Batch;
use super::error::StoreError;
use super::journal::FullSegment;
use super::recovery::{Opened, RecoveryReport, ShardImage, Store, TornTail};
use super::segment::Header;
use super::settler::Told;
use crate::base::{RecordId, SessionRef, ShardId, SubscriptionId, Timestamp};
use crate::broker::{Fetch, Message, Record, StoredCopy, StoredItem, StoredSession};
use crate::mqtt::{BodyLayout, PacketId, Properties, QoS, TopicName};
use crate::routing::{SubscriptionOptions, TopicHasher};

const PLAIN: SubscriptionOptions =
    SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

const COPY: StoredCopy =
    StoredCopy { qos: QoS::AtLeastOnce, retain: false, subscription_ids: Box::new_empty(), share: None };
