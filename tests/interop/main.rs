//! Clients that people use against the broker itself, with one shard, with two and with four: paho-mqtt, mqtt.js,
//! mosquitto_pub, _sub and _rr, rumqttc. A test is one theme of one client, with a broker of its own.
//!
//! `tests/interop/install` puts the clients into place; a client that is missing fails its tests.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]

use std::time::Duration;

use broker::{Broker, Reach};

mod access;
mod broker;
mod certificates;
mod mosquitto;
mod program;
mod rumqttc_clients;

/// For what happens at once on a machine that is not overloaded.
const TIMEOUT: Duration = Duration::from_secs(20);

fn interop(shards: usize, reach: Reach, theme: impl FnOnce(&Broker)) {
    let broker = Broker::start(shards, reach);
    theme(&broker);
    broker.stop();
}

macro_rules! on_shards {
    ($($name:ident: $theme:expr;)*) => { $(
        mod $name {
            use super::*;
            #[test]
            fn on_1_shard() {
                interop(1, Reach::Tcp, $theme);
            }
            #[test]
            fn on_2_shards() {
                interop(2, Reach::Tcp, $theme);
            }
            #[test]
            fn on_4_shards() {
                interop(4, Reach::Tcp, $theme);
            }
        }
    )* };
}

/// By other ways than TCP; the broker's part behind them is the same.
macro_rules! by {
    ($reach:ident: $($name:ident: $theme:expr;)*) => { $(
        #[test]
        fn $name() {
            interop(2, Reach::$reach, $theme);
        }
    )* };
}

mod by_tls {
    use super::*;

    by! { Tls:
        paho_publish: |broker| program::paho("publish", broker);
        paho_session: |broker| program::paho("session", broker);
        paho_will: |broker| program::paho("will", broker);
        paho_crowd: |broker| program::paho("crowd", broker);
        mqtt_js_messages: |broker| program::mqtt_js("messages", broker);
        mqtt_js_session: |broker| program::mqtt_js("session", broker);
        mosquitto_every_qos_and_version: mosquitto::every_qos_and_version;
        mosquitto_will: mosquitto::will;
        mosquitto_session: mosquitto::session;
        mosquitto_lines_and_files: mosquitto::lines_and_files;
    }
}

mod by_websocket {
    use super::*;

    // By WebSocket paho (2.1) does not come to the end of a publish of some megabytes, to whatever broker.
    by! { WebSocket:
        paho_retained: |broker| program::paho("retained", broker);
        paho_session: |broker| program::paho("session", broker);
        paho_will: |broker| program::paho("will", broker);
        paho_crowd: |broker| program::paho("crowd", broker);
        mqtt_js_messages: |broker| program::mqtt_js("messages", broker);
        mqtt_js_session: |broker| program::mqtt_js("session", broker);
    }
}

mod by_secure_websocket {
    use super::*;

    by! { SecureWebSocket:
        paho_publish: |broker| program::paho("publish", broker);
        paho_session: |broker| program::paho("session", broker);
        mqtt_js_messages: |broker| program::mqtt_js("messages", broker);
        mqtt_js_session: |broker| program::mqtt_js("session", broker);
    }
}

mod by_unix_socket {
    use super::*;

    by! { Unix:
        mosquitto_every_qos_and_version: mosquitto::every_qos_and_version;
        mosquitto_session: mosquitto::session;
        mosquitto_lines_and_files: mosquitto::lines_and_files;
    }
}

mod paho_mqtt {
    use super::*;

    on_shards! {
        connect: |broker| program::paho("connect", broker);
        publish: |broker| program::paho("publish", broker);
        subscriptions: |broker| program::paho("subscriptions", broker);
        retained: |broker| program::paho("retained", broker);
        will: |broker| program::paho("will", broker);
        session: |broker| program::paho("session", broker);
        properties: |broker| program::paho("properties", broker);
        shared: |broker| program::paho("shared", broker);
        alias: |broker| program::paho("alias", broker);
        limits: |broker| program::paho("limits", broker);
        sys_topics: |broker| program::paho("sys_topics", broker);
        crowd: |broker| program::paho("crowd", broker);
    }
}

mod mqtt_js {
    use super::*;

    on_shards! {
        messages: |broker| program::mqtt_js("messages", broker);
        session: |broker| program::mqtt_js("session", broker);
    }
}

mod mosquitto_clients {
    use super::*;

    on_shards! {
        every_qos_and_version: mosquitto::every_qos_and_version;
        retained: mosquitto::retained;
        will: mosquitto::will;
        session: mosquitto::session;
        properties: mosquitto::properties;
        shared: mosquitto::shared;
        request_and_response: mosquitto::request_and_response;
        lines_and_files: mosquitto::lines_and_files;
    }
}

mod rumqttc_v4 {
    use super::*;
    use rumqttc_clients::{V4, themes};

    on_shards! {
        every_qos: themes::every_qos::<V4>;
        retained: themes::retained::<V4>;
        will: themes::will::<V4>;
        reconnection: themes::reconnection::<V4>;
        session: themes::session::<V4>;
        burst: themes::burst::<V4>;
    }
}

mod rumqttc_v5 {
    use super::*;
    use rumqttc_clients::{V5, themes};

    on_shards! {
        every_qos: themes::every_qos::<V5>;
        retained: themes::retained::<V5>;
        will: themes::will::<V5>;
        reconnection: themes::reconnection::<V5>;
        session: themes::session::<V5>;
        burst: themes::burst::<V5>;
        user_properties: themes::user_properties;
    }
}
