//! HTTP/1.1 as it is on the connection: what a client library would not send, and what it would put right, is sent and
//! seen here as it is. Both sides of an application use it: the sender of orders and the Dapr that the suite plays.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The largest body that is read, bytes: far more than any case sends.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer; 0 where the line has none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads the next request; none where the connection ends before it begins.
///
/// # Errors
/// Fails where it breaks off or is no HTTP.
pub async fn read_request(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let Some(mut message) = read_head(from).await? else { return Ok(None) };
    message.body = read_body(from, &message, false).await?;
    Ok(Some(message))
}

/// Reads the next answer that is final.
///
/// # Errors
/// Fails where the connection ends first, or where it is no HTTP.
async fn read_answer(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Message> {
    loop {
        let head = read_head(from).await?;
        let mut message = head.ok_or_else(|| invalid("the connection was closed without an answer"))?;
        if message.status() / 100 != 1 {
            let has_body = !matches!(message.status(), 204 | 304);
            message.body = if has_body { read_body(from, &message, true).await? } else { Vec::new() };
            return Ok(message);
        }
    }
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| invalid("a head that is no text"))?;
    let line = line.strip_suffix("\r\n").ok_or_else(|| invalid("a line without its end"))?;
    Ok(Some(line.to_owned()))
}

async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let Some(start) = read_line(from).await? else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let line = read_line(from).await?.ok_or_else(|| invalid("a head that breaks off"))?;
        if line.is_empty() {
            return Ok(Some(Message { start, headers, body: Vec::new() }));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn read_body(
    from: &mut (impl AsyncBufRead + Unpin),
    head: &Message,
    to_the_end: bool,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(from).await?.ok_or_else(|| invalid("a body that breaks off"))?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(|_| invalid("a chunk without its size"))?;
            read_exactly(from, size, &mut body).await?;
            // Behind the last chunk there may be trailers; no application of ours has any.
            if read_line(from).await?.is_none_or(|line| !line.is_empty()) {
                return Err(invalid("a chunk that does not end"));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match head.header("content-length") {
        Some(length) => {
            let length = length.parse().map_err(|_| invalid("a length that is no number"))?;
            read_exactly(from, length, &mut body).await?;
        }
        None if to_the_end => {
            from.take(BODY_BYTES_MAX as u64).read_to_end(&mut body).await?;
        }
        None => {}
    }
    Ok(body)
}

async fn read_exactly(
    from: &mut (impl AsyncBufRead + Unpin),
    size: usize,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    let start = body.len();
    if size > BODY_BYTES_MAX - start {
        return Err(invalid("a body that is too large"));
    }
    body.resize(start + size, 0);
    from.read_exact(&mut body[start..]).await.map(drop)
}

/// The side of the one who asks.
pub struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    /// # Errors
    /// Fails where nobody listens.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }

    /// Sends these bytes and nothing more, and reads the answer. It may come before all is sent; then the rest is not.
    ///
    /// # Errors
    /// Fails where no whole answer comes.
    pub async fn exchange(&mut self, bytes: &[u8]) -> io::Result<Message> {
        let Self { reader, writer } = self;
        // One that fails has been closed by the other side: its answer, if any, is what counts.
        let send = async {
            let _ = writer.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = read_answer(reader) => answer,
            () = send => Err(invalid("sent for ever")),
        }
    }

    /// Sends these bytes again and again until an answer comes.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub async fn exchange_endless(&mut self, head: &[u8], piece: &[u8]) -> io::Result<Message> {
        let Self { reader, writer } = self;
        let send = async {
            let mut sent = writer.write_all(head).await;
            while sent.is_ok() {
                sent = writer.write_all(piece).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = read_answer(reader) => answer,
            () = send => Err(invalid("sent for ever")),
        }
    }

    /// Sends these bytes, says that there will be no more, and reads what comes back.
    ///
    /// # Errors
    /// Fails where no whole answer comes.
    pub async fn exchange_and_close(&mut self, bytes: &[u8]) -> io::Result<Message> {
        self.writer.write_all(bytes).await?;
        self.writer.shutdown().await?;
        read_answer(&mut self.reader).await
    }
}
