//! The logs of a lab's resources: read, merged by time, followed. They are plain files, so they can be read whether the
//! lab is running or not.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;

use crate::backend::LabError;
use crate::limits;
use crate::paths::LabFiles;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which resource wrote it.
    pub resource: String,
    /// The line, without its end.
    pub text: String,
}

impl LogLine {
    /// The level that the line carries, for the formats that the lab's programs and Dapr use. A panic has no level of its
    /// own and is an error.
    pub fn level(&self) -> Option<Level> {
        if self.text.starts_with("thread '") && self.text.contains("panicked at") {
            return Some(Level::Error);
        }
        if self.text.starts_with('{') {
            let line: serde_json::Value = serde_json::from_str(&self.text).ok()?;
            return line.get("level")?.as_str().and_then(Level::of);
        }
        let words = self.text.split_ascii_whitespace().take(4);
        words.filter_map(Level::of).next()
    }
}

/// How much a log line wants to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for it.
    Debug,
    /// What happened.
    Info,
    /// Something that should not be, and was coped with.
    Warn,
    /// Something that failed.
    Error,
}

impl Level {
    fn of(word: &str) -> Option<Self> {
        match word.trim_end_matches(':') {
            "TRACE" | "DEBUG" | "level=debug" => Some(Self::Debug),
            "INFO" | "level=info" => Some(Self::Info),
            "WARN" | "level=warning" => Some(Self::Warn),
            "ERROR" | "level=error" | "level=fatal" => Some(Self::Error),
            _ => None,
        }
    }
}

/// All lines of the named resources, or of every one, in order of time.
///
/// # Errors
/// Fails where a named resource has no log; the error names those that have one.
pub fn read(files: &LabFiles, resources: &[String]) -> Result<Vec<LogLine>, LabError> {
    let mut stamped = Vec::new();
    for resource in select(files, resources)? {
        let path = files.log(&resource);
        let file = File::open(&path).map_err(|source| LabError::File { operation: "read", path, source })?;
        // A line without a time of its own belongs to the one before it.
        let mut time = Timestamp::MIN;
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            time = time_of(&text).unwrap_or(time);
            stamped.push((time, LogLine { resource: resource.clone(), text }));
        }
    }
    stamped.sort_by_key(|(time, _)| *time);
    Ok(stamped.into_iter().map(|(_, line)| line).collect())
}

/// The resources whose logs are meant.
///
/// # Errors
/// As [`read`].
pub fn select(files: &LabFiles, resources: &[String]) -> Result<Vec<String>, LabError> {
    let mut known: Vec<String> = fs::read_dir(files.logs())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned))
        .collect();
    known.sort();
    if let Some(missing) = resources.iter().find(|name| !known.contains(name)) {
        return Err(LabError::Refused(match known.is_empty() {
            true => format!("there is no log of '{missing}': the lab was never started"),
            false => format!("there is no log of '{missing}'; there are: {}", known.join(", ")),
        }));
    }
    Ok(if resources.is_empty() { known } else { resources.to_vec() })
}

/// The instant at the start of a line: `2026-01-01T00:00:00.123Z …`, or Dapr's `time="2026-01-01T00:00:00.123Z" …`.
fn time_of(text: &str) -> Option<Timestamp> {
    let plain = text.strip_prefix("time=\"").unwrap_or(text);
    let end = plain.find(['"', ' ']).unwrap_or(plain.len());
    plain.get(..end)?.parse().ok()
}

/// The last lines of a log; empty where there is none.
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limits::LOG_TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.take(limits::LOG_TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}

/// Reads what is added to logs.
#[derive(Debug)]
pub struct Follower {
    logs: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    resource: String,
    file: File,
    /// A line that has no end yet.
    partial: Vec<u8>,
}

impl Follower {
    /// Starts at the end of each log.
    ///
    /// # Errors
    /// As [`read`].
    pub fn new(files: &LabFiles, resources: &[String]) -> Result<Self, LabError> {
        let mut logs = Vec::new();
        for resource in select(files, resources)? {
            let path = files.log(&resource);
            let opened = File::open(&path).and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
            let file = opened.map_err(|source| LabError::File { operation: "read", path, source })?;
            logs.push(Followed { resource, file, partial: Vec::new() });
        }
        Ok(Self { logs })
    }

    /// The lines that were added since the last call.
    pub fn added(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for log in &mut self.logs {
            // What cannot be read now may be readable at the next call.
            let _ = log.file.read_to_end(&mut log.partial);
            while let Some(end) = log.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = log.partial.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.push(LogLine { resource: log.resource.clone(), text });
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Workspace;

    fn lab(logs: &[(&str, &str)]) -> (tempfile::TempDir, LabFiles) {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Workspace::at(folder.path()).lab("main");
        fs::create_dir_all(files.logs()).expect("a folder");
        for (name, text) in logs {
            fs::write(files.log(name), text).expect("a log");
        }
        (folder, files)
    }

    #[test]
    fn lines_of_several_logs_are_in_order_of_time() {
        let (_folder, files) = lab(&[
            ("a", "2026-01-01T00:00:01Z  INFO one\n  more of one\n2026-01-01T00:00:03Z  WARN three\n"),
            ("b", "time=\"2026-01-01T00:00:02Z\" level=info msg=two\n"),
        ]);
        let lines = read(&files, &[]).expect("lines");
        let resources: Vec<_> = lines.iter().map(|line| line.resource.as_str()).collect();
        assert_eq!(resources, ["a", "a", "b", "a"]);
        assert_eq!(lines[3].level(), Some(Level::Warn));
        assert_eq!(lines[2].level(), Some(Level::Info));
        assert_eq!(lines[1].level(), None);
    }

    #[test]
    fn every_format_tells_its_level() {
        for (text, level) in [
            ("2026-01-01T00:00:01Z ERROR broker: no", Some(Level::Error)),
            ("time=\"2026-01-01T00:00:02Z\" level=fatal msg=no", Some(Level::Error)),
            (r#"{"timestamp":"2026-01-01T00:00:01Z","level":"WARN","fields":{}}"#, Some(Level::Warn)),
            ("thread 'main' (7) panicked at src/main.rs:1:1:", Some(Level::Error)),
            ("{ no JSON", None),
            ("a line of a guest", None),
        ] {
            let line = LogLine { resource: "a".to_owned(), text: text.to_owned() };
            assert_eq!(line.level(), level, "{text}");
        }
    }

    #[test]
    fn an_unknown_resource_is_answered_with_the_known_ones() {
        let (_folder, files) = lab(&[("a", ""), ("b", "")]);
        let error = read(&files, &["c".to_owned()]).expect_err("no such log");
        assert_eq!(error.to_string(), "there is no log of 'c'; there are: a, b");
    }

    #[test]
    fn the_tail_is_the_end() {
        let (_folder, files) = lab(&[("a", "1\n2\n\n3\n")]);
        assert_eq!(tail(&files.log("a"), 2), ["2", "3"]);
        assert!(tail(&files.log("none"), 2).is_empty());
    }

    #[test]
    fn a_follower_gives_whole_lines_that_were_added() {
        use std::io::Write;
        let (_folder, files) = lab(&[("a", "old\n")]);
        let mut follower = Follower::new(&files, &[]).expect("a follower");
        let mut log = File::options().append(true).open(files.log("a")).expect("a log");
        write!(log, "new\nhal").expect("written");
        assert_eq!(follower.added(), [LogLine { resource: "a".to_owned(), text: "new".to_owned() }]);
        writeln!(log, "f").expect("written");
        assert_eq!(follower.added(), [LogLine { resource: "a".to_owned(), text: "half".to_owned() }]);
    }
}
