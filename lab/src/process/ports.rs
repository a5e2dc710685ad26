//! Ports that the lab chooses and keeps: known before the program that listens on them is started, and its own again
//! when it is restarted.
//!
//! A program that is asked for port 0 gets one of the kernel's ephemeral range. While it is down, clients that retry
//! draw their own ports from that range, may be given the very port they connect to, and then talk to themselves; the
//! program can't come back. So the lab takes ports from below that range and, where the kernel allows it, stays bound
//! to them without listening, so that nobody else gets one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::limits;

/// A port of the loopback interface that is the lab's.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    held: Option<Socket>,
}

/// A port that somebody else has.
#[derive(Debug, thiserror::Error)]
#[error("port {port} is taken")]
pub struct PortTaken {
    /// Which port.
    pub port: u16,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl ReservedPort {
    /// A free port.
    ///
    /// # Errors
    /// Fails where none of many is free.
    pub fn any() -> Result<Self, PortTaken> {
        let mut last = Self::this(draw());
        for _ in 1..limits::PORT_ATTEMPTS {
            if last.is_ok() {
                break;
            }
            last = Self::this(draw());
        }
        last
    }

    /// A certain port.
    ///
    /// # Errors
    /// Fails where somebody has it.
    pub fn this(port: u16) -> Result<Self, PortTaken> {
        let taken = |source| PortTaken { port, source };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(taken)?;
        // Alone while it is being taken: without the option, no other socket may be bound to it.
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).map_err(taken)?;
        // Shared from now on with a program that sets the same option before it binds, as they all do.
        socket.set_reuse_address(true).map_err(taken)?;
        Ok(Self { port, held: Some(socket) })
    }

    /// The address on which the program has to listen.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// To be called right before the program is started. Only Linux lets it bind while the lab is bound too.
    pub fn hand_over(&mut self) {
        if !cfg!(target_os = "linux") {
            self.held = None;
        }
    }
}

/// Any port of the range. Two labs that start at the same time must not try the same ports in the same order.
fn draw() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    let count = u64::from(limits::PORTS.end - limits::PORTS.start);
    limits::PORTS.start + u16::try_from(random % count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    /// A listener that was dropped may still listen for a moment: a process that another test starts holds a copy of every socket
    /// from its fork to its exec.
    fn nobody_listens(address: SocketAddr) {
        let since = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(since.elapsed() < limits::READY, "somebody listens on {address}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_can_listen_on_it_again_and_again_and_nobody_else_can_reserve_it() {
        let mut reserved = ReservedPort::any().expect("a port");
        let address = reserved.address();
        assert!(limits::PORTS.contains(&address.port()));
        for _ in 0..3 {
            assert!(ReservedPort::this(address.port()).is_err());
            nobody_listens(address);
            reserved.hand_over();
            let listener = TcpListener::bind(address).expect("the program's socket");
            let client = TcpStream::connect(address).expect("a connection");
            let (server, _) = listener.accept().expect("a connection");
            assert!(ReservedPort::this(address.port()).is_err());
            drop((server, client));
        }
    }

    #[test]
    fn a_port_that_is_listened_on_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let error = ReservedPort::this(port).expect_err("it is taken");
        assert_eq!(error.to_string(), format!("port {port} is taken"));
    }
}
