//! Calls that the SDK has no words for: with time limits, and over plain TCP. They wait in the guest.

use std::net::SocketAddr;
use std::time::Duration;

use spin_sdk::wit::wasi::http0_2_0::outgoing_handler::handle;
use spin_sdk::wit::wasi::http0_2_0::types::{Fields, OutgoingRequest, RequestOptions, Scheme};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasi::sockets::tcp_create_socket::create_tcp_socket;

/// Calls `<what>*<authority>` with a limit of 200 ms on `connect`, `first-byte` or `between-bytes`; shows the outcome.
pub fn impatient(query: &str) -> String {
    let (what, authority) = query.split_once('*').unwrap_or(("", query));
    let limit = u64::try_from(Duration::from_millis(200).as_nanos()).ok();
    let options = RequestOptions::new();
    let set = match what {
        "connect" => options.set_connect_timeout(limit),
        "first-byte" => options.set_first_byte_timeout(limit),
        "between-bytes" => options.set_between_bytes_timeout(limit),
        _ => Err(()),
    };
    if set.is_err() {
        return format!("no such limit: {what}");
    }
    let request = OutgoingRequest::new(Fields::new());
    let path = format!("/{what}");
    let told = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(&path)));
    if told.is_err() {
        return format!("no such authority: {authority}");
    }
    let response = match handle(request, Some(options)) {
        Ok(response) => response,
        Err(code) => return format!("{code:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(answer))) => {
            let body = answer.consume().expect("the first time");
            let stream = body.stream().expect("the first time");
            let mut read = 0;
            loop {
                match stream.blocking_read(1024) {
                    Ok(bytes) => read += bytes.len(),
                    Err(wasi::io::streams::StreamError::Closed) => {
                        return format!("{} {read}", answer.status());
                    }
                    Err(error) => return format!("{} {read} {error:?}", answer.status()),
                }
            }
        }
        Some(Ok(Err(code))) => format!("{code:?}"),
        other => format!("{other:?}"),
    }
}

/// Sends a line to an address and shows what comes back.
pub fn tcp(address: &str) -> String {
    let Ok(address) = address.parse::<SocketAddr>() else { return format!("no address: {address}") };
    exchange(address).unwrap_or_else(|code| format!("{code:?}"))
}

fn exchange(address: SocketAddr) -> Result<String, ErrorCode> {
    let (family, address) = match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            let address = Ipv4SocketAddress { address: (a, b, c, d), port: address.port() };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
        }
        SocketAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.ip().segments();
            let ip = (a, b, c, d, e, f, g, h);
            let address = Ipv6SocketAddress { address: ip, port: address.port(), flow_info: 0, scope_id: 0 };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    };
    let socket = create_tcp_socket(family)?;
    socket.start_connect(&instance_network(), address)?;
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            result => break result?,
        }
    };
    output.blocking_write_and_flush(b"GET / HTTP/1.0\r\n\r\n").map_err(|_| ErrorCode::ConnectionReset)?;
    let answer = input.blocking_read(1024).map_err(|_| ErrorCode::ConnectionReset)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}
