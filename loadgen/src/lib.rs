//! The parts of the load generator, in the order in which they use each other: `stamp` (what a payload says), `ledger`
//! (what came of what was due), `client` (one client without a socket), `plan` (who sends what to whom), `engine` (runs a
//! plan), `report` (tells of it).

pub mod broker_process;
pub mod client;
pub mod command_line;
pub mod compare;
pub mod comparison;
pub mod engine;
pub mod ledger;
pub mod outcome;
pub mod peers;
pub mod plan;
pub mod relay;
pub mod report;
pub mod scenarios;
pub mod spread;
pub mod stamp;
pub mod summary;
pub mod switch;
pub mod usage;
