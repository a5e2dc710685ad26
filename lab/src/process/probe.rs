//! Whether a program serves: typed questions to the address on which it should, asked until the answer is right, the
//! program has ended, or time is up.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Child;
use crate::limits;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It has printed the line that says where it listens, and that is where it was told to.
    Announced {
        /// Every address of it.
        addresses: Vec<SocketAddr>,
    },
    /// A connection is accepted.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// A peer that offers AMQP is answered with AMQP.
    Amqp {
        /// Where.
        address: SocketAddr,
    },
    /// `GET` of a path is answered with a status and, where named, with a header.
    Http {
        /// Where.
        address: SocketAddr,
        /// The path with its query.
        path: &'static str,
        /// The status that is right.
        status: u16,
        /// A header and its value, both as they must be but for the case of the name.
        header: Option<(&'static str, &'static str)>,
    },
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced { .. } => formatter.write_str("its line on stdout"),
            Self::Tcp { address } => write!(formatter, "a connection to {address}"),
            Self::Amqp { address } => write!(formatter, "an AMQP header from {address}"),
            Self::Http { address, path, status, header } => {
                write!(formatter, "{status} from GET http://{address}{path}")?;
                match header {
                    Some((name, value)) => write!(formatter, " with {name}: {value}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Why a program is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNotReady {
    /// It ended.
    Ended(ExitStatus),
    /// Time is up.
    TimedOut,
    /// It listens elsewhere than it was told to.
    Elsewhere(Vec<SocketAddr>),
}

/// A program that did not get ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Why.
    pub why: WhyNotReady,
    /// The question that was not answered rightly.
    pub probe: Probe,
    /// What was seen last.
    pub last_status: Option<String>,
    /// Since the program was started.
    pub elapsed: Duration,
}

/// The header of AMQP with SASL, with which every client of the broker opens.
const AMQP_SASL_HEADER: [u8; 8] = [b'A', b'M', b'Q', b'P', 3, 1, 0, 0];

/// Head of an answer that is read; more is no answer to a probe.
const HEAD_BYTES: usize = 8 * 1024;

impl Probe {
    /// Asks until the answer is right.
    ///
    /// # Errors
    /// Says what was seen last when the program has ended or `deadline` has passed.
    pub async fn pass(&self, child: &Child, deadline: Instant) -> Result<(), NotReady> {
        let mut last_status = None;
        let why = loop {
            if let Some(status) = child.exit() {
                break WhyNotReady::Ended(status);
            }
            if Instant::now() > deadline {
                break WhyNotReady::TimedOut;
            }
            match self.ask(child, deadline).await {
                Ok(()) => return Ok(()),
                Err(Seen::Wrong(why)) => break why,
                Err(Seen::NotYet(status)) => last_status = Some(status),
            }
            let pause = tokio::time::sleep(limits::PROBE_INTERVAL);
            tokio::select! { _ = pause => {}, _ = child.ended() => {} }
        };
        Err(NotReady { why, probe: self.clone(), last_status, elapsed: child.started().elapsed() })
    }

    async fn ask(&self, child: &Child, deadline: Instant) -> Result<(), Seen> {
        let attempt = async {
            match self {
                Self::Announced { addresses } => tokio::select! {
                    found = child.announces() => Ok(match addresses.iter().all(|told| found.contains(told)) {
                        true => Ok(()),
                        false => Err(Seen::Wrong(WhyNotReady::Elsewhere(found))),
                    }),
                    status = child.ended() => Ok(Err(Seen::Wrong(WhyNotReady::Ended(status)))),
                },
                Self::Tcp { address } => TcpStream::connect(address).await.map(|_| Ok(())),
                Self::Amqp { address } => amqp(*address).await,
                Self::Http { address, path, status, header } => {
                    let head = http(*address, path).await?;
                    Ok(judge(&head, *status, *header))
                }
            }
        };
        let limit = match self {
            Self::Announced { .. } => deadline.saturating_duration_since(Instant::now()),
            _ => limits::PROBE_ATTEMPT,
        };
        match timeout(limit, attempt).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(Seen::NotYet(error.to_string())),
            Err(_) => Err(Seen::NotYet(format!("no answer within {limit:.1?}"))),
        }
    }
}

enum Seen {
    NotYet(String),
    Wrong(WhyNotReady),
}

async fn amqp(address: SocketAddr) -> io::Result<Result<(), Seen>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&AMQP_SASL_HEADER).await?;
    let mut header = [0; AMQP_SASL_HEADER.len()];
    stream.read_exact(&mut header).await?;
    Ok(match header == AMQP_SASL_HEADER {
        true => Ok(()),
        false => Err(Seen::NotYet(format!("answered {header:02x?}"))),
    })
}

/// The head of the answer to a `GET`.
async fn http(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn judge(head: &str, status: u16, header: Option<(&str, &str)>) -> Result<(), Seen> {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let found = first.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    if found != Some(status) {
        let seen = if first.is_empty() { "closed without an answer" } else { first };
        return Err(Seen::NotYet(seen.to_owned()));
    }
    let Some((name, value)) = header else { return Ok(()) };
    let has = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':')).any(
        |(found_name, found_value)| found_name.eq_ignore_ascii_case(name) && found_value.trim() == value,
    );
    if has { Ok(()) } else { Err(Seen::NotYet(format!("{first}, without {name}: {value}"))) }
}
