//! `--health`: a process asks another of its own kind whether it lives, for containers that have neither shell nor curl.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(3);
const OK: &[u8] = b"HTTP/1.1 200 ";

/// Asks `/live` of the admin port at this address. Exit code 0 if the answer is 200, else 1 and one sentence.
pub(super) fn probe(admin_addr: SocketAddr) -> ExitCode {
    match ask(admin_addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(admin_addr: SocketAddr) -> Result<(), String> {
    if admin_addr.port() == 0 {
        return Err("ADMIN_ADDR has port 0: give the process that is asked, and this one, a port of its own".to_owned());
    }
    let addr = SocketAddr::new(reachable(admin_addr.ip()), admin_addr.port());
    let answer = answer_of(addr).map_err(|error| format!("asking {addr} for /live: {error}"))?;
    if answer == OK { Ok(()) } else { Err(format!("{addr} answers /live with {:?}", String::from_utf8_lossy(&answer))) }
}

/// An address that stands for all of this host's is listened on, but can't be asked everywhere.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// How the answer begins; blocking, since there is nothing else to do.
fn answer_of(addr: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /live HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut begin = Vec::new();
    stream.take(OK.len() as u64).read_to_end(&mut begin)?;
    Ok(begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn served(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let outcome = ask(addr);
        assert!(server.join().unwrap().starts_with("GET /live HTTP/1.1\r\nhost: 127.0.0.1:"));
        outcome
    }

    #[test]
    fn only_200_is_health() {
        assert_eq!(served("HTTP/1.1 200 OK\r\n\r\nlive\n"), Ok(()));
        assert!(served("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().contains("503"));
        assert!(served("").unwrap_err().contains("/live"));
    }

    #[test]
    fn nobody_there_is_no_health() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask(addr).unwrap_err().starts_with(&format!("asking {addr} for /live: ")));
        assert!(ask("127.0.0.1:0".parse().unwrap()).unwrap_err().contains("ADMIN_ADDR has port 0"));
    }
}
