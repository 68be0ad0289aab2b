//! The broker's shards, each with its core and its log, the rings between them, and the store that they share.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thrum::access::Open;
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Effects, Fetch, MeshMessage, Options, ShardCore, StoredMessage};
use thrum::storage::{Ended, Lane, Log, LogOptions, Opened, Operation, ShardImage, Store};

use crate::disk::Folder;
use crate::profile::Profile;

pub const LANES: [Lane; 2] = [Lane::Commit, Lane::Upkeep];

#[derive(Debug)]
pub struct Shard {
    pub core: ShardCore,
    pub fx: Effects,
    pub log: Log<Vec<u8>>,
    /// What each lane has begun.
    pub running: [Option<Operation<Vec<u8>>>; 2],
    /// What the core was told.
    pub committed: u64,
    pub is_writable: bool,
    /// The wire of each connection.
    pub conns: Vec<Option<usize>>,
}

/// None of it: the broker is not there.
#[derive(Default, Debug)]
pub struct Broker {
    pub store: Option<Store>,
    pub shards: Vec<Shard>,
    /// By sender and receiver.
    pub rings: Vec<Vec<VecDeque<MeshMessage>>>,
    /// What is still to be restored.
    pub images: Vec<ShardImage>,
    is_up: bool,
    began: Option<(u64, Instant)>,
    /// Full segments on their way to the settler, and those of which the shards have not heard yet that it is through.
    pub to_settle: VecDeque<(usize, Ended)>,
    pub settled: VecDeque<(usize, Ended)>,
    pub fetches: VecDeque<(usize, Fetch)>,
}

impl Shard {
    pub fn give_conn(&mut self, wire: usize) -> ConnId {
        let free = self.conns.iter().position(Option::is_none).unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.conns[free] = Some(wire);
        ConnId(free as u32)
    }
}

impl Broker {
    pub fn start(opened: Opened, profile: &Profile, folders: &[Folder], now: u64) -> Self {
        let Opened { store, store_id, seed, epoch, next_number, shards: images, .. } = opened;
        let shards = images.len();
        let shard = |index: usize| {
            let mut options = Options { shards, seed, next_record: next_number, ..profile.options.clone() };
            options.secret[0] = index as u8;
            let me = ShardId::new(index);
            let core = ShardCore::new(me, options, Box::new(Open), Timestamp(now)).expect("profiles are valid");
            let options = LogOptions { store_id, epoch, shard: me, next_number, ..profile.log };
            Shard {
                core,
                fx: Effects::new(),
                log: Log::new(options, &folders[index].found()),
                running: [None, None],
                committed: next_number - 1,
                is_writable: true,
                conns: Vec::new(),
            }
        };
        Self {
            store: Some(store),
            shards: (0..shards).map(shard).collect(),
            rings: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            images,
            began: Some((now, Instant::now())),
            ..Self::default()
        }
    }

    /// The same time on the other clock.
    pub fn instant(&self, now: u64) -> Instant {
        let (began, instant) = self.began.expect("it was started");
        instant + Duration::from_millis(now - began)
    }

    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    pub const fn open(&mut self) {
        self.is_up = true;
    }

    pub fn is_restored(&self) -> bool {
        self.images.iter().all(|image| image.sessions.is_empty() && image.retained.is_empty())
    }

    pub fn fetch(&self, fetch: &Fetch) -> Result<Vec<StoredMessage>, String> {
        let mut unreadable = Vec::new();
        let store = self.store.as_ref().ok_or("there is no store")?;
        let messages = store.fetch(fetch, &mut unreadable).map_err(|error| error.to_string())?;
        if unreadable.is_empty() { Ok(messages) } else { Err(format!("{fetch:?}: {unreadable:?}")) }
    }
}
