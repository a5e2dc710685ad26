//! What guests write to stdout and stderr: whole lines, each with the component's id before it, to this program's
//! stderr and, if asked, to a file without the id.
//!
//! It must not lose the end of an output that has no line break, nor let one guest's line break another's.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::limits;

/// Where one of the two outputs of a component goes.
#[derive(Clone)]
pub struct Output(Arc<Sink>);

struct Sink {
    prefix: String,
    console: bool,
    file: Option<Mutex<File>>,
}

/// Which of a guest's outputs.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Prepares an output. Files are named as Spin names them: `<component>_stdout.txt` and `<component>_stderr.txt`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(
        component: &str,
        kind: Kind,
        console: bool,
        log_directory: Option<&Path>,
    ) -> io::Result<Self> {
        let suffix = match kind {
            Kind::Stdout => "stdout",
            Kind::Stderr => "stderr",
        };
        let file = match log_directory {
            None => None,
            Some(directory) => {
                let path = directory.join(format!("{component}_{suffix}.txt"));
                Some(Mutex::new(File::options().create(true).append(true).open(path)?))
            }
        };
        Ok(Self(Arc::new(Sink { prefix: format!("[{component}] "), console, file })))
    }
}

impl Sink {
    /// Writes whole lines. A console or disk that takes no more is no reason to stop a guest.
    fn lines(&self, text: &[u8]) {
        if let Some(file) = &self.file {
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text);
        }
        if self.console {
            let mut marked = Vec::with_capacity(text.len() + self.prefix.len());
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                marked.extend_from_slice(self.prefix.as_bytes());
                marked.extend_from_slice(line);
            }
            let _ = io::stderr().lock().write_all(&marked);
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines { sink: Arc::clone(&self.0), pending: Vec::new() })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines { sink: Arc::clone(&self.0), pending: Vec::new() })
    }
}

/// One instance's output: holds back what is not yet a line.
struct Lines {
    sink: Arc<Sink>,
    pending: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() > limits::STDIO_LINE_BYTES && !self.pending.ends_with(b"\n") {
            self.pending.push(b'\n');
        }
        if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.pending.split_off(end + 1);
            self.sink.lines(&std::mem::replace(&mut self.pending, rest));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.pending.push(b'\n');
            self.sink.lines(&self.pending);
        }
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok::<_, StreamError>(limits::STDIO_LINE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_whole_and_the_last_one_is_not_lost() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let output = Output::open("shop", Kind::Stdout, false, Some(directory.path())).expect("opens");
        let written = || std::fs::read_to_string(directory.path().join("shop_stdout.txt")).expect("readable");
        let lines = |output: &Output| Lines { sink: Arc::clone(&output.0), pending: Vec::new() };
        let (mut one, mut two) = (lines(&output), lines(&output));
        one.take(b"first ");
        two.take(b"other\n");
        assert_eq!(written(), "other\n");
        one.take(b"line\nand a");
        assert_eq!(written(), "other\nfirst line\n");
        drop(one);
        assert_eq!(written(), "other\nfirst line\nand a\n");
        two.take(&vec![b'x'; limits::STDIO_LINE_BYTES + 1]);
        assert!(written().ends_with("x\n"), "an endless line is written in pieces");
    }
}
