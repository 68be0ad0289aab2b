//! Segments as crashes and decay leave them.

use super::super::batch::Batch as Forming;
use super::super::samples::{number, numbered};
use super::*;

const FREE_BYTES: usize = 3 * BLOCK_BYTES;

fn header(sequence: u64) -> Header {
    Header { store_id: 0x5eed, epoch: 4, shard: ShardId::new(3), sequence }
}

/// The batches of so many records each, from this number on, in a file with room behind them.
fn segment(header: Header, first: u64, batches: &[usize]) -> Vec<u8> {
    let mut file = header.to_block().to_vec();
    let mut next = first;
    for (index, &records) in batches.iter().enumerate() {
        let mut batch: Forming<Vec<u8>> = Forming::new(next, 0);
        for _ in 0..records {
            batch.push(&numbered(next, 1500));
            next += 1;
        }
        batch.seal(header.salt(), header.sequence, index as u32, file.len() as u64);
        file.extend_from_slice(&batch.share().buffer());
    }
    file.resize(file.len() + FREE_BYTES, 0);
    file
}

/// The numbers of the records that are there, whether a batch was torn, and the damage.
type Found = (Vec<u64>, bool, Option<SegmentError>);

fn read(bytes: &[u8]) -> Result<Found, SegmentError> {
    let (_, mut batches) = Segment::open(bytes)?;
    let (mut numbers, mut damage) = (Vec::new(), None);
    for batch in batches.by_ref() {
        match batch {
            Ok(batch) => numbers.extend(numbers_of(&batch)),
            Err(error) => {
                damage = Some(error);
                break;
            }
        }
    }
    Ok((numbers, batches.torn().is_some(), damage))
}

fn numbers_of(batch: &Batch<'_>) -> Vec<u64> {
    let hasher = super::super::samples::hasher();
    let numbers: Vec<u64> = batch.records().map(|record| number(&record.decode(&hasher).expect("a record"))).collect();
    assert_eq!(numbers, (batch.first..=batch.last).collect::<Vec<_>>());
    let ids: Vec<RecordId> = batch.records().map(|record| record.id).collect();
    let due = numbers.iter().filter_map(|&number| RecordId::new(number, ShardId::new(3)));
    assert_eq!(ids, due.collect::<Vec<_>>());
    numbers
}

/// Where the batches begin, and where their records end.
fn extents(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (_, batches) = Segment::open(bytes).expect("a segment");
    let extent = |batch: Batch<'_>| {
        let from = batch.offset as usize;
        (from, from + BATCH_HEADER_BYTES + batch.records.len())
    };
    batches.map(|batch| extent(batch.expect("no damage"))).collect()
}

#[test]
fn what_was_written_is_there_with_its_numbers() {
    let bytes = segment(header(9), 11, &[1, 4, 2]);
    assert_eq!(Segment::open(&bytes).expect("a segment").0, header(9));
    assert_eq!(read(&bytes), Ok(((11..18).collect(), false, None)));
    assert_eq!(read(&segment(header(9), 11, &[])), Ok((vec![], false, None)));
}

#[test]
fn wherever_a_segment_is_cut_the_batches_before_are_there() {
    let bytes = segment(header(9), 11, &[1, 4, 2]);
    let extents = extents(&bytes);
    let ends = [0, 1, 5, 7];
    for len in 0..bytes.len() {
        let Ok((numbers, torn, damage)) = read(&bytes[..len]) else {
            assert!(len < BLOCK_BYTES);
            continue;
        };
        let whole = extents.iter().filter(|(_, end)| *end <= len).count();
        assert_eq!(numbers, (11..11 + ends[whole]).collect::<Vec<_>>(), "{len}");
        assert_eq!(damage, None, "{len}");
        let is_begun = extents.get(whole).is_some_and(|(from, _)| from + BATCH_HEADER_BYTES <= len);
        assert_eq!(torn, is_begun, "{len}");
    }
}

