//! Gateways' passwords: a file with a line `<mac>:<hash>` for each, and `inspector:<hash>` for whoever puts them to the
//! test.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use protocol::{GatewayMac, MacError};
use std::{collections::HashMap, path::Path, str::FromStr, sync::Arc};
use tokio::sync::Semaphore;

/// Hashes that are computed at the same time: each takes a core for tens of milliseconds, and 19 MiB.
const HASHES_AT_ONCE: usize = 2;

/// Why a file of passwords can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It can't be read.
    #[error("the file of gateways' passwords can't be read")]
    File(#[from] std::io::Error),
    /// A line is no `<mac>:<hash>` or `inspector:<hash>`. Does not repeat the line.
    #[error("line {line} of the gateways' passwords: {problem}")]
    Line {
        /// Which line, the first being 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Who says who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum User {
    /// A gateway, by its MAC.
    Gateway(GatewayMac),
    /// Whoever puts gateways to the test.
    Inspector,
}

impl User {
    /// An inspector's user name.
    pub(super) const INSPECTOR: &str = "inspector";
}

impl FromStr for User {
    type Err = MacError;

    fn from_str(name: &str) -> Result<Self, MacError> {
        if name == Self::INSPECTOR { Ok(Self::Inspector) } else { name.parse().map(Self::Gateway) }
    }
}

/// Who may connect. Hashes are Argon2 in the PHC string format, `$argon2id$v=19$…`, as the `argon2` command writes it.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    hashes: Arc<HashMap<User, String>>,
    turns: Arc<Semaphore>,
}

impl Credentials {
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// One a line; empty lines and those that begin with `#` say nothing.
    fn parse(text: &str) -> Result<Self, CredentialsError> {
        let mut hashes = HashMap::new();
        for (line, content) in (1..).zip(text.lines().map(str::trim)) {
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (user, hash) = parse_line(content).map_err(|problem| CredentialsError::Line { line, problem })?;
            if hashes.insert(user, hash.to_owned()).is_some() {
                return Err(CredentialsError::Line { line, problem: "a second line for the same user" });
            }
        }
        Ok(Self { hashes: Arc::new(hashes), turns: Arc::new(Semaphore::new(HASHES_AT_ONCE)) })
    }

    /// Whether this is the user's password. Off the runtime's threads, and few at a time: a store whose gateways
    /// all connect at once must not stand still.
    pub(super) async fn verify(&self, user: User, password: Vec<u8>) -> bool {
        let Some(hash) = self.hashes.get(&user).cloned() else { return false };
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let verify = move || {
            PasswordHash::new(&hash).is_ok_and(|hash| Argon2::default().verify_password(&password, &hash).is_ok())
        };
        tokio::task::spawn_blocking(verify).await.unwrap_or(false)
    }
}

fn parse_line(line: &str) -> Result<(User, &str), &'static str> {
    let (user, hash) = line.rsplit_once(":$").ok_or("expected <mac>:$argon2id$…")?;
    let user = user.parse().map_err(|_| "no MAC address before the hash")?;
    let hash = &line[line.len() - hash.len() - 1..];
    match PasswordHash::new(hash) {
        Ok(parsed) if parsed.algorithm.as_str().starts_with("argon2") => Ok((user, hash)),
        Ok(_) => Err("a hash that is not Argon2"),
        Err(_) => Err("no hash in the PHC string format"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{Params, PasswordHasher, password_hash::SaltString};

    const GATEWAY: GatewayMac = GatewayMac::from_octets([0, 0xfa, 0x7e, 0, 0, 1]);

    fn hash(password: &str) -> String {
        let salt = SaltString::encode_b64(b"a test's salt").unwrap();
        // As little work as Argon2 allows.
        let argon2 =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_password_opens_for_its_gateway_only() {
        let text = format!("# gateways\n\n00:FA:7E:00:00:01:{}\n00fa7e000002:{}\n", hash("one"), hash("two"));
        let credentials = Credentials::parse(&text).unwrap();
        let own = User::Gateway(GATEWAY);
        assert!(credentials.verify(own, b"one".to_vec()).await);
        assert!(!credentials.verify(own, b"two".to_vec()).await);
        assert!(!credentials.verify(own, Vec::new()).await);
        assert!(!credentials.verify(User::Gateway(GatewayMac::from_octets([9; 6])), b"one".to_vec()).await);
        assert!(!credentials.verify(User::Inspector, b"one".to_vec()).await, "without a line there is none");
        let credentials = Credentials::parse(&format!("inspector:{}\n", hash("look"))).unwrap();
        assert!(credentials.verify(User::Inspector, b"look".to_vec()).await);
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for (line, problem) in [
            ("00fa7e000001:secret".to_owned(), "expected <mac>"),
            (format!("gateway:{}", hash("x")), "no MAC address"),
            ("00fa7e000001:$secret".to_owned(), "not Argon2"),
            ("00fa7e000001:$7$101$c2VjcmV0$c2VjcmV0".to_owned(), "hash"),
            (format!("00fa7e000001:{0}\n00fa7e000001:{0}", hash("x")), "a second line"),
        ] {
            let error = Credentials::parse(&line).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("secret"), "{line}: {error}");
        }
    }
}
