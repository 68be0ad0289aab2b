//! The statements of the specifications, shown on the whole core by what a client sends and gets: one module a chapter.

#[path = "../common/net.rs"]
mod net;

mod client;
mod connect;
mod format;
mod flow_control;
mod order;
mod qos;
mod retained;
mod shared;
mod smoke;
mod subscribe;
mod unsubscribe;
