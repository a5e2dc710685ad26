//! What components import and this host does not give: found before the first request, named with what to do.
//!
//! It must not load or run a component.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};

use crate::guest::Guest;

/// An interface that a component imports and this host does not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The interface, as the component names it.
    pub import: String,
    /// Why there is none, and what to do.
    pub advice: &'static str,
}

/// All such interfaces of a component, in order of their names.
pub fn missing(engine: &Engine, component: &Component) -> Vec<Missing> {
    let component_type = component.component_type();
    let mut missing: Vec<Missing> = component_type
        .imports(engine)
        .filter_map(|(name, _)| refusal(name).map(|advice| Missing { import: name.to_owned(), advice }))
        .collect();
    missing.sort_unstable_by(|one, other| one.import.cmp(&other.import));
    missing
}

/// The interfaces for an error message.
pub fn sentence(missing: &[Missing]) -> String {
    let each: Vec<String> =
        missing.iter().map(|missing| format!("{}: {}", missing.import, missing.advice)).collect();
    format!("{}; to start it nevertheless: --trap-unknown-imports", each.join(", and "))
}

/// Defines the missing interfaces so that a call of any of their functions traps. (wasmtime's own
/// `define_unknown_imports_as_traps` replaces WASI 0.2 interfaces of other patch versions as well.)
///
/// # Errors
/// As wasmtime's linker, for what cannot be defined.
pub fn define_traps(
    linker: &mut Linker<Guest>,
    engine: &Engine,
    component: &Component,
    missing: &[Missing],
) -> wasmtime::Result<()> {
    let component_type = component.component_type();
    for (import, item) in component_type.imports(engine) {
        if !missing.iter().any(|missing| missing.import == import) {
            continue;
        }
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let mut defined = linker.instance(import)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let called = format!("{import}#{name}");
                    defined.func_new(name, move |_, _, _, _| {
                        Err(wasmtime::Error::msg(format!(
                            "it called {called}, which spin-host does not provide"
                        )))
                    })?;
                }
                ComponentItem::Resource(_) => {
                    defined.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Why an import cannot be had; `None` for those that this host gives.
fn refusal(import: &str) -> Option<&'static str> {
    const ON_SPIN: &str = "spin-host does not provide it; run the application on Spin";
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let package = interface.split_once('/').map_or(interface, |(package, _)| package);
    match (package, interface) {
        (
            "wasi:io" | "wasi:clocks" | "wasi:filesystem" | "wasi:random" | "wasi:cli" | "wasi:http"
            | "wasi:sockets",
            _,
        ) => {
            if version.starts_with("0.3") {
                Some(
                    "that is WASI 0.3, which needs Spin 4; build it with a Spin SDK for Spin 3 (spin-sdk 5 in Rust)",
                )
            } else if version.contains("-rc-") {
                Some("that is a preview of WASI 0.2; build it with a Spin SDK of version 3 or newer")
            } else {
                None
            }
        }
        (_, "fermyon:spin/variables") => None,
        (_, "fermyon:spin/key-value") | ("wasi:keyvalue", _) => {
            Some("spin-host has no key-value stores; run the application on Spin")
        }
        (_, "fermyon:spin/sqlite") | ("spin:sqlite", _) => {
            Some("spin-host has no SQLite databases; run the application on Spin")
        }
        (_, "fermyon:spin/redis") => Some("spin-host has no Redis client; run the application on Spin"),
        (_, "fermyon:spin/mqtt") => Some("spin-host has no MQTT client; run the application on Spin"),
        (_, "fermyon:spin/llm") => Some("spin-host has no language models; run the application on Spin"),
        (_, "fermyon:spin/http") => {
            Some("that is the outbound HTTP of Spin SDKs of version 2 or older; build it with a newer one")
        }
        _ => Some(ON_SPIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_that_exist_may_be_imported() {
        for import in ["wasi:http/types@0.2.0", "wasi:io/poll@0.2.12", "fermyon:spin/variables@2.0.0"] {
            assert_eq!(refusal(import), None, "{import}");
        }
        for (import, word) in [
            ("fermyon:spin/key-value@2.0.0", "key-value"),
            ("wasi:keyvalue/store@0.2.0-draft2", "key-value"),
            ("spin:sqlite/sqlite@3.0.0", "SQLite"),
            ("fermyon:spin/redis@2.0.0", "Redis"),
            ("fermyon:spin/mqtt@2.0.0", "MQTT"),
            ("fermyon:spin/llm@2.0.0", "language models"),
            ("spin:postgres/postgres@3.0.0", "run the application on Spin"),
            ("wasi:http/types@0.3.0-rc-2026-01-06", "Spin 4"),
            ("wasi:http/types@0.2.0-rc-2023-11-10", "preview"),
            ("someone:else/thing", "run the application on Spin"),
        ] {
            assert!(refusal(import).is_some_and(|text| text.contains(word)), "{import}");
        }
    }
}
