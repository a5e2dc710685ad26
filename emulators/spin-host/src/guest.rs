//! What one instance of a component has for itself: its WASI context, its handles, its limits.
//!
//! One is made for each request and thrown away after it. It must not share anything that a guest can change.

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::app::Component;
use crate::hosts::Target;
use crate::limits;
use crate::outbound::Hooks;
use crate::variables::VariableError;

mod bindings {
    #![expect(
        missing_docs,
        reason = "written by a macro from the interface file, which has the explanations"
    )]
    wasmtime::component::bindgen!({ path: "wit", world: "host", imports: { default: trappable } });
}
pub use bindings::fermyon::spin::variables;

/// The state of one instance.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Hooks,
    memory: MemoryLimit,
    component: Arc<Component>,
}

impl Guest {
    /// A store with the state of a fresh instance of this component.
    pub fn store(component: &Arc<Component>, hooks: Hooks) -> Store<Self> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits::HEADER_FIELDS_BYTES);
        let memory = MemoryLimit {
            component: component.id.clone(),
            bytes: component.memory_limit_bytes,
            is_reported: false,
        };
        let limited = memory.bytes.is_some();
        let guest = Self {
            wasi: wasi(component),
            http,
            table: ResourceTable::new(),
            hooks,
            memory,
            component: Arc::clone(component),
        };
        let mut store = Store::new(component.handler.engine(), guest);
        if limited {
            store.limiter(|guest| &mut guest.memory);
        }
        // At each tick of the clock a guest that computes gives way to the other work of its thread.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

fn wasi(component: &Arc<Component>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(component.stdout.clone()).stderr(component.stderr.clone()).envs(&component.environment);
    if let Some(files) = &component.files {
        files.mount(&mut builder);
    }
    let allowed = Arc::clone(component);
    builder.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true);
    builder.socket_addr_check(move |address, purpose| {
        let is_allowed = may_use_socket(&allowed, address, purpose);
        Box::pin(async move { is_allowed })
    });
    builder.build()
}

/// Sockets are opened to allowed hosts (`tcp://…`, `udp://…`) and never listened on.
fn may_use_socket(component: &Component, address: SocketAddr, purpose: SocketAddrUse) -> bool {
    // To connect or send, the system binds a socket to a port of its choice; wasmtime asks about that as well.
    let any_port = address.ip().is_unspecified() && address.port() == 0;
    let scheme = match purpose {
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if any_port => return true,
        SocketAddrUse::TcpBind | SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => return false,
        SocketAddrUse::TcpConnect => "tcp",
        SocketAddrUse::UdpBind | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
    };
    let target = Target::parse(&format!("{scheme}://{address}"), scheme);
    target.is_some_and(|target| component.may_reach(&target))
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl variables::Host for Guest {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<String, variables::Error>> {
        Ok(self.component.variables.get(&name).map(str::to_owned).map_err(|error| match error {
            VariableError::InvalidName(text) => variables::Error::InvalidName(text),
            VariableError::Undefined(text) => variables::Error::Undefined(text),
            VariableError::InvalidTemplate(text) => variables::Error::Other(text),
        }))
    }
}

/// Refuses memory beyond `--max-instance-memory`; the guest sees a failed `memory.grow`.
struct MemoryLimit {
    component: String,
    bytes: Option<usize>,
    /// A guest may ask again and again.
    is_reported: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let within = self.bytes.is_none_or(|bytes| desired <= bytes);
        if !within && !std::mem::replace(&mut self.is_reported, true) {
            tracing::error!(
                component = self.component,
                limit_bytes = self.bytes,
                desired,
                "memory limit reached"
            );
        }
        Ok(within)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}
