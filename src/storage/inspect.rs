//! A store looked at while no broker has it: `thrum store check` and `thrum store stats`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::directory::StoreDirectory;
use super::error::StoreError;
use super::load::Waiting;
use super::overlay::Spooled;
use super::recovery::new_meta;
use super::rows::{Body, ItemRow};
use super::segment::{Chain, Segment};
use super::settled::{Meta, Rows, Settled};
use super::stretch::{Stretch, decode};
use super::tables::{ITEMS, MESSAGE_COUNTS, MESSAGES, Outcome, SPOOL, Trouble};

/// Looks at every table and segment, says what it finds, and whether all is sound.
pub fn check(directory: &Path, out: &mut dyn Write) -> Result<bool, StoreError> {
    let directory = StoreDirectory::lock_existing(directory)?;
    let mut findings = Findings { out, count: 0 };
    // The engine trusts its pages, and may panic where one is not what it should be.
    let opened = catch_unwind(|| Settled::open_checked(&directory.settled_file(), new_meta()));
    let settled = match opened {
        Ok(Ok(settled)) => Some(settled),
        Ok(Err(error)) => findings.add(&error)?,
        Err(_) => findings.add(&format!("{}: not readable at all", directory.settled_file().display()))?,
    };
    if let Some(settled) = &settled {
        let checked = catch_unwind(AssertUnwindSafe(|| check_tables(settled)));
        match checked {
            Ok(Ok(Rows { sessions, items, retained, .. })) => findings.say(&format!(
                "{}: sound, {sessions} sessions, {items} queued and {retained} retained messages",
                settled.path.display()
            ))?,
            Ok(Err(trouble)) => findings.add(&trouble.at(&settled.path)).map(|_: Option<()>| ())?,
            Err(_) => findings.add(&format!("{}: not readable", settled.path.display())).map(|_: Option<()>| ())?,
        }
    }
    check_segments(&directory, settled.as_ref(), &mut findings)?;
    let is_sound = findings.count == 0;
    let end = if is_sound { "all is sound".into() } else { format!("{} findings", findings.count) };
    findings.say(&end)?;
    Ok(is_sound)
}

/// What was found, as it is told.
struct Findings<'a> {
    out: &'a mut dyn Write,
    count: u64,
}

impl Findings<'_> {
    fn say(&mut self, what: &dyn std::fmt::Display) -> Result<(), StoreError> {
        writeln!(self.out, "{what}").map_err(StoreError::io("write the findings", Path::new("-")))
    }

    /// Nothing is what was found in its place.
    fn add<T>(&mut self, what: &dyn std::fmt::Display) -> Result<Option<T>, StoreError> {
        self.count += 1;
        self.say(what)?;
        Ok(None)
    }
}

/// Every row is what belongs there, and what rows say of each other is true.
fn check_tables(settled: &Settled) -> Outcome<Rows> {
    settled.meta()?;
    settled.numbers()?;
    settled.sessions(Waiting::All, &mut drop)?;
    settled.retained(&mut drop)?;
    let txn = settled.db()?.begin_read()?;
    for row in txn.open_table(SPOOL)?.iter()? {
        let (id, row) = row?;
        Spooled::read(row.value(), &settled.hasher).ok_or_else(|| Trouble::row(SPOOL, id.value()))?;
    }
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for row in txn.open_table(ITEMS)?.iter()? {
        let (key, row) = row?;
        let row = ItemRow::read(row.value()).ok_or_else(|| Trouble::row(ITEMS, key.value()))?;
        if let Body::Shared(id) = row.body {
            *counted.entry(id.get()).or_default() += 1;
        }
    }
    let counts = txn.open_table(MESSAGE_COUNTS)?;
    for row in counts.iter()? {
        let (id, count) = row?;
        if counted.get(&id.value()) != Some(&count.value()) {
            return Err(Trouble::row(MESSAGE_COUNTS, id.value()));
        }
    }
    let messages = txn.open_table(MESSAGES)?.len()?;
    if messages != counts.len()? || messages != counted.len() as u64 {
        return Err(Trouble::Row("messages and those that have them are not as many".into()));
    }
    settled.rows()
}

