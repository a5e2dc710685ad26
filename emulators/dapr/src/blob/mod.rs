//! `bindings.azure.blobstorage` (components-contrib, `bindings/azure/blobstorage` and
//! `common/component/azure/blobstorage`): blobs of one container made, read, deleted and listed.

mod client;
mod list;
pub mod operations;
pub mod settings;
mod sign;
