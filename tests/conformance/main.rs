//! The statements of the specifications, shown on the whole core by what a client sends and gets: one module a chapter.

#![allow(clippy::unwrap_used, reason = "what fails here fails a test")]

#[path = "../common/net.rs"]
mod net;
#[path = "../common/scram_client.rs"]
mod scram_client;
#[path = "../common/users.rs"]
mod users;

mod acks;
mod alias;
mod auth;
mod bounds;
mod client;
mod connack;
mod connect;
mod disconnect;
mod durable;
mod edge;
mod errors;
mod expiry;
mod filtered;
mod flow_control;
mod format;
mod house;
mod interest;
mod mount;
mod order;
mod owner;
mod packet_size;
mod publish;
mod qos;
mod rates;
mod replay;
mod retain;
mod retained;
mod scram;
mod session;
mod shared;
mod smoke;
mod store;
mod subscribe;
mod sys;
mod unsubscribe;
mod verdict;
mod will;
mod wiping;