/// A batch is written in one go, but a disk writes its sectors in any order.
#[test]
fn whatever_sectors_of_the_last_batch_are_missing_those_before_it_are_there() {
    const SECTOR: usize = 512;
    let bytes = segment(header(9), 11, &[2, 4]);
    let former = segment(header(8), 111, &[2, 4]);
    let (from, end) = extents(&bytes)[1];
    let sectors = (end - from).div_ceil(SECTOR);
    assert!(sectors < 16);
    for lost in 1..1u32 << sectors {
        let mut torn = bytes.clone();
        for sector in (0..sectors).filter(|sector| lost & 1 << sector != 0) {
            let at = from + sector * SECTOR;
            torn[at..at + SECTOR].copy_from_slice(&former[at..at + SECTOR]);
        }
        let (numbers, is_torn, damage) = read(&torn).expect("a segment");
        assert_eq!((numbers, damage), (vec![11, 12], None), "{lost:b}");
        // Without its header nothing tells of it.
        assert_eq!(is_torn, lost & 1 == 0, "{lost:b}");
    }
}

#[test]
fn whatever_byte_is_wrong_nothing_wrong_is_read_and_it_is_found_but_at_the_end() {
    let bytes = segment(header(9), 11, &[1, 2, 1]);
    let extents = extents(&bytes);
    let blocks = |index: usize| extents.get(index).map_or(bytes.len() - FREE_BYTES, |(from, _)| *from);
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        let found = read(&wrong);
        if at < BLOCK_BYTES {
            assert!(found.is_err(), "{at}");
            continue;
        }
        let (numbers, _, damage) = found.expect("a header");
        let index = (0..4).rfind(|&index| blocks(index) <= at).expect("behind the header");
        assert_eq!(numbers, (11..[11, 12, 14, 15][index]).collect::<Vec<_>>(), "{at}");
        match index {
            0 | 1 => {
                let offset = damage.expect("damage").offset as usize;
                assert!((extents[index].0..blocks(index + 1)).contains(&offset), "{at}: {offset}");
            }
            _ => assert_eq!(damage, None, "{at}"),
        }
    }
}

#[test]
fn behind_damage_the_next_batch_is_read_on() {
    let mut bytes = segment(header(9), 11, &[1, 2, 1]);
    let (from, _) = extents(&bytes)[1];
    bytes[from + BATCH_HEADER_BYTES + 20] ^= 1;
    let (_, batches) = Segment::open(&bytes).expect("a segment");
    let found: Vec<_> = batches.map(|batch| batch.map(|batch| batch.first).map_err(|error| error.offset)).collect();
    assert_eq!(found, [Ok(11), Err((from + BATCH_HEADER_BYTES) as u64), Ok(14)]);
}

/// What is not written over yet of what the file had been shows at no place.
#[test]
fn nothing_of_a_files_former_life_is_read() {
    for former in [
        segment(header(8), 11, &[1, 2, 1, 3]),
        segment(header(8), 12, &[1, 2, 1, 3]),
        segment(Header { epoch: 3, ..header(9) }, 12, &[1, 2, 1, 3]),
        segment(Header { store_id: 1, ..header(9) }, 12, &[1, 2, 1, 3]),
        segment(Header { shard: ShardId::new(4), ..header(9) }, 12, &[1, 2, 1, 3]),
    ] {
        for batches in [&[][..], &[1], &[2], &[1, 2], &[3, 3]] {
            let new = segment(header(9), 11, batches);
            let written = new.len() - FREE_BYTES;
            let mut file = former.clone();
            file[..written].copy_from_slice(&new[..written]);
            let due = 11 + batches.iter().sum::<usize>() as u64;
            let (numbers, _, damage) = read(&file).expect("a segment");
            assert_eq!((numbers, damage), ((11..due).collect(), None));
        }
    }
}

