use std::time::SystemTime;

use tokio::time::Instant;

use super::*;
use crate::ledger::Ledger;

const LIFE: &str = "a-life";

fn life() -> Option<Life> {
    Some(LIFE.into())
}

/// Ranges, as a start and an end each.
type Spans = [(i64, i64)];

fn spans(known: &Known) -> Vec<(i64, i64)> {
    known.from(0).map(|range| (range.start, range.end)).collect()
}

fn known(text: &str, position: i64) -> Vec<(i64, i64)> {
    spans(&Known::read(text, position, life()))
}

fn written(position: i64, spans: &Spans, bytes_max: usize) -> Option<String> {
    write(LIFE, Some(3), position, spans.iter().map(|(start, end)| *start..*end), bytes_max)
}

fn text(position: i64, spans: &Spans) -> String {
    written(position, spans, 4_096).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let ranges = [(101, 102), (110, 5_000), (1 << 40, (1 << 40) + 1)];
    assert_eq!(known(&text(100, &ranges), 100), ranges);
    assert_eq!(known(&text(0, &[(0, 1)]), 0), [(0, 1)]);
    assert_eq!(text(100, &[(101, 102), (102, 140)]), text(100, &[(101, 140)]), "neighbours are one");
    assert_eq!(write(LIFE, None, 100, std::iter::empty(), 4_096), None, "nothing to say");
    assert_eq!(text(100, &[(101, 102), (110, 5_000)]), "kwp1:a-life:EkDBBI64E", "the form does not change unnoticed");
}

#[test]
fn only_a_text_of_this_form_life_and_position_is_believed() {
    let ours = text(100, &[(101, 200)]);
    assert!(!known(&ours, 100).is_empty());
    assert!(known(&ours, 99).is_empty(), "somebody reset the group");
    assert!(Known::read(&ours, 100, Some("another".into())).is_empty(), "the topic was made anew");
    assert!(Known::read(&ours, 100, None).is_empty());
    for foreign in [
        "",
        "host-7",
        "kwp2:a-life:EkDBBI64E",
        "kwp1:",
        "kwp1:a-life",
        "kwp1:a-life:",
        "kwp1:a-life:E!",
        "kwp1:a-life:EkDB",
    ] {
        assert!(known(foreign, 100).is_empty(), "{foreign}");
    }
    let parallel_consumer = "bAAMAAAAAAAAAAAAA";
    assert!(known(parallel_consumer, 100).is_empty());
    let endless = format!("kwp1:{LIFE}:EkD{}", "_".repeat(40));
    assert!(known(&endless, 100).is_empty());
}

#[test]
fn the_lowest_ranges_that_fit_are_kept() {
    let ranges: Vec<(i64, i64)> = (0..3_000).map(|at| (2 * at + 1, 2 * at + 2)).collect();
    let text = text(0, &ranges);
    assert!((4_090..=4_096).contains(&text.len()), "{}", text.len());
    let kept = known(&text, 0);
    assert_eq!(kept, ranges[..kept.len()]);
    assert!(kept.len() > 2_000, "{}", kept.len());
    assert_eq!(written(0, &ranges, 15), None, "no room for one");
}

#[test]
fn records_of_a_later_leader_are_others() {
    let read = || Known::read(&text(100, &[(101, 110), (120, 130)]), 100, life());
    let mut known = read();
    known.hold_against(100, Some(3));
    assert!(known.was_done(105) && known.was_done(125) && !known.was_done(130));
    let mut known = read();
    known.hold_against(125, Some(4));
    assert_eq!(spans(&known), [(101, 110), (120, 125)]);
    known.hold_against(105, None);
    assert_eq!(spans(&known), [(101, 105)], "without an epoch nothing is sure");
    known.hold_against(100, Some(9));
    assert!(known.is_empty());
}

/// A number below `below` of a sequence that depends on the seed alone.
fn draw(seed: &mut u64, below: u32) -> u32 {
    *seed = worker_pool::mix(*seed);
    u32::try_from(*seed % u64::from(below)).unwrap()
}

/// A record of a random log: its offset and its key.
type Drawn = (i64, u64);

/// Books in which each key is done from its start, some records as soon as they come, others in any order and not all; with all records and
/// those that are not done.
fn books(seed: &mut u64) -> (Ledger, Vec<Drawn>, Vec<Drawn>) {
    let (mut ledger, mut records) = (Ledger::default(), Vec::new());
    let mut open: Vec<(Drawn, u64)> = Vec::new();
    let mut offset = i64::from(draw(seed, 50));
    for _ in 0..draw(seed, 400) {
        let gap = if draw(seed, 4) == 0 { draw(seed, 100) } else { 0 };
        offset += 1 + i64::from(gap);
        let key = u64::from(draw(seed, 30));
        records.push((offset, key));
        let waits = open.iter().any(|((_, before), _)| *before == key);
        if !waits && draw(seed, 3) == 0 {
            ledger.done_at_once(offset);
        } else {
            open.push(((offset, key), ledger.dispatch(offset, key, 1, Instant::now())));
        }
        if draw(seed, 2) == 0 && !open.is_empty() {
            let (_, key) = open[draw(seed, u32::try_from(open.len()).unwrap()) as usize].0;
            let first = open.iter().position(|((_, of), _)| *of == key).unwrap();
            ledger.complete(open.remove(first).1);
        }
        if draw(seed, 8) == 0 {
            ledger.thin_out(draw(seed, 4) as usize);
        }
        // The watermark is a lower bound that reaches as far as all is done.
        let reached = |at: i64| records.iter().all(|record| record.0 >= at || !open.iter().any(|(of, _)| of == record));
        assert!(ledger.watermark().is_none_or(reached) && ledger.undone() == open.len());
        assert_eq!(ledger.first_undone(), open.iter().map(|((at, _), _)| *at).min());
    }
    (ledger, records, open.into_iter().map(|(record, _)| record).collect())
}

#[test]
fn whatever_the_books_no_record_is_forgotten_and_each_key_is_done_from_its_start() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    for round in 0..500_u64 {
        let begun = u64::from(now) + (round << 32);
        let mut seed = begun;
        let (ledger, records, open) = books(&mut seed);
        let Some(position) = ledger.watermark().or(ledger.first_undone()) else {
            continue;
        };
        let bytes_max = 20 + draw(&mut seed, 300) as usize;
        let text = write(LIFE, Some(3), position, ledger.done_ahead(), bytes_max).unwrap_or_default();
        assert!(text.len() <= bytes_max, "seed {begun}");
        let mut known = Known::read(&text, position, life());
        let told = known.from(0).last().map_or(position, |range| range.end);
        let again: Vec<Drawn> =
            records.iter().copied().filter(|(at, _)| *at >= position && !known.was_done(*at)).collect();
        for undone in &open {
            assert!(again.contains(undone), "seed {begun}: {undone:?} is not done and not handed out");
        }
        for (at, key) in records.iter().filter(|record| record.0 >= position && !again.contains(record)) {
            assert!(!again.iter().any(|(before, of)| of == key && before < at), "seed {begun}: {key} swaps at {at}");
        }
        let needless = again.iter().filter(|record| record.0 < told && !open.contains(record)).count();
        assert_eq!(needless, 0, "seed {begun}: as far as the text tells, only what is not done comes again");
    }
}
