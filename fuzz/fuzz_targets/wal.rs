//! The log's reader. Any bytes as a segment and as a record; and a segment that the log has written of the input's records,
//! with bytes of it changed as the input says: what is read of it is what was written, from the first record on.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use thrum::base::{RecordId, ShardId};
use thrum::broker::Record;
use thrum::routing::TopicHasher;
use thrum::storage::segment::{Chain, Segment};
use thrum::storage::{Durability, Lane, Log, LogOptions, Operation, codec};

/// No input needs more: a batch of its own for each group, and twice their bytes.
const SEGMENT_BYTES: u64 = 1 << 20;
const INPUT_BYTES_MAX: usize = 4096;
const GROUPS_MAX: usize = 200;

fuzz_target!(|input: &[u8]| {
    let hasher = TopicHasher::new(1);
    any_segment(input, &hasher);
    let input = &input[..input.len().min(INPUT_BYTES_MAX)];
    let Some((damages, rest)) = input.split_first() else { return };
    let (damages, mut rest) = rest.split_at(rest.len().min(usize::from(damages % 4) * 4));
    let mut groups = vec![Vec::new()];
    while let Some((&[len, kind], behind)) = rest.split_first_chunk() {
        let (body, behind) = behind.split_at(behind.len().min(usize::from(len)));
        rest = behind;
        if let Some(record) = codec::read(kind % 32, body, &hasher) {
            let mut written = Vec::new();
            codec::put(&record, &mut written);
            assert_eq!((codec::kind(&record), written.as_slice()), (kind % 32, body));
            groups.last_mut().expect("never empty").push(record);
        }
        // The high bit ends a batch.
        if kind >= 0x80 && groups.len() < GROUPS_MAX {
            groups.push(Vec::new());
        }
    }
    changed_segment(&groups, damages, &hasher);
});

fn any_segment(bytes: &[u8], hasher: &TopicHasher) {
    let Ok((_, mut batches)) = Segment::open(bytes) else { return };
    let (mut chain, mut found) = (Chain::new(1), 0);
    for batch in batches.by_ref() {
        found += 1;
        let Ok(batch) = batch else { continue };
        let _ = chain.take(&batch);
        for record in batch.records() {
            let _ = record.decode(hasher);
        }
    }
    assert!(found <= bytes.len() / 2048, "more batches and damages than blocks");
    let _ = batches.torn();
}

fn changed_segment(groups: &[Vec<Record>], damages: &[u8], hasher: &TopicHasher) {
    let mut file = written(groups);
    for damage in damages.chunks_exact(4) {
        let at = u32::from_le_bytes([damage[0], damage[1], damage[2], 0]) as usize % file.len();
        file[at] ^= damage[3];
    }
    let records: Vec<&Record> = groups.iter().flatten().collect();
    let Ok((_, batches)) = Segment::open(&file) else { return };
    let mut due = 0;
    for batch in batches {
        let Ok(batch) = batch else { break };
        for record in batch.records() {
            assert_eq!(RecordId::new(due as u64 + 1, ShardId::new(0)), Some(record.id));
            assert_eq!(record.decode(hasher).as_ref(), Ok(records[due]));
            due += 1;
        }
    }
    // Nothing of it was lost where nothing was changed.
    assert!(due == records.len() || damages.chunks_exact(4).any(|damage| damage[3] != 0));
}

/// The only segment of a log of these records, one batch a group.
fn written(groups: &[Vec<Record>]) -> Vec<u8> {
    let options = LogOptions {
        store_id: 1,
        epoch: 1,
        shard: ShardId::new(0),
        next_number: 1,
        durability: Durability::Commit,
        commit_delay: Duration::ZERO,
        commit_bytes_max: 1,
        segment_bytes: SEGMENT_BYTES,
        segments_max: 1,
    };
    let (mut log, now) = (Log::<Vec<u8>>::new(options, &[]), Instant::now());
    let mut file = Vec::new();
    for group in groups {
        log.record(now, &mut group.clone());
    }
    for lane in [Lane::Upkeep, Lane::Commit] {
        while let Some(operation) = log.next(now, lane) {
            if let Operation::Write { offset, buffer, .. } = operation {
                let (from, end) = (offset as usize, offset as usize + buffer.len());
                file.resize(file.len().max(end), 0);
                file[from..end].copy_from_slice(&buffer);
            }
            log.done(now, lane, Ok(()));
        }
    }
    assert_eq!(log.synced(), log.recorded());
    file
}
