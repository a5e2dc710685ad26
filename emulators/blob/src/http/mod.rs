//! The store over HTTP: what a request asks for, whether it may, what is answered. Rules about blobs live in
//! `store`, about credentials in `auth`.

mod answer;
mod blobs;
mod blocks;
mod body;
mod containers;
mod control;
mod copy;
mod headers;
mod operation;
mod service;
mod target;
mod xml;
mod xml_in;

pub use operation::Operation;
pub use service::Service;
pub use target::{Query, Resource};
