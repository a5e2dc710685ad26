//! What every benchmark of a program does alike: start it, load it over HTTP, read what the kernel charged to it, print.
//!
//! A benchmark says what is measured and how; this crate holds the means. It must not know any emulator, request,
//! flag or column of one benchmark alone, and it asserts no figure: figures are for reading.

mod cost;
mod http;
mod load;
mod program;

pub use cost::{Cost, Durations, Meter};
pub use http::{Connection, answer_all};
pub use load::Load;
pub use program::Program;

/// Why a benchmark ended early: what was done, to what, and the cause.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The value of an option of this benchmark (`--seconds 4`), if it was given. What else cargo passes is not looked at.
///
/// # Errors
/// Fails when the option has no value, or one that cannot be read.
pub fn option<T>(name: &str) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    if arguments.next().is_none() {
        return Ok(None);
    }
    let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
    value.parse().map(Some).map_err(|error| format!("{name} {value}: {error}").into())
}

/// Prints how busy the machine was before: other work on it disturbs every figure.
///
/// # Errors
/// Fails where there is no `/proc`.
pub fn print_machine_load() -> Result<(), Failure> {
    println!("machine load {}", program::read("/proc/loadavg")?.trim());
    Ok(())
}
