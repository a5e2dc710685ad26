//! Spin's variables: names, templates, where values come from, and what one component may ask for.
//!
//! All providers of this host are known at start, so every value is computed once, before the first request.
//! It must not know wasmtime or HTTP. Rules: Spin 3.6.3, `crates/expressions`, `crates/variables-env`,
//! `crates/variables-static`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::limits;

/// Prefix of the environment variables that set application variables.
const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// Why a variable has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The name breaks the rules for names.
    #[error("{0}")]
    InvalidName(String),
    /// The component declares no variable of that name.
    #[error("{0}")]
    Undefined(String),
    /// A template cannot be read.
    #[error("{0}")]
    InvalidTemplate(String),
}

/// What a declaration in `[variables]` says.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Value where no provider has one; `None` for a required variable.
    pub default: Option<String>,
    /// The value may not appear in any output.
    pub secret: bool,
}

/// Checks a variable name: lower-case ASCII letters, digits and single underscores, a letter first, no underscore last.
///
/// # Errors
/// [`VariableError::InvalidName`] with Spin's wording.
pub fn check_name(name: &str) -> Result<(), VariableError> {
    let invalid = |reason: String| Err(VariableError::InvalidName(format!("{name:?}: {reason}")));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return invalid(format!(
            "invalid character {character:?}. Variable names may contain only lower-case letters, numbers, and underscores."
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return invalid("must start with a lowercase ASCII letter".to_owned());
    }
    if name.ends_with('_') {
        return invalid("must end with a lowercase ASCII letter or digit".to_owned());
    }
    if name.contains("__") {
        return invalid("must not contain multiple consecutive underscores".to_owned());
    }
    Ok(())
}

/// A text with `{{ name }}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    /// Reads a template. `{{` without `}}` is an error; single braces are ordinary text.
    ///
    /// # Errors
    /// [`VariableError::InvalidTemplate`].
    pub fn parse(text: &str) -> Result<Self, VariableError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let Some((expression, remainder)) = after.split_once("}}") else {
                return Err(VariableError::InvalidTemplate("unmatched '{{' in template".to_owned()));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(expression.trim().to_owned()));
            rest = remainder;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The names that the template uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => formatter.write_str(text),
            Part::Variable(name) => write!(formatter, "{{{{ {name} }}}}"),
        })
    }
}

/// The application's variables, each with its value.
#[derive(Clone, Debug, Default)]
pub struct Values {
    values: HashMap<String, String>,
    secret_names: HashSet<String>,
}

impl Values {
    /// Gives every declared variable its value: from a flag, else from the environment, else from `.env`, else its default.
    ///
    /// # Errors
    /// The names of all required variables that have no value.
    pub fn resolve(
        declared: &BTreeMap<String, Declaration>,
        providers: &Providers,
    ) -> Result<Self, Vec<String>> {
        let mut values = HashMap::new();
        let mut missing = Vec::new();
        for (name, declaration) in declared {
            match providers.get(name).or_else(|| declaration.default.clone()) {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => missing.push(name.clone()),
            }
        }
        let secret = |name: &&String| declared.get(*name).is_some_and(|declaration| declaration.secret);
        let secret_names = declared.keys().filter(secret).cloned().collect();
        if missing.is_empty() { Ok(Self { values, secret_names }) } else { Err(missing) }
    }

    /// Whether a template, filled in, holds a value that may not be shown.
    pub fn is_secret(&self, template: &Template) -> bool {
        template.names().any(|name| self.secret_names.contains(name))
    }

    /// Fills in a template.
    ///
    /// # Errors
    /// [`VariableError::InvalidTemplate`] when it uses a variable that the application does not declare.
    pub fn fill(&self, template: &Template) -> Result<String, VariableError> {
        let mut text = String::new();
        for part in &template.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => match self.values.get(name) {
                    Some(value) => text.push_str(value),
                    None => return Err(VariableError::InvalidTemplate(format!("unknown variable {name:?}"))),
                },
            }
        }
        Ok(text)
    }
}

/// What one component sees: its own variables, and no others.
#[derive(Clone, Debug, Default)]
pub struct ComponentVariables {
    component: String,
    values: HashMap<String, String>,
}

impl ComponentVariables {
    /// Takes the component's variables with their values.
    pub fn new(component: &str, values: HashMap<String, String>) -> Self {
        Self { component: component.to_owned(), values }
    }

