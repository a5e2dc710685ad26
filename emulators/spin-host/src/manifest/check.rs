//! From the shape of a manifest to its meaning: what one value alone does not show. It must not touch the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{self, ComponentRef, FilesMount, Route, Source};
use super::{Component, Files, Manifest, Target, Trigger};
use crate::hosts;
use crate::routes::Router;
use crate::variables::{Declaration, Template, check_name};

/// Something wrong at a place of the text.
pub(super) struct Problem {
    pub(super) offset: usize,
    pub(super) text: String,
}

fn problem(span: Range<usize>, text: impl Into<String>) -> Problem {
    Problem { offset: span.start, text: text.into() }
}

/// Adds to what the TOML reader says the key, where it names none, and what to do.
fn unreadable(text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().unwrap_or_default();
    let message = error.message();
    let text = if message.starts_with("unknown field") {
        format!("{message}; correct or remove it")
    } else if message.starts_with("missing field") {
        format!("{message}; add it")
    } else if message.starts_with("duplicate key") {
        format!("{message} `{}`; remove one of the two", text.get(place.clone()).unwrap_or_default())
    } else {
        match key_at(text, place.start) {
            Some(key) => format!("`{key}`: {message}; correct it"),
            None => format!("{message}; correct it"),
        }
    };
    problem(place, text)
}

/// The key, with those of the tables around it, whose value is at this place of the text.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    key_in_table(table.get_ref(), offset, "")
}

fn key_in_table(table: &DeTable<'_>, offset: usize, around: &str) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let key = key.get_ref();
        let path = if around.is_empty() { key.to_string() } else { format!("{around}.{key}") };
        key_in_value(value, offset, path)
    })
}

fn key_in_value(value: &Spanned<DeValue<'_>>, offset: usize, path: String) -> Option<String> {
    let inner = match value.get_ref() {
        DeValue::Table(table) => key_in_table(table, offset, &path),
        DeValue::Array(values) => values.iter().find_map(|value| key_in_value(value, offset, path.clone())),
        _ => None,
    };
    inner.or_else(|| value.span().contains(&offset).then_some(path))
}

/// Reads the whole file.
pub(super) fn manifest(path: &Path, text: &str) -> Result<Manifest, Problem> {
    refuse_other_versions_and_triggers(text)?;
    let file: schema::File = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
    let directory = path.parent().unwrap_or(Path::new(""));

    let mut variables = BTreeMap::new();
    for (name, variable) in file.variables {
        check_id(&name, '_', true)?;
        variables.insert(name.get_ref().clone(), declaration(name.get_ref(), &variable)?);
    }
    let mut components = BTreeMap::new();
    for (id, raw) in file.components {
        check_id(&id, '-', false)?;
        components.insert(id.get_ref().clone(), component(directory, raw.into_inner(), &variables)?);
    }
    let triggers = triggers(directory, file.trigger.http, &mut components, &variables)?;
    let application = file.application;
    Ok(Manifest {
        directory: directory.to_owned(),
        name: application.name,
        version: application.version,
        variables,
        triggers,
        components,
    })
}

/// Looks at the file before its shape is known, because another version or trigger has another shape.
fn refuse_other_versions_and_triggers(text: &str) -> Result<(), Problem> {
    let table = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let table = table.get_ref();
    let old = table.get("spin_version").or_else(|| {
        table
            .get("spin_manifest_version")
            .filter(|version| version.get_ref().as_str().is_some_and(|v| v == "1"))
    });
    if let Some(old) = old {
        let advice = "manifest version 1 is not supported; convert it to version 2 (`spin doctor` does it)";
        return Err(problem(old.span(), advice));
    }
    match table.get("spin_manifest_version") {
        Some(version) if version.get_ref().as_integer().is_some_and(|v| v.as_str() == "2") => {}
        Some(version) => {
            return Err(problem(version.span(), "only `spin_manifest_version = 2` is supported"));
        }
        None => return Err(problem(0..0, "the file must say `spin_manifest_version = 2`")),
    }
    let triggers = table.get("trigger").and_then(|value| value.get_ref().as_table());
    if let Some(other) = triggers.and_then(|triggers| triggers.keys().find(|name| name.get_ref() != "http")) {
        let text = format!(
            "trigger type `{}` is not supported by spin-host; use [[trigger.http]], or run the application on Spin",
            other.get_ref()
        );
        return Err(problem(other.span(), text));
    }
    Ok(())
}

fn declaration(name: &str, variable: &Spanned<schema::Variable>) -> Result<Declaration, Problem> {
    let place = variable.span();
    let variable = variable.get_ref();
    match (variable.required, &variable.default) {
        (true, Some(_)) => {
            let text =
                format!("variable `{name}` has both `required = true` and `default`; remove one of them");
            Err(problem(place, text))
        }
        (false, None) => {
            let text =
                format!("variable `{name}` has neither `required = true` nor `default`; add one of them");
            Err(problem(place, text))
        }
        (_, default) => Ok(Declaration { default: default.clone(), secret: variable.secret }),
    }
}

