//! Reads a report that was written before: whole and of a version that is known, or refused with the reason. It changes no file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{MatrixReport, Report, SCHEMA_VERSION};
use crate::limits;

/// A report that was written before.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// `report.json`.
    Run(Box<Report>),
    /// `matrix.json`.
    Matrix(Box<MatrixReport>),
}

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such run, and no such file.
    #[error("there is no run '{name}': neither {} nor a file or folder of that name", folder.display())]
    NoRun {
        /// What was asked for.
        name: String,
        /// Where a run of that name would be.
        folder: PathBuf,
    },
    /// The file.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Not JSON, or not to its end.
    #[error("{} is no whole JSON: it is truncated or damaged", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it breaks off.
        #[source]
        source: serde_json::Error,
    },
    /// JSON of something else.
    #[error("{} is no report: it has no schema_version, or is neither report.json nor matrix.json", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// A version that this lab does not know.
    #[error("{} is of schema version {found}, and this lab reads 1 to {SCHEMA_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A version that is known, in a shape that it does not have.
    #[error("{} is not what schema version {version} says", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads a run by its name in `runs`, or by the path of its folder or file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(runs: &Path, run: &str) -> Result<Document, LoadError> {
    let named = runs.join(run);
    let given = PathBuf::from(run);
    // A name is one word: with a separator it would be a path.
    let folder = if !run.contains('/') && named.is_dir() { named } else { given };
    let files = [folder.clone(), folder.join("report.json"), folder.join("matrix.json")];
    match files.into_iter().find(|file| file.is_file()) {
        Some(file) => read(&file),
        None => Err(LoadError::NoRun { name: run.to_owned(), folder: runs.join(run) }),
    }
}

/// Reads a file.
///
/// # Errors
/// As [`load`].
pub fn read(path: &Path) -> Result<Document, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // What is longer breaks off, and is told as such.
    file.take(limits::REPORT_BYTES).read_to_end(&mut text).map_err(failed)?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|source| LoadError::Json { path: path.to_owned(), source })?;
    let other = || LoadError::Other { path: path.to_owned() };
    let version = value["schema_version"].as_u64().ok_or_else(other)?;
    if version == 0 || version > u64::from(SCHEMA_VERSION) {
        return Err(LoadError::Version { path: path.to_owned(), found: version });
    }
    if value["measured"].is_object() {
        return shaped(migrated_run(value, version), path, version).map(Document::Run);
    }
    if value["rows"].is_array() {
        let mut matrix: Box<MatrixReport> = shaped(migrated_matrix(value, version), path, version)?;
        if version < u64::from(SCHEMA_VERSION) {
            matrix.judge();
        }
        return Ok(Document::Matrix(matrix));
    }
    Err(other())
}

fn shaped<T: DeserializeOwned>(value: Value, path: &Path, version: u64) -> Result<T, LoadError> {
    serde_json::from_value(value).map_err(|source| LoadError::Shape {
        path: path.to_owned(),
        version,
        source,
    })
}

/// Version 1 knew bursts alone, no tracing, and told the packaging in the command only, where it was not the usual one.
fn migrated_run(mut value: Value, version: u64) -> Value {
    if version == 1 {
        let command = value["command"].as_str().unwrap_or_default();
        let mut words = command.split_whitespace().skip_while(|word| *word != "--packaging").skip(1);
        let packaging = words.next().unwrap_or("full").to_owned();
        set(&mut value, "/lab", "packaging", json!(packaging));
        set(&mut value, "/lab", "tracing", json!("off"));
        set(&mut value, "/measured", "interrupted", json!(false));
        set(&mut value, "", "gate", json!([]));
        set(&mut value, "/measured/setup", "profile", json!({ "kind": "burst" }));
        set(&mut value, "", "schema_version", json!(SCHEMA_VERSION));
    }
    value
}

/// Version 1 knew bursts alone, and told no differences: they follow from its runs.
fn migrated_matrix(mut value: Value, version: u64) -> Value {
    if version == 1 {
        let axes = value["rows"][0]["combination"].as_object();
        let axes: Vec<_> = axes.into_iter().flat_map(|axes| axes.keys().cloned()).collect();
        set(&mut value, "", "axes", json!(axes));
        set(&mut value, "", "gate", json!([]));
        set(&mut value, "", "profile", json!({ "kind": "burst" }));
        set(&mut value, "", "differences", json!({ "metric": "", "method": "", "pairs": [] }));
        set(&mut value, "", "schema_version", json!(SCHEMA_VERSION));
    }
    value
}

