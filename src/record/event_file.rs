//! A TensorBoard event file of scalars.
//!
//! None of the crates that write these files is kept: `tensorboard-rs` (2022; its repository says inactive) brings an
//! `image` of 2021 and the superseded `protobuf` 2, and panics in a thread of its own when a write fails; `tboard`
//! (2024) needs the `protoc` program to build; `tfrecord` (2023) brings an HTTP client. So the protocol buffers come
//! from `prost` and the checksum from `crc32c`, and what is left to say here is which messages a scalar needs and how
//! a record is framed.

use anyhow::{Context, Result};
use prost::Message;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An event file, open for writing.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new event file in `folder`, which is created when it is missing.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        // TensorBoard reads the files of a folder in the order of their names. The count keeps apart, and in order,
        // two files begun in the same second.
        let (seconds, count) = (now().as_secs(), event_files(folder)?.len());
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{count:04}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let mut events = Self { path, file };
        events.write(0, What::FileVersion("brain.Event:2".to_string()))?;
        Ok(events)
    }

    /// Tells TensorBoard to forget what earlier files of the folder say of `step` and later ones.
    pub fn restart_at(&mut self, step: u64) -> Result<()> {
        self.write(step, What::SessionLog(SessionLog { status: SESSION_START }))
    }

    /// Adds values, all at the same step, as one record.
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        let value = values
            .iter()
            .map(|(tag, value)| Value { tag: tag.clone(), simple_value: Some(*value as f32) })
            .collect();
        self.write(step, What::Summary(Summary { value }))
    }

    /// Puts what was written on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot put {} on the disk", self.path.display()))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now().as_secs_f64(), step: step as i64, what: Some(what) };
        // one call to the operating system: a killed process leaves whole records
        self.file
            .write_all(&record(&event.encode_to_vec()))
            .with_context(|| format!("cannot write to {}", self.path.display()))
    }
}

/// The event files in a folder.
pub(super) fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot_list = || format!("cannot list the folder {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_list)? {
        let entry = entry.with_context(cannot_list)?;
        if entry.file_name().to_string_lossy().contains("tfevents") {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// TFRecord framing: length, its checksum, the message, its checksum; all little-endian.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_checksum(&length).to_le_bytes(), message, &masked_checksum(message).to_le_bytes()]
        .concat()
}

/// CRC-32C, masked as TFRecord wants it because checksums of data that contain checksums are weak.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> Duration {
    // A clock set before 1970 gives wrong dates, which is no reason to stop a run.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

// The messages, with the field numbers of TensorFlow's event.proto and summary.proto.

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // Optional, because it belongs to a oneof of the original: a zero must be written, not left out as a default.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

const SESSION_START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The scalars `(step, tag, value)` of an event file, with the step of each restart as `(step, "restart", 0)`.
    pub fn read(path: &Path) -> Vec<(i64, String, f32)> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut scalars = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let message = &rest[12..12 + length];
            assert_eq!(rest[..16 + length], record(message), "the framing of a record");
            let event = Event::decode(message).unwrap();
            match event.what.unwrap() {
                What::FileVersion(version) => assert_eq!(version, "brain.Event:2"),
                What::SessionLog(_) => scalars.push((event.step, "restart".to_string(), 0.0)),
                What::Summary(summary) => scalars.extend(
                    summary.value.into_iter().map(|v| (event.step, v.tag, v.simple_value.expect("a value"))),
                ),
            }
            rest = &rest[16 + length..];
        }
        scalars
    }

    /// The expected bytes are what `RecordWriter` of Python's `tensorboard` 2 writes for this event.
    #[test]
    fn a_record_is_framed_as_tensorboard_frames_it() {
        let event =
            Event { wall_time: 0.0, step: 0, what: Some(What::FileVersion("brain.Event:2".to_string())) };
        let expected = b"\x0f\0\0\0\0\0\0\0mS+\t\x1a\rbrain.Event:2\xfc\x98Q)";
        assert_eq!(record(&event.encode_to_vec()), expected);
    }

    #[test]
    fn zero_is_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(&folder.path().join("tensorboard")).unwrap();
        events.scalars(7, &[("a/b".to_string(), 0.0), ("a/c".to_string(), -1.5)]).unwrap();
        assert_eq!(read(&events.path), [(7, "a/b".to_string(), 0.0), (7, "a/c".to_string(), -1.5)]);
    }

    #[test]
    fn files_begun_in_the_same_second_are_apart_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [(); 3].map(|()| EventFile::create(folder.path()).unwrap().path);
        assert!(paths.is_sorted() && paths[0] != paths[1] && paths[1] != paths[2], "{paths:?}");
    }
}