    /// What `fermyon:spin/variables.get` answers.
    ///
    /// # Errors
    /// [`VariableError::InvalidName`] or [`VariableError::Undefined`], with Spin's wording.
    pub fn get(&self, name: &str) -> Result<&str, VariableError> {
        check_name(name)?;
        self.values
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| VariableError::Undefined(format!("no variable for {:?}.{name:?}", self.component)))
    }
}

/// Where values of application variables come from, in order of precedence.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    /// Values of `--variable`.
    pub flags: HashMap<String, String>,
    /// The host's environment; only names with [`ENVIRONMENT_PREFIX`] are looked at, unless `shim_names`.
    pub environment: HashMap<String, String>,
    /// The file `.env` of the working directory.
    pub dotenv: HashMap<String, String>,
    /// A variable `name` is also set by the environment's `NAME`, as in a container of the containerd shim. (Its
    /// `set_var` in `containerd-shim-spin/src/utils.rs` runs last, so this name wins over the prefixed one.)
    pub shim_names: bool,
}

impl Providers {
    fn get(&self, name: &str) -> Option<String> {
        let bare = name.to_ascii_uppercase();
        let key = format!("{ENVIRONMENT_PREFIX}{bare}");
        let of_shim = || self.environment.get(&bare).filter(|_| self.shim_names);
        let of_environment = || of_shim().or_else(|| self.environment.get(&key));
        self.flags.get(name).or_else(of_environment).or_else(|| self.dotenv.get(&key)).cloned()
    }
}

/// Why `--variable` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Neither `key=value` nor `@file`.
    #[error("--variable {0}: write key=value, key=@file, @file.json or @file.toml")]
    Form(String),
    /// The named file cannot be read.
    #[error("cannot read {} that --variable names", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The named file is not a table of strings.
    #[error("{} that --variable names is not a table of strings: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Reads the values of `--variable`: `key=value`, `key=@file`, `@file.json`, `@file.toml`. Later ones win.
///
/// # Errors
/// [`FlagError`].
pub fn read_flags(flags: &[String]) -> Result<HashMap<String, String>, FlagError> {
    let mut values = HashMap::new();
    for flag in flags {
        if let Some(path) = flag.strip_prefix('@') {
            values.extend(read_table(Path::new(path), flag)?);
        } else if let Some((key, value)) = flag.split_once('=') {
            let value = match value.strip_prefix('@') {
                Some(path) => read_text(Path::new(path))?,
                None => value.to_owned(),
            };
            values.insert(key.to_owned(), value);
        } else {
            return Err(FlagError::Form(flag.clone()));
        }
    }
    Ok(values)
}

fn read_table(path: &Path, flag: &str) -> Result<HashMap<String, String>, FlagError> {
    let invalid = |reason: String| FlagError::Content { path: path.to_owned(), reason };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&read_text(path)?).map_err(|e| invalid(e.to_string())),
        Some("toml") => toml::from_str(&read_text(path)?).map_err(|e| invalid(e.message().to_owned())),
        _ => Err(FlagError::Form(flag.to_owned())),
    }
}

fn read_text(path: &Path) -> Result<String, FlagError> {
    crate::read::text(path, limits::CONFIG_FILE_BYTES)
        .map_err(|source| FlagError::Read { path: path.to_owned(), source })
}

