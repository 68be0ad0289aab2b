//! The parts of the load generator, in the order in which they use each other: `stamp` (what a payload says), `ledger`
//! (what came of what was due), `client` (one client without a socket), `transport` (TLS and WebSocket around it), `access`
//! (how the broker is reached), `swarm` (all clients with their connections), `plan` (who sends what to whom), `account`
//! (what is known of a plan's messages); what can be measured, as `measurement` knows it: `traffic` (runs a plan), `crowd`
//! (holds connections), `churn` (clients that come and go), `retained` (messages that are kept and fetched), `suite` (runs
//! that others have named); `timeline` (a run's parts), `outcome` (what it counted), `summary` (the figures of that),
//! `report`, `plot` and `page` (tell of them), `output` (where to), `progress` (meanwhile).
//!
//! `compare` puts brokers side by side: `scenarios` (what can be measured), `peers` (how brokers are started),
//! `broker_process` (one that was), `disk` (what a sync takes), `spread` and `comparison` (what came of it). `relay` stands in for a broker and does
//! nothing, with `switch` (its protocol).

pub mod access;
pub mod account;
pub mod broker_process;
pub mod churn;
pub mod client;
pub mod command_line;
pub mod compare;
pub mod comparison;
pub mod crowd;
pub mod disk;
pub mod ledger;
pub mod measurement;
pub mod outcome;
pub mod output;
pub mod page;
pub mod peers;
pub mod plan;
pub mod plot;
pub mod progress;
pub mod relay;
pub mod report;
pub mod retained;
pub mod scenarios;
pub mod spread;
pub mod stamp;
pub mod suite;
pub mod summary;
pub mod swarm;
pub mod switch;
pub mod timeline;
pub mod traffic;
pub mod transport;
pub mod units;
pub mod usage;
