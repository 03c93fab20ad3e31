//! Free TCP ports of 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

const LOWEST: u16 = 10_000;
const ATTEMPTS: usize = 200;

/// A TCP port of 127.0.0.1 on which nobody listens.
///
/// It lies below the range from which the kernel serves connecting sockets, since a server that is
/// killed and started again needs the *same* port, and no connection may have taken it meanwhile.
/// Another process may still win the race for it: whoever listens on it must be ready to try another.
pub fn free_port() -> Result<u16> {
    let end = first_ephemeral_port().unwrap_or(32_768);
    if end < LOWEST + 2_000 {
        return port_from_kernel();
    }
    for _ in 0..ATTEMPTS {
        let port = fastrand::u16(LOWEST..end);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {LOWEST}..{end} after {ATTEMPTS} attempts")
}

fn first_ephemeral_port() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

fn port_from_kernel() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking the kernel for a free port")?;
    Ok(listener.local_addr().context("reading the port")?.port())
}