fn triggers(
    directory: &Path,
    raw: Vec<Spanned<schema::HttpTrigger>>,
    components: &mut BTreeMap<String, Component>,
    variables: &BTreeMap<String, Declaration>,
) -> Result<Vec<Trigger>, Problem> {
    let mut ids: BTreeSet<String> = raw.iter().map(|trigger| trigger.get_ref().id.clone()).collect();
    let mut triggers = Vec::with_capacity(raw.len());
    for trigger in raw {
        let place = trigger.span();
        let mut trigger = trigger.into_inner();
        if trigger.id.is_empty() {
            trigger.id = generated_trigger_id(&trigger, &ids);
            ids.insert(trigger.id.clone());
        }
        check_executor(trigger.executor.as_ref())?;
        let route = match trigger.route.get_ref() {
            Route::Pattern(pattern) => {
                Router::new([(pattern.clone(), ())])
                    .map_err(|error| problem(trigger.route.span(), error.to_string()))?;
                Some(pattern.clone())
            }
            Route::Private(true) => None,
            Route::Private(false) => {
                return Err(problem(trigger.route.span(), "a route is a pattern or { private = true }"));
            }
        };
        let target = match (trigger.component, trigger.static_response) {
            (Some(_), Some(_)) => {
                let text = "the trigger has both `component` and `static_response`; remove one of them";
                return Err(problem(place, text));
            }
            (None, None) => {
                let text = "the trigger has neither `component` nor `static_response`; add one of them";
                return Err(problem(place, text));
            }
            (None, Some(answer)) => Target::Static(checked_answer(answer, &place)?),
            (Some(ComponentRef::Id(id)), None) => {
                if !components.contains_key(&id) {
                    let text = format!(
                        "the trigger names component `{id}`; add [component.{id}] or correct the name"
                    );
                    return Err(problem(place, text));
                }
                Target::Component(id)
            }
            (Some(ComponentRef::Inline(raw)), None) => {
                let id = inline_component_id(&trigger.id, components);
                components.insert(id.clone(), component(directory, *raw, variables)?);
                Target::Component(id)
            }
        };
        triggers.push(Trigger { id: trigger.id, target, route });
    }
    Ok(triggers)
}

fn check_executor(executor: Option<&Spanned<schema::Executor>>) -> Result<(), Problem> {
    let Some(executor) = executor else { return Ok(()) };
    match executor.get_ref().kind.as_str() {
        "http" | "spin" => Ok(()),
        other => {
            let text = format!(
                "executor `{other}` is not supported by spin-host; use `http` with a wasi:http 0.2 component, or run \
                 the application on Spin"
            );
            Err(problem(executor.span(), text))
        }
    }
}

fn checked_answer(
    answer: schema::StaticResponse,
    place: &Range<usize>,
) -> Result<schema::StaticResponse, Problem> {
    let status = answer.status_code.unwrap_or(200);
    if http::StatusCode::from_u16(status).is_err() {
        return Err(problem(place.clone(), format!("{status} is not an HTTP status; use 100 to 999")));
    }
    for (name, value) in &answer.headers {
        if name.parse::<http::HeaderName>().is_err() || http::HeaderValue::from_str(value).is_err() {
            return Err(problem(
                place.clone(),
                format!("`{name}` is not a valid header field; correct or remove it"),
            ));
        }
    }
    Ok(answer)
}

/// The id that Spin gives a trigger without one: from its component where it can, else by counting.
fn generated_trigger_id(trigger: &schema::HttpTrigger, taken: &BTreeSet<String>) -> String {
    if let Some(ComponentRef::Id(component)) = &trigger.component {
        let natural = format!("{component}-http-trigger");
        if !taken.contains(&natural) {
            return natural;
        }
    }
    counted("http-trigger", |id| taken.contains(id))
}

/// The id that Spin gives a component that is written within a trigger.
fn inline_component_id(trigger_id: &str, components: &BTreeMap<String, Component>) -> String {
    let natural = format!("{trigger_id}-component");
    if id_problem(&natural, '-', false).is_none() && !components.contains_key(&natural) {
        return natural;
    }
    counted("inline-component", |id| components.contains_key(id))
}

fn counted(prefix: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut number = 1_usize;
    loop {
        let id = format!("{prefix}{number}");
        if !taken(&id) {
            return id;
        }
        number += 1;
    }
}

