//! `bindings.azure.servicebusqueues` (components-contrib, `bindings/azure/servicebusqueues` and
//! `common/component/azure/servicebus`): messages out to a queue, and messages of a queue to the application.

pub mod broker;
pub mod input;
mod limiter;
mod lock_renewal;
mod message;
pub mod output;
pub mod settings;
