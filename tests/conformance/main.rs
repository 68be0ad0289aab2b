//! The statements of the specifications, shown on the whole core by what a client sends and gets: one module a chapter.

#[path = "../common/net.rs"]
mod net;

mod acks;
mod alias;
mod client;
mod connack;
mod connect;
mod format;
mod packet_size;
mod publish;
mod retain;
mod session;
mod smoke;
mod will;
