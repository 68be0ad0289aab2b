//! The parts of the load generator, in the order in which they use each other: `stamp` (what a payload says), `ledger`
//! (what came of what was due), `client` (one client without a socket), `plan` (who sends what to whom), `engine` (runs a
//! plan), `outcome` (what it counted), `summary` (the figures of that), `report`, `plot` and `page` (tell of them),
//! `output` (where to), `progress` (meanwhile).

pub mod client;
pub mod command_line;
pub mod engine;
pub mod ledger;
pub mod outcome;
pub mod output;
pub mod page;
pub mod plan;
pub mod plot;
pub mod progress;
pub mod report;
pub mod stamp;
pub mod summary;
pub mod units;
pub mod usage;
