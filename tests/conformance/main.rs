//! The statements of the specifications, shown on the whole core by what a client sends and gets: one module a chapter.

#[path = "../common/net.rs"]
mod net;
#[path = "../common/scram_client.rs"]
mod scram_client;

mod acks;
mod alias;
mod client;
mod connack;
mod connect;
mod flow_control;
mod format;
mod order;
mod packet_size;
mod publish;
mod qos;
mod retain;
mod retained;
mod scram;
mod session;
mod shared;
mod smoke;
mod subscribe;
mod unsubscribe;
mod will;
