//! The languages of the SDKs: whether the machine has them, and the SDKs in a folder beside what cargo builds, installed
//! again only when the list of packages or the interpreter changes.
//!
//! It must not know what the SDKs are used for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lab::build::tools::GO_MINOR_LEAST;
use tokio::process::Command;

/// A language in which there are official SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Packages from PyPI, in a virtual environment.
    Python,
    /// Packages from npm, for Node.
    JavaScript,
    /// Modules from a Go proxy, built into a program.
    Go,
}

/// What runs the cases of a language.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// The language.
    pub language: Language,
    /// The program.
    pub program: PathBuf,
    /// The folder of the installed packages.
    pub packages: PathBuf,
}

/// What the machine lacks.
#[derive(Debug)]
pub struct Lacking {
    /// What is not there, or too old.
    pub what: String,
    /// The reason in the list of all skips.
    pub reason: &'static str,
}

/// The least minor version of Python 3 that the pinned SDKs install on (`requires-python` of azure-core).
const PYTHON_MINOR_LEAST: u32 = 9;

/// The least Node that the pinned SDKs run on (`engines` in package-lock.json).
const NODE_LEAST: u32 = 20;

/// The longest that an installation may take.
const INSTALL_DEADLINE: Duration = Duration::from_secs(600);

impl Language {
    /// The folder of its cases, and the name of its part of the cache.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Go => "go",
        }
    }

    /// The folder of its cases and of its list of packages.
    pub fn sources(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(self.name())
    }

    /// The files that say which packages are installed.
    const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["requirements.txt"],
            Self::JavaScript => &["package.json", "package-lock.json", ".npmrc"],
            // The program is built of them.
            Self::Go => &["go.mod", "go.sum", "blob_table.go"],
        }
    }

    /// Why its cases are skipped, where they are.
    const fn reason(self) -> &'static str {
        match self {
            Self::Python => "no Python that the SDKs run on",
            Self::JavaScript => "no Node that the SDKs run on",
            Self::Go => "no Go that the SDK is built with",
        }
    }

    /// The version of the machine's interpreter.
    async fn version(self) -> Result<String, Lacking> {
        let (program, argument) = match self {
            Self::Python => ("python3", "--version"),
            Self::JavaScript => ("node", "--version"),
            Self::Go => ("go", "version"),
        };
        let lacking = |what| Lacking { what, reason: self.reason() };
        let output = Command::new(program).arg(argument).output().await;
        let output = output.map_err(|error| lacking(format!("{program} cannot be started ({error})")))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || !self.suffices(&version) {
            let least = match self {
                Self::Python => format!("3.{PYTHON_MINOR_LEAST}"),
                Self::JavaScript => NODE_LEAST.to_string(),
                Self::Go => format!("1.{GO_MINOR_LEAST}"),
            };
            return Err(lacking(format!("{program} is '{version}', and the SDKs need {least} or newer")));
        }
        Ok(version)
    }

    fn suffices(self, version: &str) -> bool {
        let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        let mut numbers = digits.split('.').map_while(|part| part.parse::<u32>().ok());
        match (self, numbers.next(), numbers.next()) {
            (Self::Python, Some(3), Some(minor)) => minor >= PYTHON_MINOR_LEAST,
            (Self::JavaScript, Some(major), _) => major >= NODE_LEAST,
            (Self::Go, Some(1), Some(minor)) => minor >= GO_MINOR_LEAST,
            _ => false,
        }
    }
}

/// Where the packages are kept: beside what cargo builds, never among the sources.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk")
}

/// Installs the SDKs of a language, if that has not been done.
///
/// # Panics
/// When the language is there and its packages cannot be installed.
pub async fn install(language: Language) -> Result<Interpreter, Lacking> {
    let version = language.version().await?;
    let folder = cache().join(language.name());
    fs::create_dir_all(cache()).expect("the cache can be created");
    // One at a time, in this process and in others; who waited finds it done.
    let lock = File::create(cache().join(format!("{}.lock", language.name()))).expect("a lock file");
    let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap();
    let _until_it_is_done = locked.expect("the lock");
    let wanted = digest(language, &version);
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("what is out of date can be removed");
        }
        fs::create_dir_all(&folder).expect("the cache can be created");
        match language {
            Language::Python => install_python(&folder).await?,
            Language::JavaScript => install_javascript(&folder).await?,
            Language::Go => build_go(&folder).await,
        }
        // Written last: what was interrupted is done again.
        fs::write(stamp, wanted).expect("the cache can be written");
    }
    let program = match language {
        Language::Python => folder.join("bin/python"),
        Language::JavaScript => PathBuf::from("node"),
        Language::Go => folder.join("blob_table"),
    };
    Ok(Interpreter { language, program, packages: folder })
}

/// Everything on which what is installed depends.
fn digest(language: Language, version: &str) -> String {
    let lists = language.lists().iter().map(|name| {
        let path = language.sources().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    });
    std::iter::once(format!("{version}\n")).chain(lists).collect()
}

async fn install_python(folder: &Path) -> Result<(), Lacking> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    if let Err(said) = run(venv).await {
        let what = format!("`python3 -m venv` failed: {said}");
        return Err(Lacking { what, reason: Language::Python.reason() });
    }
    let mut pip = Command::new(folder.join("bin/python"));
    let list = Language::Python.sources().join("requirements.txt");
    // The list is complete; whatever it lacks must be missed, not be fetched in a version that nobody chose.
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]).arg(list);
    run(pip).await.unwrap_or_else(|said| panic!("pip cannot install the SDKs: {said}"));
    Ok(())
}

async fn install_javascript(folder: &Path) -> Result<(), Lacking> {
    for name in Language::JavaScript.lists() {
        fs::copy(Language::JavaScript.sources().join(name), folder.join(name)).expect("a list is copied");
    }
    let mut npm = Command::new("npm");
    if let Err(error) = Command::new("npm").arg("--version").output().await {
        let what = format!("npm cannot be started ({error})");
        return Err(Lacking { what, reason: Language::JavaScript.reason() });
    }
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    run(npm).await.unwrap_or_else(|said| panic!("npm cannot install the SDKs: {said}"));
    Ok(())
}

async fn build_go(folder: &Path) {
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(folder.join("blob_table")).arg(".").current_dir(Language::Go.sources());
    run(go).await.unwrap_or_else(|said| panic!("go cannot build the cases: {said}"));
}

/// Runs a command to its end; what it said is the error.
async fn run(mut command: Command) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(INSTALL_DEADLINE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("not done after {INSTALL_DEADLINE:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&said).trim()))
}

#[test]
fn versions_that_the_sdks_cannot_use_are_known() {
    for (language, version, suffices) in [
        (Language::Python, "Python 3.11.7", true),
        (Language::Python, "Python 3.9.0rc1", true),
        (Language::Python, "Python 3.8.19", false),
        (Language::Python, "Python 2.7.18", false),
        (Language::JavaScript, "v20.20.2", true),
        (Language::JavaScript, "v18.19.0", false),
        (Language::JavaScript, "", false),
        (Language::Go, "go version go1.26.8 linux/amd64", true),
        (Language::Go, "go version go1.19.8 linux/amd64", false),
    ] {
        assert_eq!(language.suffices(version), suffices, "{version}");
    }
}
