//! From a module or component file to something that can be instantiated for each request.
//!
//! It must not run guest code. What it refuses, it refuses in a sentence that says what the application needs.

use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::cache::Cache;
use crate::guest::{self, Guest};
use crate::limits;

/// The interface by which a component takes requests; any 0.2 version.
const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// Why a component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The file is missing or unreadable.
    #[error("cannot read {} of component `{id}`{advice}", path.display())]
    Read {
        /// The component.
        id: String,
        /// Its file.
        path: PathBuf,
        /// What to do: how to build it, where the manifest says.
        advice: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It is neither a module nor a component, or not a valid one.
    #[error("{} of component `{id}` is not a usable WebAssembly file: {reason}", path.display())]
    Invalid {
        /// The component.
        id: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It needs a host interface that there is not.
    #[error("component `{id}` imports {import}: {advice}")]
    Import {
        /// The component.
        id: String,
        /// The interface.
        import: String,
        /// What to do.
        advice: &'static str,
    },
    /// It does not handle requests in the way that this host does.
    #[error("component `{id}` {found}")]
    Handler {
        /// The component.
        id: String,
        /// What it exports instead, and what to do.
        found: String,
    },
}

/// Where the compiled form came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cache.
    Cached,
    /// The compiler, at this start.
    Compiled,
}

/// What components are loaded with.
pub struct Loader<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Interfaces that components may import.
    pub linker: &'a Linker<Guest>,
    /// Compiled components, if they are kept.
    pub cache: Option<&'a Cache>,
}

/// All interfaces that this host gives components: WASI 0.2, wasi:http and Spin's variables.
///
/// # Errors
/// None in practice: wasmtime reports an interface that is defined twice.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    guest::variables::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl Loader<'_> {
    /// Reads, compiles or fetches from the cache, and checks one component.
    ///
    /// # Errors
    /// [`ComponentError`].
    pub fn load(
        &self,
        id: &str,
        path: &Path,
        build_command: Option<&str>,
    ) -> Result<(ProxyPre<Guest>, Origin), ComponentError> {
        let wasm =
            crate::read::bytes(path, limits::WASM_FILE_BYTES).map_err(|source| ComponentError::Read {
                id: id.to_owned(),
                path: path.to_owned(),
                advice: build_command.map_or("; correct its `source`".to_owned(), |command| {
                    format!("; build it with `{command}`")
                }),
                source,
            })?;
        let invalid =
            |reason: String| ComponentError::Invalid { id: id.to_owned(), path: path.to_owned(), reason };
        let (component, origin) = match self.cache.and_then(|cache| cache.get(self.engine, &wasm)) {
            Some(component) => (component, Origin::Cached),
            None => (self.compile(&wasm).map_err(|error| invalid(format!("{error:#}")))?, Origin::Compiled),
        };
        self.check_imports(id, &component)?;
        self.check_handler(id, &component)?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .and_then(ProxyPre::new)
            .map_err(|error| invalid(format!("{error:#}")))?;
        Ok((pre, origin))
    }

    fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        let componentized = componentize(wasm)?;
        let component = Component::from_binary(self.engine, componentized.as_deref().unwrap_or(wasm))?;
        if let Some(cache) = self.cache {
            cache.put(self.engine, wasm, &component.serialize()?);
        }
        Ok(component)
    }

    fn check_imports(&self, id: &str, component: &Component) -> Result<(), ComponentError> {
        let component_type = component.component_type();
        let mut imports: Vec<&str> = component_type.imports(self.engine).map(|(name, _)| name).collect();
        imports.sort_unstable();
        match imports.into_iter().find_map(|import| refusal(import).map(|advice| (import, advice))) {
            None => Ok(()),
            Some((import, advice)) => {
                Err(ComponentError::Import { id: id.to_owned(), import: import.to_owned(), advice })
            }
        }
    }

    fn check_handler(&self, id: &str, component: &Component) -> Result<(), ComponentError> {
        let component_type = component.component_type();
        let exports: Vec<&str> = component_type.exports(self.engine).map(|(name, _)| name).collect();
        let exports_some = |prefix: &str| exports.iter().copied().find(|name| name.starts_with(prefix));
        let found = if exports_some(HANDLER).is_some_and(|name| !name.contains("-rc-")) {
            return Ok(());
        } else if let Some(name) = exports_some("wasi:http/handler@0.3") {
            format!(
                "exports {name}, which needs Spin 4; build it with a Spin SDK for Spin 3 (spin-sdk 5 in Rust)"
            )
        } else if let Some(name) = exports_some("fermyon:spin/inbound-http").or_else(|| exports_some(HANDLER))
        {
            format!(
                "exports {name}, which was made with a Spin SDK of version 2 or older; build it with a newer one"
            )
        } else {
            format!("exports no {HANDLER}*; the HTTP trigger needs a component that handles requests")
        };
        Err(ComponentError::Handler { id: id.to_owned(), found })
    }
}

/// Turns a core module into a component; `None` for what is one already.
fn componentize(wasm: &[u8]) -> wasmtime::Result<Option<Vec<u8>>> {
    // The two kinds share the first four bytes; the version field that follows tells them apart.
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {}
        Some([0, b'a', b's', b'm', ..]) => return Ok(None),
        _ => return Err(wasmtime::Error::msg("it does not start as one")),
    }
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let name = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|encoder| encoder.adapter(name, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map(Some)
        .map_err(|error| wasmtime::Error::msg(format!("it cannot be made a component: {error:#}")))
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

    #[test]
    fn what_is_no_webassembly_is_refused() {
        for bytes in [&b""[..], b"\0asm", b"#!/bin/sh\n", b"\0asm\x01\0\0\0garbage"] {
            assert!(componentize(bytes).is_err(), "{bytes:?}");
        }
        assert!(matches!(componentize(b"\0asm\x0d\0\x01\0"), Ok(None)));
    }
}
