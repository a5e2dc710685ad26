//! What a program of this machine needs beside itself in an image: the C library and whatever else it is linked with, as
//! they are here. See ADR 0005 for why they are not taken from a published image.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Files, ImageError};

/// Who the program runs as: the user that distroless images call `nonroot`.
pub(super) const USER: &str = "65532:65532";

/// The program and its first lines of an answer, run to its end.
pub(super) fn ask(program: &Path, args: &[&OsStr], folder: &Path) -> Result<String, ImageError> {
    let shown: Vec<_> = args.iter().map(|argument| argument.to_string_lossy()).collect();
    let command = || format!("{} {}", program.display(), shown.join(" "));
    let output = Command::new(program).args(args).current_dir(folder).output().map_err(|error| {
        ImageError::Program { command: command(), what: format!("could not be started: {error}") }
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("ended with {}: {}", output.status, said.trim());
        return Err(ImageError::Program { command: command(), what });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The Node that runs on this machine, whatever shims stand in front of it.
pub(super) fn node() -> Result<PathBuf, ImageError> {
    let path = ask(Path::new("node"), &["-p".as_ref(), "process.execPath".as_ref()], Path::new("/"))?;
    Ok(PathBuf::from(path.trim()))
}

/// The libraries of a program, at the paths under which its loader looks for them, and the few files of `/etc` that the C
/// library reads.
pub(super) fn libraries(program: &Path, files: &mut Files) -> Result<(), ImageError> {
    for library in parse(&ask(Path::new("ldd"), &[program.as_os_str()], Path::new("/"))?) {
        // A link to the file with the version in its name; what is wanted is the file.
        let from = library.canonicalize().map_err(|source| ImageError::File {
            operation: "find",
            path: library.clone(),
            source,
        })?;
        files.program(&library, &from);
    }
    files.text("/etc/passwd", "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n");
    files.text("/etc/group", "root:x:0:\nnonroot:x:65532:\n");
    files.text("/etc/nsswitch.conf", "hosts: files dns\n");
    files.shared_folder("/tmp");
    Ok(())
}

/// The paths that `ldd` names: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader alone. The kernel's own
/// library has no path.
fn parse(answer: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let right = line.split_once("=>").map_or(line, |(_, right)| right);
        let path = right.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    answer.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_ldd_is_read() {
        let answer = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x1)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse(answer), expected.map(PathBuf::from));
        assert!(parse("\tlibmissing.so => not found\n").is_empty());
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        let error =
            ask(Path::new("ls"), &["/no/such/folder".as_ref()], Path::new("/")).expect_err("no folder");
        assert!(
            error.to_string().contains("ls /no/such/folder") && error.to_string().contains("ended with"),
            "{error}"
        );
        let error = ask(Path::new("no-such-program"), &[], Path::new("/")).expect_err("no program");
        assert!(error.to_string().contains("could not be started"), "{error}");
    }
}