/// Sets a field of the object at `pointer`. Where there is none, reading the shape fails and says so.
fn set(value: &mut Value, pointer: &str, field: &str, content: Value) {
    if let Some(object) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(field.to_owned(), content);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// As the lab wrote them before [`SCHEMA_VERSION`] was 2.
    const RUN_1: &str = include_str!("v1/report.json");
    const MATRIX_1: &str = include_str!("v1/matrix.json");

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn refused(text: &str) -> LoadError {
        let (_folder, path) = written(text);
        read(&path).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_by_name_by_folder_and_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let (report, matrix) = (sample::report(), sample::matrix());
        let at = report.write(folder.path()).unwrap();
        matrix.write(folder.path()).unwrap();
        let run = Document::Run(Box::new(report.clone()));
        assert_eq!(load(folder.path(), &report.name).unwrap(), run);
        assert_eq!(load(Path::new("/nowhere"), &at.display().to_string()).unwrap(), run);
        let file = at.join("report.json").display().to_string();
        assert_eq!(load(Path::new("/nowhere"), &file).unwrap(), run);
        let found = load(folder.path(), &matrix.name).unwrap();
        assert_eq!(found, Document::Matrix(Box::new(matrix)));
        let error = load(folder.path(), "never").unwrap_err().to_string();
        assert!(error.starts_with("there is no run 'never': neither "), "{error}");
    }

    #[test]
    fn documents_of_version_1_are_migrated() {
        let (_folder, path) = written(RUN_1);
        let Document::Run(run) = read(&path).unwrap() else { panic!("a run") };
        assert_eq!((run.schema_version, run.measured.throughput_per_second), (SCHEMA_VERSION, Some(500.0)));
        assert_eq!((run.lab.packaging.as_str(), run.lab.tracing.as_str()), ("full", "off"));
        let (_folder, path) = written(&RUN_1.replace("--blob native", "--blob native --packaging static"));
        let Document::Run(run) = read(&path).unwrap() else { panic!("a run") };
        assert_eq!(run.lab.packaging, "static");
        let (_folder, path) = written(MATRIX_1);
        let Document::Matrix(matrix) = read(&path).unwrap() else { panic!("a matrix") };
        assert_eq!(matrix.axes, ["stack", "topology"]);
        assert_eq!(matrix.differences.pairs.len(), 1);
    }

    #[test]
    fn other_versions_are_refused_with_their_number() {
        for found in [0, SCHEMA_VERSION + 1] {
            let text = RUN_1.replacen("\"schema_version\": 1", &format!("\"schema_version\": {found}"), 1);
            let error = refused(&text).to_string();
            let said = format!("is of schema version {found}, and this lab reads 1 to {SCHEMA_VERSION}");
            assert!(error.contains(&said), "{error}");
        }
    }

    /// Wherever it was cut.
    #[test]
    fn a_truncated_report_is_refused() {
        for text in [RUN_1, MATRIX_1] {
            for part in [0, 1, 2, 3, 9] {
                let cut = text.get(..text.len() * part / 10).unwrap_or_default();
                assert!(matches!(refused(cut), LoadError::Json { .. }), "{part} tenths");
            }
        }
    }

    #[test]
    fn what_is_no_report_is_told_apart_from_a_report_of_a_wrong_shape() {
        for text in ["{}", "[]", "7", "{\"schema_version\": \"2\"}", "{\"schema_version\": 2}"] {
            assert!(matches!(refused(text), LoadError::Other { .. }), "{text}");
        }
        let text = RUN_1.replacen("\"clean\": true", "\"clean\": 1", 1);
        assert!(matches!(refused(&text), LoadError::Shape { version: 1, .. }));
        let text = RUN_1.replacen("\"setup\"", "\"set-up\"", 1);
        assert!(matches!(refused(&text), LoadError::Shape { version: 1, .. }));
    }
}
