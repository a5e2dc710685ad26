//! A server that guests call: it counts connections and requests, and holds answers back when asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::http::PATIENCE;

#[derive(Default)]
struct State {
    connections: usize,
    requests: usize,
    last_head: String,
    released: bool,
}

/// The paths `/held` and `/first-byte` are answered only after [`Upstream::release`], `/between-bytes` then has its
/// last bytes; any other one is answered at once,
/// `/echo` with the request's body.
pub struct Upstream {
    pub address: String,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&of_thread);
                shared.0.lock().expect("no panic").connections += 1;
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.shared.0.lock().expect("no panic").connections
    }

    pub fn requests(&self) -> usize {
        self.shared.0.lock().expect("no panic").requests
    }

    /// The head of the last request.
    pub fn last_head(&self) -> String {
        self.shared.0.lock().expect("no panic").last_head.clone()
    }

    pub fn wait_for_requests(&self, count: usize) {
        let state = self.shared.0.lock().expect("no panic");
        let waiting = |state: &mut State| state.requests < count;
        let (state, _) = self.shared.1.wait_timeout_while(state, PATIENCE, waiting).expect("no panic");
        assert!(state.requests >= count, "{} of {count} requests came", state.requests);
    }

    pub fn release(&self) {
        self.shared.0.lock().expect("no panic").released = true;
        self.shared.1.notify_all();
    }
}

fn serve(mut stream: TcpStream, (state, changed): &(Mutex<State>, Condvar)) {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => read.extend_from_slice(&buffer[..length]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end + 4);
        let held = ["GET /held ", "GET /first-byte "].iter().any(|held| head.starts_with(held));
        let halved = head.starts_with("GET /between-bytes ");
        let mut state = state.lock().expect("no panic");
        state.requests += 1;
        state.last_head.clone_from(&head);
        changed.notify_all();
        if halved && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").is_err() {
            return;
        }
        if held || halved {
            let waiting = |state: &mut State| !state.released;
            drop(changed.wait_timeout_while(state, PATIENCE, waiting).expect("no panic"));
        } else {
            drop(state);
        }
        if head.starts_with("POST /echo ") {
            return echo(stream, &head, read);
        }
        let answer: &[u8] =
            if halved { b"llo" } else { b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// Answers with the body, whose beginning was read with the head, and ends the connection.
fn echo(mut stream: TcpStream, head: &str, mut body: Vec<u8>) {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut rest = vec![0; length.unwrap_or(0).saturating_sub(body.len())];
    if stream.read_exact(&mut rest).is_ok() {
        body.append(&mut rest);
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }
}
