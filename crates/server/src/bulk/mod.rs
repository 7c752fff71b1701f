//! `lodestone import` and `lodestone export`: many points in and out, whole, checked and resumable.
//!
//! A file is cut into chunks of whole points ([`source`], [`npy`], [`parquet`]); chunks are decoded and checked against the collection
//! ([`decode`]) and written by several tasks at once ([`import`]) to a [`target`]. What is acknowledged without a gap is kept in a
//! small file ([`state`]), so that the same command goes on after any end. [`digest`] says in one number what a set of points holds,
//! whatever its order: [`verify`] compares that of the file with that of what the collection returns, and [`export`] prints it beside what it
//! writes ([`output`]).

mod decode;
mod digest;
pub mod export;
pub mod import;
mod npy;
mod output;
mod own;
mod parquet;
mod pipeline;
mod progress;
mod source;
mod state;
mod target;
mod verify;