/// Why `.env` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} for values of variables; correct or remove it", path.display())]
pub struct DotenvError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Reads a `.env` file; nothing where there is none.
///
/// # Errors
/// [`DotenvError`] when it is there and cannot be read.
pub fn read_dotenv_file(path: &Path) -> Result<HashMap<String, String>, DotenvError> {
    match crate::read::text(path, limits::CONFIG_FILE_BYTES) {
        Ok(text) => Ok(read_dotenv(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(source) => Err(DotenvError { path: path.to_owned(), source }),
    }
}

/// Reads the lines `NAME=value` of a `.env` file; `export`, quotes and `#` comments as usual. Other lines are skipped.
fn read_dotenv(text: &str) -> HashMap<String, String> {
    text.lines().filter_map(dotenv_line).collect()
}

fn dotenv_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let value = value.trim();
    let quoted =
        |quote: char| value.strip_prefix(quote)?.split_once(quote).map(|(inner, _)| inner.to_owned());
    let value = quoted('"')
        .or_else(|| quoted('\''))
        .unwrap_or_else(|| value.split_once(" #").map_or(value, |(before, _)| before.trim_end()).to_owned());
    Some((name.trim().to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(entries: &[(&str, Option<&str>)]) -> BTreeMap<String, Declaration> {
        entries
            .iter()
            .map(|(name, default)| {
                let declaration = Declaration { default: default.map(str::to_owned), secret: false };
                ((*name).to_owned(), declaration)
            })
            .collect()
    }

    fn pairs(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn names_follow_spins_rules() {
        for name in ["a", "abc", "a1b2c3", "a_1", "a_1_b_3"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "aX", "1bc", "_x", "x.y", "x_", "a__b", "x-y", "invalid-name", "4invalidname"] {
            assert!(matches!(check_name(name), Err(VariableError::InvalidName(_))), "{name}");
        }
    }

    #[test]
    fn a_template_mixes_text_and_names() {
        let values = Values {
            values: pairs(&[("host", "example.com"), ("port", "80")]),
            secret_names: HashSet::new(),
        };
        let filled = |text: &str| Template::parse(text).and_then(|template| values.fill(&template));
        assert_eq!(filled("http://{{host}}:{{ port }}/x").as_deref(), Ok("http://example.com:80/x"));
        assert_eq!(filled("").as_deref(), Ok(""));
        assert_eq!(filled("{ not } a template }}").as_deref(), Ok("{ not } a template }}"));
        assert!(matches!(filled("{{ host }} {{ open"), Err(VariableError::InvalidTemplate(_))));
        assert!(matches!(filled("{{ unknown }}"), Err(VariableError::InvalidTemplate(_))));
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_dotenv_over_the_default() {
        let declared = declared(&[("v", Some("default"))]);
        let mut providers = Providers::default();
        let value = |providers: &Providers| {
            Values::resolve(&declared, providers).expect("has a value").values["v"].clone()
        };
        assert_eq!(value(&providers), "default");
        providers.dotenv = pairs(&[("SPIN_VARIABLE_V", "dotenv")]);
        assert_eq!(value(&providers), "dotenv");
        providers.environment = pairs(&[("SPIN_VARIABLE_V", "environment"), ("V", "unprefixed")]);
        assert_eq!(value(&providers), "environment");
        providers.flags = pairs(&[("v", "flag")]);
        assert_eq!(value(&providers), "flag");
    }

    #[test]
    fn all_missing_required_variables_are_named() {
        let declared = declared(&[("a", None), ("b", Some("x")), ("c", None)]);
        let missing = Values::resolve(&declared, &Providers::default()).expect_err("two are missing");
        assert_eq!(missing, ["a", "c"]);
    }

    #[test]
    fn a_component_sees_only_its_own_variables() {
        let variables = ComponentVariables::new("shop", pairs(&[("dapr_url", "http://localhost:3500")]));
        assert_eq!(variables.get("dapr_url"), Ok("http://localhost:3500"));
        assert!(matches!(variables.get("other"), Err(VariableError::Undefined(_))));
        assert!(matches!(variables.get("Not-A-Name"), Err(VariableError::InvalidName(_))));
    }

    #[test]
    fn flags_are_pairs_or_files() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("a.json"), r#"{"j":"json"}"#).expect("write");
        std::fs::write(path("b.toml"), "t = \"toml\"").expect("write");
        std::fs::write(path("c.txt"), "text").expect("write");
        let flags = [
            "k=v=w".to_owned(),
            format!("f=@{}", path("c.txt")),
            format!("@{}", path("a.json")),
            format!("@{}", path("b.toml")),
        ];
        let expected = pairs(&[("k", "v=w"), ("f", "text"), ("j", "json"), ("t", "toml")]);
        assert_eq!(read_flags(&flags).expect("readable"), expected);
        for bad in ["noequals".to_owned(), format!("@{}", path("c.txt")), "k=@/does/not/exist".to_owned()] {
            assert!(read_flags(std::slice::from_ref(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn dotenv_lines_are_read_as_usual() {
        let text = "# comment\nA=1\nexport B = two # note\nC=\"three # 3\"\nD='four'\nnot a line\n";
        let expected = pairs(&[("A", "1"), ("B", "two"), ("C", "three # 3"), ("D", "four")]);
        assert_eq!(read_dotenv(text), expected);
    }
}
