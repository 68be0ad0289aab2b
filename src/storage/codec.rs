//! A record as bytes. Its kind is a number that never changes its meaning; its body has the fields in the order of the
//! variant's declaration, but that a message stands last.

use super::wire::{
    Reader, Sink, put_copy, put_id, put_message, put_option, put_options, put_owner, put_packet_id, put_text,
    put_timestamp, put_u32, put_will,
};
use crate::broker::{Record, StoredWill};
use crate::routing::TopicHasher;

/// What is stored beside the body, and tells what it is.
pub const fn kind(record: &Record) -> u8 {
    match record {
        Record::SessionStarted { owner: None, .. } => 1,
        Record::SessionResumed { .. } => 2,
        Record::SessionLeft { .. } => 3,
        Record::SessionEnded { .. } => 4,
        Record::Subscribed { .. } => 5,
        Record::Unsubscribed { .. } => 6,
        Record::Message { .. } => 7,
        Record::Queued { .. } => 8,
        Record::Sent { .. } => 9,
        Record::Dequeued { .. } => 10,
        Record::Received { .. } => 11,
        Record::Completed { .. } => 12,
        Record::Accepted { .. } => 13,
        Record::Released { .. } => 14,
        Record::Retained { .. } => 15,
        Record::RetainedCleared { .. } => 16,
        Record::Will { .. } => 17,
        Record::WillGone { .. } => 18,
        Record::Spooled { .. } => 19,
        Record::Arrived { .. } => 20,
        Record::Unspooled { .. } => 21,
        Record::SessionStarted { owner: Some(_), .. } => 22,
        Record::SessionOwned { .. } => 23,
    }
}

/// Appends the record's body.
pub fn put(record: &Record, out: &mut impl Sink) {
    match record {
        Record::SessionStarted { client_id, expiry_secs, owner } => {
            put_text(out, client_id);
            put_u32(out, *expiry_secs);
            // Its kind says whether there is one.
            if let Some(owner) = owner {
                put_owner(out, owner);
            }
        }
        Record::SessionOwned { session, owner } => {
            put_id(out, *session);
            put_owner(out, owner);
        }
        Record::SessionResumed { session, expiry_secs } => {
            put_id(out, *session);
            put_u32(out, *expiry_secs);
        }
        Record::SessionLeft { session, at, expiry_secs } => {
            put_id(out, *session);
            put_timestamp(out, *at);
            put_u32(out, *expiry_secs);
        }
        Record::SessionEnded { session: id }
        | Record::WillGone { session: id }
        | Record::Arrived { spooled: id }
        | Record::Unspooled { spooled: id } => put_id(out, *id),
        Record::Subscribed { session, filter, options } => {
            put_id(out, *session);
            put_text(out, filter);
            put_options(out, *options);
        }
        Record::Unsubscribed { session, filter } => {
            put_id(out, *session);
            put_text(out, filter);
        }
        Record::Message { message } | Record::Retained { message } => put_message(out, message),
        Record::Queued { session, message, copy, sent } => {
            put_id(out, *session);
            put_id(out, *message);
            put_copy(out, copy);
            put_option(out, *sent, put_packet_id);
        }
        Record::Sent { session, item, packet_id } | Record::Received { session, item, packet_id } => {
            put_id(out, *session);
            put_id(out, *item);
            put_packet_id(out, *packet_id);
        }
        Record::Dequeued { session, item } => {
            put_id(out, *session);
            put_id(out, *item);
        }
        Record::Completed { session, packet_id }
        | Record::Accepted { session, packet_id }
        | Record::Released { session, packet_id } => {
            put_id(out, *session);
            put_packet_id(out, *packet_id);
        }
        Record::RetainedCleared { topic } => put_text(out, topic),
        Record::Will { session, message, delay_secs, expiry_secs } => {
            put_id(out, *session);
            put_will(out, message, *delay_secs, *expiry_secs);
        }
        Record::Spooled { message, publisher, share } => {
            put_option(out, *publisher, put_id);
            put_option(out, share.as_deref(), put_text);
            put_message(out, message);
        }
    }
}

/// `None` where the bytes are not what [`put`] writes of a record of this kind.
pub fn read(kind: u8, body: &[u8], hasher: &TopicHasher) -> Option<Record> {
    let mut reader = Reader::new(body);
    let record = read_body(kind, &mut reader, hasher)?;
    reader.end()?;
    Some(record)
}