fn check_segments(
    directory: &StoreDirectory,
    settled: Option<&Settled>,
    findings: &mut Findings<'_>,
) -> Result<(), StoreError> {
    let known = settled.and_then(|settled| Some((settled.meta().ok()?, settled.numbers().ok()?, settled)));
    for shard in directory.shards() {
        let mut chain = known.as_ref().and_then(|(_, numbers, _)| Some(Chain::new(numbers.get(&shard)? + 1)));
        for (sequence, path) in directory.segments(shard)? {
            let stretch = Stretch { path: &path, shard, sequence, last_number: u64::MAX };
            let meta = known.as_ref().map(|(meta, _, settled)| (meta, *settled));
            check_segment(&stretch, meta, &mut chain, findings)?;
        }
    }
    Ok(())
}

/// Goes on behind what is damaged, to find all of it.
fn check_segment(
    stretch: &Stretch<'_>,
    known: Option<(&Meta, &Settled)>,
    chain: &mut Option<Chain>,
    findings: &mut Findings<'_>,
) -> Result<(), StoreError> {
    let bytes = fs::read(stretch.path).map_err(StoreError::io("read the segment", stretch.path))?;
    let name = stretch.path.display();
    let (header, mut batches) = match Segment::open(&bytes) {
        Ok(opened) => opened,
        Err(error) => return findings.add(&format!("{name}: {error}")).map(|_: Option<()>| ()),
    };
    let is_of_log = known.map_or(Ok(true), |(meta, _)| stretch.is_of_log(&header, meta));
    match is_of_log {
        Ok(true) => {}
        Ok(false) => return findings.say(&format!("{name}: of an earlier start, settled")),
        Err(error) => return findings.add(&error).map(|_: Option<()>| ()),
    }
    let before = findings.count;
    let mut records = 0;
    for batch in batches.by_ref() {
        let checked = batch.and_then(|batch| {
            records += batch.last + 1 - batch.first;
            if let Some((_, settled)) = known {
                decode(&batch, &settled.hasher)?;
            }
            let chained = chain.as_mut().map_or(Ok(true), |chain| chain.take(&batch));
            // A gap is told once.
            chained.inspect_err(|_| *chain = Some(Chain::new(batch.last + 1)))
        });
        if let Err(error) = checked {
            findings.add::<()>(&format!("{name}: {error}"))?;
        }
    }
    if let Some(torn) = batches.torn() {
        let bytes = bytes.len() as u64 - torn.offset;
        findings
            .say(&format!("{name}: the last commit did not come to its end, {bytes} bytes from {} on", torn.offset))?;
    }
    match findings.count == before {
        true => findings.say(&format!("{name}: sound, {records} records")),
        false => Ok(()),
    }
}

/// What is in it, in numbers.
pub fn stats(directory: &Path, out: &mut dyn Write) -> Result<(), StoreError> {
    let directory = StoreDirectory::lock_existing(directory)?;
    let settled = Settled::open(&directory.settled_file(), new_meta())?;
    let Meta { epoch, shards, .. } = settled.meta().map_err(settled.at())?;
    let Rows { sessions, subscriptions, items, retained, spooled, file_bytes } =
        settled.rows().map_err(settled.at())?;
    let (mut segments, mut segment_bytes) = (0, 0);
    for shard in directory.shards() {
        for (_, path) in directory.segments(shard)? {
            segments += 1;
            segment_bytes += fs::metadata(path).map_or(0, |file| file.len());
        }
    }
    let lines = [
        ("starts", epoch),
        ("shards", shards),
        ("sessions", sessions),
        ("subscriptions", subscriptions),
        ("queued messages", items),
        ("retained messages", retained),
        ("messages between shards", spooled),
        ("bytes", file_bytes),
        ("segments to be settled", segments),
        ("bytes of segments", segment_bytes),
    ];
    for (name, value) in lines {
        writeln!(out, "{name}: {value}").map_err(StoreError::io("write the numbers", Path::new("-")))?;
    }
    Ok(())
}