/// A client may publish the bytes of a whole segment, and have its batches begin where batches begin.
#[test]
fn a_message_that_looks_like_batches_is_a_message() {
    let looks = segment(header(9), 11, &[1, 2, 1]);
    for shift in [0, 1, 100] {
        let mut payload = vec![0; shift];
        payload.extend_from_slice(&looks);
        let message = super::super::samples::message(crate::mqtt::QoS::AtLeastOnce, false, 0, "t", &payload);
        let mut batch: Forming<Vec<u8>> = Forming::new(11, 0);
        batch.push(&Record::Message { message });
        batch.seal(header(9).salt(), 9, 0, BLOCK_BYTES as u64);
        let mut file = header(9).to_block().to_vec();
        file.extend_from_slice(&batch.share().buffer());
        // Torn: its own header counts, nothing in it does.
        let last = file.len() - BLOCK_BYTES;
        file[last] ^= 1;
        let (_, mut batches) = Segment::open(&file).expect("a segment");
        assert!(batches.next().is_none());
        assert!(batches.torn().is_some());
    }
}

#[test]
fn a_batch_that_is_not_the_one_due_is_damage() {
    let one = segment(header(9), 11, &[1, 1, 1]);
    let other = segment(header(9), 21, &[1, 1, 1]);
    let mut file = one.clone();
    file[2 * BLOCK_BYTES..].copy_from_slice(&other[2 * BLOCK_BYTES..]);
    let (numbers, _, damage) = read(&file).expect("a segment");
    assert_eq!((numbers, damage.map(|damage| damage.offset)), (vec![11], Some(2 * BLOCK_BYTES as u64)));
}

#[test]
fn what_is_no_segment_says_why() {
    let good = segment(header(9), 11, &[]);
    let why = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Segment::open(&bytes).expect_err("no segment").what
    };
    assert_eq!(why(&|bytes| bytes.truncate(BLOCK_BYTES - 1)), "a file too short for a segment");
    assert_eq!(why(&|bytes| bytes[0] = b'X'), "a file that is no segment");
    assert_eq!(why(&|bytes| bytes[12] = 2), "a segment of a format version that this program does not know");
    assert_eq!(why(&|bytes| bytes[20] ^= 1), "a damaged segment header");
    let shard = |bytes: &mut Vec<u8>| {
        bytes[40] = 64;
        let crc = crc32c(&bytes[12..BLOCK_BYTES]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    };
    assert_eq!(why(&shard), "a segment of a shard that cannot be");
}

#[test]
fn a_chain_takes_each_batch_once_and_misses_none() {
    let take = |chain: &mut Chain, first: u64, records: usize| {
        let bytes = segment(header(1), first, &[records]);
        let batch = Segment::open(&bytes).expect("a segment").1.next().expect("a batch").expect("no damage");
        chain.take(&batch)
    };
    let mut chain = Chain::new(11);
    assert_eq!(take(&mut chain, 9, 2), Ok(false));
    assert_eq!(take(&mut chain, 11, 2), Ok(true));
    assert_eq!(take(&mut chain, 11, 2), Ok(false));
    assert_eq!(chain.next(), 13);
    assert!(take(&mut chain, 14, 1).is_err_and(|error| error.what.contains("missing")));
    assert!(take(&mut chain, 12, 2).is_err_and(|error| error.what.contains("only in part")));
    assert_eq!(take(&mut chain, 13, 2), Ok(true));
}

/// The format is what files of former versions have: these bytes may not change.
#[test]
fn the_format_is_this() {
    let bytes = segment(header(9), 11, &[1]);
    assert_eq!(bytes[..8], *b"THRUMLOG");
    let crcs = [u32_at(&bytes, 8), u32_at(&bytes, BLOCK_BYTES + 4), u32_at(&bytes, BLOCK_BYTES + 44)];
    assert_eq!(crcs, [0x8262_860e, 0x9ba0_786e, 0x904a_7ee7], "{crcs:x?}");
}