fn read_body(kind: u8, from: &mut Reader<'_>, hasher: &TopicHasher) -> Option<Record> {
    Some(match kind {
        1 => Record::SessionStarted { client_id: from.text()?.into(), expiry_secs: from.u32()?, owner: None },
        2 => Record::SessionResumed { session: from.id()?, expiry_secs: from.u32()? },
        3 => Record::SessionLeft { session: from.id()?, at: from.timestamp()?, expiry_secs: from.u32()? },
        4 => Record::SessionEnded { session: from.id()? },
        5 => Record::Subscribed { session: from.id()?, filter: from.text()?.into(), options: from.read_options()? },
        6 => Record::Unsubscribed { session: from.id()?, filter: from.text()?.into() },
        7 => Record::Message { message: from.message(hasher)? },
        8 => Record::Queued {
            session: from.id()?,
            message: from.id()?,
            copy: from.read_copy()?,
            sent: from.option(Reader::packet_id)?,
        },
        9 => Record::Sent { session: from.id()?, item: from.id()?, packet_id: from.packet_id()? },
        10 => Record::Dequeued { session: from.id()?, item: from.id()? },
        11 => Record::Received { session: from.id()?, item: from.id()?, packet_id: from.packet_id()? },
        12 => Record::Completed { session: from.id()?, packet_id: from.packet_id()? },
        13 => Record::Accepted { session: from.id()?, packet_id: from.packet_id()? },
        14 => Record::Released { session: from.id()?, packet_id: from.packet_id()? },
        15 => Record::Retained { message: from.message(hasher)? },
        16 => Record::RetainedCleared { topic: from.text()?.into() },
        17 => {
            let session = from.id()?;
            let StoredWill { message, delay_secs, expiry_secs } = from.read_will(hasher)?;
            Record::Will { session, message, delay_secs, expiry_secs }
        }
        18 => Record::WillGone { session: from.id()? },
        19 => {
            let publisher = from.option(Reader::id)?;
            let share = from.option(Reader::text)?.map(Into::into);
            Record::Spooled { message: from.message(hasher)?, publisher, share }
        }
        20 => Record::Arrived { spooled: from.id()? },
        21 => Record::Unspooled { spooled: from.id()? },
        22 => Record::SessionStarted {
            client_id: from.text()?.into(),
            expiry_secs: from.u32()?,
            owner: Some(from.read_owner()?),
        },
        23 => Record::SessionOwned { session: from.id()?, owner: from.read_owner()? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{hasher, one_of_each, records};
    use super::*;

    fn body(record: &Record) -> Vec<u8> {
        let mut body = Vec::new();
        put(record, &mut body);
        body
    }

    proptest! {
        #[test]
        fn a_record_reads_as_it_was_written_and_neither_cut_nor_with_more_behind_it(record in records()) {
            let (kind, mut body) = (kind(&record), body(&record));
            prop_assert_eq!(read(kind, &body, &hasher()), Some(record.clone()));
            // A message ends with its payload, whose length is behind no limit of its own: the length before it says so.
            for len in 0..body.len() {
                prop_assert_eq!(read(kind, &body[..len], &hasher()), None);
            }
            body.push(0);
            prop_assert_eq!(read(kind, &body, &hasher()), None);
        }

        #[test]
        fn any_bytes_are_a_record_that_is_written_so_or_none(kind in 0..30u8, bytes in prop::collection::vec(0..4u8, 0..60)) {
            if let Some(record) = read(kind, &bytes, &hasher()) {
                prop_assert_eq!((super::kind(&record), body(&record)), (kind, bytes));
            }
        }
    }

    /// What was written once has to be read for ever: neither a kind's number nor its form may change.
    #[test]
    fn every_kind_keeps_its_number_and_its_form() {
        let session = "4300000000000000";
        let message = "1d000000020105000000000000004d00000000000000000174007061796c6f6164";
        let forms = [
            "010000006307000000".to_owned(),
            format!("{session}07000000"),
            format!("{session}060000000000000007000000"),
            session.to_owned(),
            format!("{session}010000006602010000"),
            format!("{session}0100000066"),
            message.to_owned(),
            format!("{session}03020000000000000101010000002c010000010a0000002473686172652f672f66010100"),
            format!("{session}43020000000000000100"),
            format!("{session}4302000000000000"),
            format!("{session}43020000000000000100"),
            format!("{session}0100"),
            format!("{session}0100"),
            format!("{session}0100"),
            message.to_owned(),
            "0100000074".to_owned(),
            format!("{session}010000000102000000{message}"),
            session.to_owned(),
            format!("01{session}00{message}"),
            "4301000000000000".to_owned(),
            "4301000000000000".to_owned(),
            "0100000063070000000103000000616461020000006d2f".to_owned(),
            format!("{session}0000000000"),
        ];
        for ((record, form), number) in one_of_each().iter().zip(forms).zip(1..) {
            let hex: String = body(record).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((kind(record), hex), (number, form), "{record:?}");
            assert_eq!(read(number, &body(record), &hasher()).as_ref(), Some(record));
        }
        assert_eq!(read(0, &[], &hasher()), None);
        assert_eq!(read(24, &[], &hasher()), None);
    }
}