fn component(
    directory: &Path,
    raw: schema::Component,
    declared: &BTreeMap<String, Declaration>,
) -> Result<Component, Problem> {
    refuse_unsupported(&raw)?;
    let source = match raw.source.get_ref() {
        Source::Local(path) => directory.join(path),
        Source::Remote => {
            let text = "a component from a URL or a registry is not fetched by spin-host; download it and name the file";
            return Err(problem(raw.source.span(), text));
        }
    };
    let mut variables = BTreeMap::new();
    for (name, value) in raw.variables {
        check_id(&name, '_', true)?;
        variables.insert(name.into_inner(), template(&value, declared)?);
    }
    let mut allowed_outbound_hosts = Vec::new();
    for entry in raw.allowed_outbound_hosts {
        let parsed = template(&entry, declared)?;
        // An entry with variables in it is checked when their values are known.
        if parsed.names().next().is_none() {
            hosts::AllowedHost::parse(entry.get_ref()).map_err(|e| problem(entry.span(), e.to_string()))?;
        }
        allowed_outbound_hosts.push(parsed);
    }
    let files = raw.files.into_iter().map(files_mount).collect::<Result<_, _>>()?;
    Ok(Component {
        source,
        digest: None,
        description: raw.description,
        variables,
        environment: raw.environment,
        files,
        exclude_files: raw.exclude_files.into_iter().map(Spanned::into_inner).collect(),
        allowed_outbound_hosts,
        build_command: raw.build.map(|build| build.command.0.join(" && ")),
    })
}

fn files_mount(entry: Spanned<FilesMount>) -> Result<Files, Problem> {
    let place = entry.span();
    match entry.into_inner() {
        FilesMount::Pattern(pattern) => Ok(Files::Pattern(pattern)),
        FilesMount::Placement { destination, .. } if !destination.starts_with('/') => {
            let text = format!("the destination `{destination}` must be absolute; write `/{destination}`");
            Err(problem(place, text))
        }
        FilesMount::Placement { source, destination } => Ok(Files::Placement { source, destination }),
    }
}

fn refuse_unsupported(raw: &schema::Component) -> Result<(), Problem> {
    let lists = [
        (
            &raw.key_value_stores,
            "key-value stores are not provided by spin-host; remove `key_value_stores`, or run",
        ),
        (
            &raw.sqlite_databases,
            "SQLite databases are not provided by spin-host; remove `sqlite_databases`, or run",
        ),
        (&raw.ai_models, "AI models are not provided by spin-host; remove `ai_models`, or run"),
    ];
    for (list, text) in lists {
        if let Some(list) = list.as_ref().filter(|list| !list.get_ref().is_empty()) {
            return Err(problem(list.span(), format!("{text} the application on Spin")));
        }
    }
    if let Some(list) = raw.allowed_http_hosts.as_ref().filter(|list| !list.get_ref().is_empty()) {
        let text =
            "`allowed_http_hosts` is deprecated and not read by spin-host; use `allowed_outbound_hosts`";
        return Err(problem(list.span(), text));
    }
    if let Some(name) = raw.dependencies.keys().next() {
        let text =
            "component dependencies are not composed by spin-host; compose them when building (`wac plug`)";
        return Err(problem(name.span(), text));
    }
    Ok(())
}

fn template(text: &Spanned<String>, declared: &BTreeMap<String, Declaration>) -> Result<Template, Problem> {
    let parsed = Template::parse(text.get_ref()).map_err(|error| problem(text.span(), error.to_string()))?;
    let unknown = parsed.names().find(|name| !declared.contains_key(*name)).map(str::to_owned);
    match unknown {
        None => Ok(parsed),
        Some(name) => {
            let text_of = format!("unknown variable {name:?}; declare it under [variables]");
            Err(problem(text.span(), text_of))
        }
    }
}

fn check_id(id: &Spanned<String>, separator: char, lower: bool) -> Result<(), Problem> {
    let name = id.get_ref();
    let reason = id_problem(name, separator, lower)
        .or_else(|| if lower { check_name(name).err().map(|error| error.to_string()) } else { None });
    match reason {
        None => Ok(()),
        Some(reason) => {
            Err(problem(id.span(), format!("`{name}` is not a name that Spin accepts: {reason}")))
        }
    }
}

/// Checks an id of a component: what Spin accepts, and therefore a file name.
///
/// # Errors
/// With the reason.
pub fn check_component_id(id: &str) -> Result<(), String> {
    id_problem(id, '-', false)
        .map_or(Ok(()), |reason| Err(format!("`{id}` is not a name that Spin accepts: {reason}")))
}

/// What is wrong with an id: words of ASCII letters and digits, each all lower or all upper case, with one separator.
fn id_problem(id: &str, separator: char, lower: bool) -> Option<String> {
    for word in id.split(separator) {
        let mut characters = word.chars();
        let Some(first) = characters.next() else {
            return Some(format!("a word between {separator:?} is empty"));
        };
        if !first.is_ascii_alphabetic() {
            return Some(format!("a word must start with a letter, not {first:?}"));
        }
        let upper = first.is_ascii_uppercase();
        for character in characters {
            if !character.is_ascii_alphanumeric() {
                return Some(format!(
                    "words are separated by {separator:?}, and {character:?} is not allowed in one"
                ));
            }
            if character.is_ascii_alphabetic() && character.is_ascii_uppercase() != upper {
                return Some(format!("word {word:?} mixes upper and lower case"));
            }
        }
        if lower && upper {
            return Some("it must be lower case".to_owned());
        }
    }
    None
}
