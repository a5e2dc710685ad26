//! The command `lab`: everything is in the library.

fn main() -> std::process::ExitCode {
    lab::cli::main()
}
