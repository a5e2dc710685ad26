//! Programs as they lie in `dist/`, built if need be, started with an environment that holds nothing of the tester's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use lab::build::{self, Artefact, Step};
use lab::paths::Workspace;
use tempfile::TempDir;

/// The longest that one command may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the suite starts.
const PROGRAMS: [Artefact; 8] = [
    Artefact::Lab,
    Artefact::ServicebusEmulator,
    Artefact::DaprEmulator,
    Artefact::BlobEmulator,
    Artefact::SpinHost,
    Artefact::SpinRust,
    Artefact::WarpRust,
    Artefact::ExpressTs,
];

/// Variables that finding programs, folders and sockets needs.
const INHERITED: [&str; 6] = ["CARGO_HOME", "CARGO_TARGET_DIR", "HOME", "PATH", "TMPDIR", "XDG_RUNTIME_DIR"];

/// The workspace, with everything that this suite starts in `dist/`. Only the first caller builds.
pub fn workspace() -> &'static Workspace {
    static BUILT: OnceLock<Workspace> = OnceLock::new();
    BUILT.get_or_init(|| {
        let workspace = Workspace::find().expect("the suite runs in the workspace");
        let built = build::build(&workspace, &BTreeSet::from(PROGRAMS), |step| {
            if let Step::Started { command, .. } = step {
                eprintln!("building: {command}");
            }
        });
        built.unwrap_or_else(|error| panic!("{error}; {}", error.hint().unwrap_or_default()));
        workspace
    })
}

/// The file of one program.
pub fn path_of(artefact: Artefact) -> PathBuf {
    workspace().artefact(artefact.name())
}

/// One program, about to be started.
pub fn program(artefact: Artefact) -> Command {
    clean(Command::new(path_of(artefact)))
}

/// The command `lab` in the workspace.
pub fn lab(args: &[&str]) -> Command {
    let mut command = program(Artefact::Lab);
    command.current_dir(workspace().root()).args(args);
    command
}

/// With none of the tester's settings, and a deadline.
pub fn clean(mut command: Command) -> Command {
    command
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .timeout(DEADLINE);
    command
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        write(&folder.path().join(name), text);
    }
    folder
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// A machine that has these tools and no others: the `PATH` of a command. Each tool prints its text and ends well.
pub fn tools(tools: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, says) in tools {
        executable(&folder.path().join(name), &format!("#!/bin/sh\necho '{says}'\n"));
    }
    folder
}

/// A file with this text that can be started.
pub fn executable(path: &Path, text: &str) {
    let source = path.with_extension("text");
    write(&source, text);
    install(&source, path);
}

/// Copies a program. A process of its own writes the copy: while this one had it open for writing, a child that another
/// test starts could inherit that, and until then the system would start the copy for nobody ("text file busy").
pub fn install(program: &Path, copy: &Path) {
    let installed = std::process::Command::new("install").args(["-m", "755"]).args([program, copy]).status();
    assert!(installed.expect("install is there").success(), "{} can be copied", program.display());
}

/// What a command that failed said on stderr; it must have said nothing on stdout, where programs say that they serve.
pub fn refusal(mut command: Command, code: i32) -> String {
    let output = command.output().expect("it can be started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{command:?}");
    stderr
}

/// A text without what differs from one run, or machine, to the next.
pub fn redacted(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "[FOLDER]");
    text.replace(&workspace().root().display().to_string(), "[WORKSPACE]")
}
