//! From a module or component file to something that can be instantiated for each request.
//!
//! It must not run guest code. What it refuses, it refuses in a sentence that says what the application needs.

use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::guest::{self, Guest};
use crate::imports::{self, Missing};
use crate::limits;
use crate::manifest;

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
    /// It needs host interfaces that there are not.
    #[error("component `{id}` imports {}", imports::sentence(missing))]
    Imports {
        /// The component.
        id: String,
        /// The interfaces, each with what to do.
        missing: Vec<Missing>,
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

/// A component that can be instantiated for each request.
pub struct Loaded {
    /// What instances are made from.
    pub handler: ProxyPre<Guest>,
    /// Where the compiled form came from.
    pub origin: Origin,
    /// SHA-256 of the file as it was read: the same as in an OCI layout.
    pub digest: Digest,
}

/// What components are loaded with.
pub struct Loader<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Interfaces that components may import.
    pub linker: &'a Linker<Guest>,
    /// Compiled components, if they are kept.
    pub cache: Option<&'a Cache>,
    /// Load a component though it imports what there is not; a call of that traps.
    pub trap_unknown_imports: bool,
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
    pub fn load(&self, id: &str, source: &manifest::Component) -> Result<Loaded, ComponentError> {
        let path = source.source.as_path();
        let wasm =
            crate::read::bytes(path, limits::WASM_FILE_BYTES).map_err(|cause| ComponentError::Read {
                id: id.to_owned(),
                path: path.to_owned(),
                advice: source
                    .build_command
                    .as_ref()
                    .map_or("; correct its `source`".to_owned(), |command| {
                        format!("; build it with `{command}`")
                    }),
                source: cause,
            })?;
        let invalid =
            |reason: String| ComponentError::Invalid { id: id.to_owned(), path: path.to_owned(), reason };
        let digest = Digest::of(&wasm);
        if source.digest.is_some_and(|expected| expected != digest) {
            return Err(invalid("its digest is another one; copy or write the image again".to_owned()));
        }
        let (component, origin) = match self.cache.and_then(|cache| cache.get(self.engine, digest)) {
            Some(component) => (component, Origin::Cached),
            None => {
                let compiled = self.compile(&wasm, digest);
                (compiled.map_err(|error| invalid(format!("{error:#}")))?, Origin::Compiled)
            }
        };
        let missing = imports::missing(self.engine, &component);
        if !missing.is_empty() && !self.trap_unknown_imports {
            return Err(ComponentError::Imports { id: id.to_owned(), missing });
        }
        self.check_handler(id, &component)?;
        let handler = self
            .instantiate_pre(id, &component, &missing)
            .and_then(ProxyPre::new)
            .map_err(|error| invalid(format!("{error:#}")))?;
        Ok(Loaded { handler, origin, digest })
    }

    fn compile(&self, wasm: &[u8], digest: Digest) -> wasmtime::Result<Component> {
        let componentized = componentize(wasm)?;
        let component = Component::from_binary(self.engine, componentized.as_deref().unwrap_or(wasm))?;
        if let Some(cache) = self.cache {
            cache.put(self.engine, digest, &component.serialize()?);
        }
        Ok(component)
    }

    fn instantiate_pre(
        &self,
        id: &str,
        component: &Component,
        missing: &[Missing],
    ) -> wasmtime::Result<InstancePre<Guest>> {
        if missing.is_empty() {
            return self.linker.instantiate_pre(component);
        }
        for Missing { import, advice } in missing {
            tracing::warn!(component = id, import, "a call of this import will trap: {advice}");
        }
        let mut linker = self.linker.clone();
        imports::define_traps(&mut linker, self.engine, component, missing)?;
        linker.instantiate_pre(component)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_webassembly_is_refused() {
        for bytes in [&b""[..], b"\0asm", b"#!/bin/sh\n", b"\0asm\x01\0\0\0garbage"] {
            assert!(componentize(bytes).is_err(), "{bytes:?}");
        }
        assert!(matches!(componentize(b"\0asm\x0d\0\x01\0"), Ok(None)));
    }
}
