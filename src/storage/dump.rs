//! `thrum store dump`: what a store holds, as lines of JSON.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable};

use super::directory::StoreDirectory;
use super::error::StoreError;
use super::load::Waiting;
use super::overlay::Spooled;
use super::recovery::new_meta;
use super::segment::Segment;
use super::settled::{Meta, Settled};
use super::tables::{Outcome, SPOOL, Trouble};
use crate::broker::{Message, Owner, StoredCopy, StoredItem, StoredMessage, StoredSession};
use crate::mqtt::PacketId;
use crate::routing::SubscriptionOptions;

/// Bytes of a payload that are shown.
const SHOWN_BYTES: usize = 256;

/// A line of JSON for each session, each message in its queue, and each retained or spooled message that is settled; then
/// one for each record of the segments, which a start would settle.
pub fn dump(directory: &Path, out: &mut dyn Write) -> Result<(), StoreError> {
    let directory = StoreDirectory::lock_existing(directory)?;
    let settled = Settled::open(&directory.settled_file(), new_meta())?;
    let mut written = Ok(());
    let mut line = |text: String| {
        if written.is_ok() {
            written = writeln!(out, "{text}");
        }
    };
    dump_tables(&settled, &mut line).map_err(settled.at())?;
    dump_segments(&directory, &settled, &mut line)?;
    written.map_err(StoreError::io("write the lines", Path::new("-")))
}

fn dump_tables(settled: &Settled, line: &mut dyn FnMut(String)) -> Outcome<()> {
    let Meta { store_id, seed: _, epoch, shards, next_number, highest: _ } = settled.meta()?;
    line(format!(r#"{{"store":"{store_id:016x}","epoch":{epoch},"shards":{shards},"next_number":{next_number}}}"#));
    settled.sessions(Waiting::All, &mut |session| dump_session(&session, line))?;
    settled.retained(&mut |message| line(format!(r#"{{"retained":{}}}"#, message_json(&message))))?;
    let txn = settled.db()?.begin_read()?;
    for row in txn.open_table(SPOOL)?.iter()? {
        let (id, row) = row?;
        let spooled = Spooled::read(row.value(), &settled.hasher).ok_or_else(|| Trouble::row(SPOOL, id.value()))?;
        line(format!(r#"{{"spooled":{},"message":{}}}"#, id.value(), message_json(&spooled.message)));
    }
    Ok(())
}

fn dump_session(session: &StoredSession, line: &mut dyn FnMut(String)) {
    let StoredSession {
        id,
        client_id,
        owner,
        expiry_secs,
        left_at,
        subscriptions,
        in_flight,
        releases,
        queue,
        received,
        will,
    } = session;
    let id = id.get();
    let left_at = left_at.map_or("null".into(), |at| at.0.to_string());
    let subscriptions: Vec<_> = subscriptions.iter().map(subscription_json).collect();
    let will = will.as_ref().map_or("null".into(), |will| {
        format!(r#"{{"delay_secs":{},"message":{}}}"#, will.delay_secs, message_json(&will.message))
    });
    let owner = owner.as_ref().map_or("null".into(), |Owner { user, mount }| {
        format!(r#"{{"user":{},"mount":{}}}"#, user.as_deref().map_or("null".into(), json), json(mount))
    });
    line(format!(
        r#"{{"session":{id},"client":{},"owner":{owner},"expiry_secs":{expiry_secs},"left_at":{left_at},"subscriptions":[{}],"in_flight":{},"waiting":{},"to_release":{releases:?},"received":{received:?},"will":{will}}}"#,
        json(client_id),
        subscriptions.join(","),
        in_flight.len(),
        queue.len(),
    ));
    for (packet_id, message) in in_flight {
        line(item_json(id, Some(*packet_id), message));
    }
    for item in queue {
        if let StoredItem::Loaded(message) = item {
            line(item_json(id, None, message));
        }
    }
}

fn subscription_json((filter, options): &(Box<str>, SubscriptionOptions)) -> String {
    let SubscriptionOptions { qos, no_local, retain_as_published, id } = options;
    let id = id.map_or("null".into(), |id| id.get().to_string());
    format!(
        r#"{{"filter":{},"qos":{},"no_local":{no_local},"retain_as_published":{retain_as_published},"id":{id}}}"#,
        json(filter),
        *qos as u8,
    )
}

fn item_json(session: u64, packet_id: Option<PacketId>, item: &StoredMessage) -> String {
    let StoredMessage { item, message, copy: StoredCopy { qos, retain, subscription_ids: _, share } } = item;
    let packet_id = packet_id.map_or("null".into(), |id| id.to_string());
    let share = share.as_deref().map_or("null".into(), json);
    format!(
        r#"{{"item":{},"session":{session},"packet_id":{packet_id},"qos":{},"retain":{retain},"share":{share},"message":{}}}"#,
        item.get(),
        *qos as u8,
        message_json(message),
    )
}

fn message_json(message: &Message) -> String {
    let payload = message.body().payload();
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN_BYTES)]);
    format!(
        r#"{{"topic":{},"qos":{},"payload_bytes":{},"payload":{}}}"#,
        json(message.body().topic()),
        message.header().qos as u8,
        payload.len(),
        json(&shown),
    )
}

fn dump_segments(
    directory: &StoreDirectory,
    settled: &Settled,
    line: &mut dyn FnMut(String),
) -> Result<(), StoreError> {
    for shard in directory.shards() {
        for (sequence, path) in directory.segments(shard)? {
            let bytes = fs::read(&path).map_err(StoreError::io("read the segment", &path))?;
            let batches = match Segment::open(&bytes) {
                Ok((_, batches)) => batches,
                Err(error) => {
                    line(format!(
                        r#"{{"segment":{sequence},"shard":{},"damaged":{}}}"#,
                        shard.index(),
                        json(error.what)
                    ));
                    continue;
                }
            };
            let records = batches.flatten().flat_map(|batch| batch.records());
            for record in records {
                let what =
                    record.decode(&settled.hasher).map_or_else(|error| error.what.into(), |what| format!("{what:?}"));
                let (id, offset) = (record.id.get(), record.offset);
                line(format!(r#"{{"record":{id},"segment":{sequence},"offset":{offset},"what":{}}}"#, json(&what)));
            }
        }
    }
    Ok(())
}

fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            // Writing into a string cannot fail.
            control if control.is_control() => drop(write!(out, "\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_such_that_it_stays_one_line() {
        assert_eq!(json("a\"b\\c\nd\u{1}é"), r#""a\"b\\c\u000ad\u0001é""#);
    }
}
