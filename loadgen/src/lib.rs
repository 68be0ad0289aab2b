//! The parts of the load generator, in the order in which they use each other: `stamp` (what a payload says), `ledger`
//! (what came of what was due), `client` (one client without a socket), `transport` (TLS
//! and WebSocket around it), `access` (how the broker is reached), `swarm` (all of them, with their connections),
//! `plan` (who sends what to whom), `account` (what is known of the messages); what can be measured, as `measurement`
//! knows it: `traffic` (runs a plan), `crowd` (holds connections), `churn` (clients that come and go), `retained`
//! (messages that are kept and fetched), `suite` (cases of these by name); `timeline` (a run's parts), `outcome` (what
//! was counted), `summary` (the figures of that), `report`, `plot` and `page` (tell of them), `output` (where to),
//! `progress` (meanwhile).

pub mod access;
pub mod account;
pub mod churn;
pub mod client;
pub mod command_line;
pub mod crowd;
pub mod ledger;
pub mod measurement;
pub mod outcome;
pub mod output;
pub mod page;
pub mod plan;
pub mod plot;
pub mod progress;
pub mod report;
pub mod retained;
pub mod stamp;
pub mod suite;
pub mod summary;
pub mod swarm;
pub mod timeline;
pub mod traffic;
pub mod transport;
pub mod units;
pub mod usage;
