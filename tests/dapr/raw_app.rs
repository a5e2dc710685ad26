//! An application that speaks bytes instead of HTTP: for answers that no HTTP library gives.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What an application does with a delivery.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// These bytes, then the end of the connection.
    Bytes(&'static [u8]),
    /// Nothing, ever.
    Nothing,
    /// A head, and then a body without end.
    Endless,
}

/// Answers every OPTIONS with 200 and every delivery as it is told. Gone when dropped.
pub struct RawApp {
    pub port: u16,
    _serving: AbortOnDropHandle<()>,
}

impl RawApp {
    /// `answers` chooses by the delivery's body.
    pub async fn start(answers: impl Fn(&[u8]) -> Answer + Send + Sync + Copy + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // An error is the caller's end of the connection.
                    let _ = serve(stream, answers).await;
                });
            }
        });
        Self { port, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// Answers the one request of a connection.
async fn serve(stream: TcpStream, answers: impl Fn(&[u8]) -> Answer) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut is_delivery, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_ascii_lowercase();
        is_delivery |= line.starts_with("post ");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let answer = match is_delivery {
        true => answers(&body),
        false => Answer::Bytes(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    };
    match answer {
        Answer::Bytes(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await
        }
        Answer::Nothing => std::future::pending().await,
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"1000\r\n").await?;
                stream.write_all(&[b'x'; 0x1000]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
    }
}
