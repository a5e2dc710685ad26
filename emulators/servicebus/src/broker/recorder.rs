//! The recorder: when each message came in, was due, was delivered and was settled, on this broker's clock.
//!
//! It is off unless asked for; then a message costs one scan of its body's start and one row. It must not parse bodies:
//! it finds one top-level field of a JSON object and keeps that field's text.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::json_field;
use crate::engine::Micros;
use crate::limits::RECORDER_ROWS_MAX;
use crate::message;

/// A message's row; the number that messages carry while nothing is recorded of them.
pub const NO_ROW: u32 = u32::MAX;

/// How a message's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A receiver completed it, or took it.
    Completed,
    /// It went to the dead-letter queue.
    DeadLettered,
    /// Its time to live ran out.
    Expired,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::DeadLettered => "dead-lettered",
            Self::Expired => "expired",
        }
    }
}

#[derive(Debug)]
struct Row {
    queue: u32,
    /// JSON text of the key.
    key: Option<Box<str>>,
    sequence_number: u64,
    enqueued_us: Micros,
    due_us: Micros,
    delivered_us: Option<Micros>,
    settled_us: Option<Micros>,
    delivery_count: u32,
    outcome: Option<Outcome>,
}

#[derive(Debug, Default)]
struct Recording {
    /// None while off.
    record_key: Option<String>,
    /// Which recording this is, so that messages of an earlier one do not write into this one's rows.
    epoch: u32,
    rows: Vec<Row>,
    queues: Vec<String>,
    dropped: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recorder {
    on: AtomicBool,
    recording: Mutex<Recording>,
}

/// A row's number is this many bits of a message's number; the others tell the recording.
const ROW_BITS: u32 = 21;
const _: () = assert!(RECORDER_ROWS_MAX < 1 << ROW_BITS);
const EPOCHS: u32 = (1 << (u32::BITS - ROW_BITS)) - 1;

impl Recorder {
    /// Whether it records.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was recorded and records from now on, under the body's field `record_key`.
    pub fn start(&self, record_key: &str) {
        let mut recording = self.lock();
        let epoch = (recording.epoch + 1) % EPOCHS;
        *recording = Recording { record_key: Some(record_key.to_owned()), epoch, ..Recording::default() };
        self.on.store(true, Ordering::Relaxed);
    }

    /// Stops recording and frees what was recorded.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
        let mut recording = self.lock();
        *recording = Recording { epoch: recording.epoch, ..Recording::default() };
    }

    /// Begins a row and returns the number that the message shall carry.
    pub fn arrived(&self, queue: &str, content: &[u8], now_us: Micros, due_us: Micros) -> u32 {
        let mut recording = self.lock();
        let Some(field) = &recording.record_key else { return NO_ROW };
        if recording.rows.len() >= RECORDER_ROWS_MAX {
            recording.dropped += 1;
            return NO_ROW;
        }
        let body = message::body(content);
        let key = body.and_then(|body| json_field::find(&body, field)).map(String::into_boxed_str);
        let known = recording.queues.iter().position(|name| name == queue);
        let queue = known.unwrap_or_else(|| {
            recording.queues.push(queue.to_owned());
            recording.queues.len() - 1
        });
        let row = Row {
            queue: u32::try_from(queue).unwrap_or(u32::MAX),
            key,
            sequence_number: 0,
            enqueued_us: now_us,
            due_us: due_us.max(now_us),
            delivered_us: None,
            settled_us: None,
            delivery_count: 0,
            outcome: None,
        };
        recording.rows.push(row);
        let number = u32::try_from(recording.rows.len() - 1).unwrap_or(0);
        recording.epoch << ROW_BITS | number
    }

    fn change(&self, tag: u32, change: impl FnOnce(&mut Row)) {
        if tag == NO_ROW {
            return;
        }
        let mut recording = self.lock();
        let index = (tag & ((1 << ROW_BITS) - 1)) as usize;
        if recording.epoch == tag >> ROW_BITS
            && let Some(row) = recording.rows.get_mut(index)
        {
            change(row);
        }
    }

    /// Notes the number that a message has got.
    pub fn numbered(&self, tag: u32, sequence_number: u64) {
        self.change(tag, |row| row.sequence_number = sequence_number);
    }

    /// Notes a delivery; `delivery_count` includes it. The row keeps the instant of the first one: until then the message
    /// waited in the queue, and later ones are a receiver's doing.
    pub fn delivered(&self, tag: u32, now_us: Micros, sequence_number: u64, delivery_count: u32) {
        self.change(tag, |row| {
            row.delivered_us.get_or_insert(now_us);
            row.settled_us = None;
            row.sequence_number = sequence_number;
            row.delivery_count = delivery_count;
        });
    }

    /// Notes a settlement, and the end that it was, if it was one.
    pub fn settled(&self, tag: u32, now_us: Micros, outcome: Option<Outcome>) {
        self.change(tag, |row| {
            row.settled_us = Some(now_us);
            row.outcome = outcome;
        });
    }

    /// Notes an end without a settlement.
    pub fn ended(&self, tag: u32, outcome: Outcome) {
        self.change(tag, |row| row.outcome = Some(outcome));
    }

    /// The rows as newline-delimited JSON, in order of arrival, and how many did not fit.
    pub fn export(&self) -> (Vec<u8>, u64) {
        const ROW_BYTES: usize = 240;
        let recording = self.lock();
        let mut out = Vec::with_capacity(recording.rows.len() * ROW_BYTES);
        let optional = |instant: Option<Micros>| instant.map_or("null".to_owned(), |us| us.to_string());
        let quoted: Vec<String> =
            recording.queues.iter().map(|name| serde_json::Value::from(name.as_str()).to_string()).collect();
        for row in &recording.rows {
            let queue = quoted.get(row.queue as usize).map_or("\"\"", String::as_str);
            let key = row.key.as_deref().unwrap_or("null");
            let outcome = row.outcome.map_or("null".to_owned(), |outcome| format!("\"{}\"", outcome.name()));
            let (delivered, settled) = (optional(row.delivered_us), optional(row.settled_us));
            // Writing to memory does not fail.
            let _ = writeln!(
                out,
                "{{\"queue\":{queue},\"key\":{key},\"sequence_number\":{},\"enqueued_us\":{},\"due_us\":{},\
                 \"delivered_us\":{delivered},\"settled_us\":{settled},\"delivery_count\":{},\"outcome\":{outcome}}}",
                row.sequence_number, row.enqueued_us, row.due_us, row.delivery_count,
            );
        }
        (out, recording.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_an_earlier_recording_writes_no_row_of_this_one() {
        let recorder = Recorder::default();
        recorder.start("orderId");
        let old = recorder.arrived("q", &[], 1, 1);
        recorder.start("orderId");
        let new = recorder.arrived("q", &[], 2, 5);
        recorder.delivered(old, 9, 1, 1);
        recorder.settled(new, 8, Some(Outcome::Completed));
        let (rows, dropped) = recorder.export();
        assert_eq!(dropped, 0);
        assert_eq!(
            String::from_utf8_lossy(&rows),
            "{\"queue\":\"q\",\"key\":null,\"sequence_number\":0,\"enqueued_us\":2,\"due_us\":5,\"delivered_us\":null,\
             \"settled_us\":8,\"delivery_count\":0,\"outcome\":\"completed\"}\n"
        );
        recorder.stop();
        assert!(recorder.export().0.is_empty() && !recorder.is_on());
    }
}
