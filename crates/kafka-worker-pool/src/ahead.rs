//! What is done above a position that stands still: ranges of offsets, which Kafka keeps as text, beside the position, in the metadata of the
//! commit. Pure.
//!
//! The text is `kwp1:<life of the topic>:<numbers>`. The numbers are the leader epoch up to which it holds (plus one; 0: none is known), the position
//! it stands beside, and then, in turn, how many offsets are not told of and in how many all is done. Each number is written in digits of
//! five bits, the lowest first, as characters of [`DIGITS`]: the sixth bit says that more follow.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The first of every text of this form. Another form begins with another number, and is nobody's here.
const FORM: &str = "kwp1:";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Added to a digit that is not the last.
const MORE: usize = 32;

/// One life of a topic: deleted and made anew it has another.
pub(crate) type Life = Arc<str>;

/// What an assignment knows of offsets above the position it began at.
#[derive(Debug, Default)]
pub(crate) struct Known {
    life: Option<Life>,
    /// Records of a later leader are others than those that were done.
    epoch: Option<i32>,
    /// In rising order; no two overlap.
    done: VecDeque<Range<i64>>,
}

impl Known {
    /// Nothing is known to be done. Without a life nothing will be written down either.
    pub(crate) fn nothing(life: Option<Life>) -> Self {
        Self { life, ..Self::default() }
    }

    /// What stands beside a committed position: nothing, if it is none of our texts, or of another life or position.
    pub(crate) fn read(text: &str, position: i64, life: Option<Life>) -> Self {
        let found = life.as_deref().and_then(|life| read(text, life, position));
        let (epoch, done) = found.unwrap_or_default();
        Self { life, epoch, done }
    }

    pub(crate) fn life(&self) -> Option<&str> {
        self.life.as_deref()
    }

    pub(crate) fn epoch(&self) -> Option<i32> {
        self.epoch
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// A record has come, written under this epoch: what is known holds for epochs it knows of, and they only rise.
    pub(crate) fn hold_against(&mut self, offset: i64, epoch: Option<i32>) {
        if epoch.is_some() && epoch <= self.epoch {
            return;
        }
        while let Some(last) = self.done.back_mut().filter(|last| last.end > offset) {
            last.end = offset;
            if last.start < offset {
                return;
            }
            self.done.pop_back();
        }
    }

    /// True if this record was done. Offsets come in rising order, and ranges below are forgotten.
    pub(crate) fn was_done(&mut self, offset: i64) -> bool {
        while self.done.front().is_some_and(|first| first.end <= offset) {
            self.done.pop_front();
        }
        self.done.front().is_some_and(|first| first.start <= offset)
    }

    /// What is known from this offset on.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = Range<i64>> {
        let upper = self.done.iter().filter(move |range| range.end > offset);
        upper.map(move |range| range.start.max(offset)..range.end)
    }
}

/// True for a text of a pool.
pub(crate) fn is_of_ours(text: &str) -> bool {
    text.starts_with(FORM)
}

/// The text that stands beside `position`. Of the ranges, in rising order from there, the lowest that fit into so many bytes; `None` if
/// none does.
pub(crate) fn write(
    life: &str,
    epoch: Option<i32>,
    position: i64,
    ranges: impl Iterator<Item = Range<i64>>,
    bytes_max: usize,
) -> Option<String> {
    let mut text = format!("{FORM}{life}:");
    push(&mut text, epoch.map_or(0, |epoch| u64::from(epoch.unsigned_abs()) + 1));
    push(&mut text, position.unsigned_abs());
    let empty = text.len();
    let mut at = position;
    let mut ranges = ranges.peekable();
    while let Some(mut range) = ranges.next() {
        while let Some(next) = ranges.next_if(|next| next.start <= range.end) {
            range.end = next.end;
        }
        let before = text.len();
        push(&mut text, range.start.abs_diff(at));
        push(&mut text, range.end.abs_diff(range.start));
        if text.len() > bytes_max {
            text.truncate(before);
            break;
        }
        at = range.end;
    }
    (text.len() > empty).then_some(text)
}

fn push(text: &mut String, mut number: u64) {
    loop {
        let low = usize::from(number.to_le_bytes()[0] % 32);
        number /= 32;
        text.push(char::from(DIGITS[if number > 0 { low + MORE } else { low }]));
        if number == 0 {
            return;
        }
    }
}

fn read(text: &str, life: &str, position: i64) -> Option<(Option<i32>, VecDeque<Range<i64>>)> {
    let mut digits = text.strip_prefix(FORM)?.strip_prefix(life)?.strip_prefix(':')?.bytes();
    let epoch = match pull(&mut digits)? {
        0 => None,
        above => Some(i32::try_from(above - 1).ok()?),
    };
    if pull(&mut digits)? != position {
        return None;
    }
    let mut done = VecDeque::new();
    let mut at = position;
    while digits.len() > 0 {
        let start = at.checked_add(pull(&mut digits)?)?;
        at = start.checked_add(pull(&mut digits)?)?;
        done.push_back(start..at);
    }
    Some((epoch, done))
}

fn pull(digits: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut number: i64 = 0;
    for shift in (0..60).step_by(5) {
        let digit = digits.next()?;
        let value = DIGITS.iter().position(|known| *known == digit)?;
        number |= i64::try_from(value % MORE).ok()? << shift;
        if value < MORE {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
