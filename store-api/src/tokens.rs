//! Who may ask: bearer tokens, each with the stores that it is for.

use protocol::Store;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, sync::Arc};
use subtle::ConstantTimeEq;

/// A token that could be guessed is none.
const MIN_TOKEN_BYTES: usize = 16;

/// The tokens of a file. Only their digests are kept; they are never printed.
#[derive(Clone)]
pub struct Tokens(Arc<Vec<Token>>);

struct Token {
    digest: [u8; 32],
    caller: Caller,
}

/// Who asks, and for which stores.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    stores: Stores,
}

#[derive(Debug, Clone)]
enum Stores {
    All,
    These(Arc<BTreeSet<Store>>),
}

impl Caller {
    /// Whoever reaches the loopback address where no tokens are configured.
    pub(crate) fn local() -> Self {
        Self { name: "local".into(), stores: Stores::All }
    }

    pub(crate) fn may(&self, store: &Store) -> bool {
        match &self.stores {
            Stores::All => true,
            Stores::These(stores) => stores.contains(store),
        }
    }

    pub(crate) fn may_all(&self) -> bool {
        matches!(self.stores, Stores::All)
    }
}

impl Tokens {
    /// Reads a file of tokens.
    ///
    /// # Errors
    /// When it can't be read, or names the line that can't be used; never repeats a token.
    pub fn read(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let tokens = lines.map(|(number, line)| token(line).map_err(|error| format!("line {number}: {error}")));
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Err("no token in it, expected lines of name, token and stores".to_owned());
        }
        Ok(Self(Arc::new(tokens)))
    }

    /// Whose token this is. Every token is compared, each in constant time.
    pub(crate) fn caller(&self, token: &str) -> Option<&Caller> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in self.0.iter() {
            if known.digest.ct_eq(&digest).into() {
                found = Some(&known.caller);
            }
        }
        found
    }
}

fn token(line: &str) -> Result<Token, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[name, secret, stores] = &words[..] else {
        return Err("expected three words: name, token (or sha256:<64 hex digits>), stores (or *)".to_owned());
    };
    let digest = match secret.strip_prefix("sha256:") {
        Some(hex) => digest(hex).ok_or("expected 64 hexadecimal digits after sha256:")?,
        None if secret.len() < MIN_TOKEN_BYTES => return Err(format!("a token has at least {MIN_TOKEN_BYTES} bytes")),
        None => Sha256::digest(secret).into(),
    };
    let stores = match stores {
        "*" => Stores::All,
        list => {
            let stores: Result<BTreeSet<Store>, _> = list.split(',').map(str::parse).collect();
            Stores::These(Arc::new(stores.map_err(|error| error.to_string())?))
        }
    };
    Ok(Token { digest, caller: Caller { name: name.into(), stores } })
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, octet) in digest.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(digest)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| &token.caller.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_itself_or_by_its_digest() {
        // SHA-256 of "correct-horse-battery".
        let hex: String = Sha256::digest("correct-horse-battery").iter().map(|octet| format!("{octet:02x}")).collect();
        let text = format!("# who\n\nback sp-014-secret-token sp-014,sp-015\nhead sha256:{hex} *\n");
        let tokens = Tokens::parse(&text).unwrap();
        let (store, other): (Store, Store) = ("sp-014".parse().unwrap(), "sp-016".parse().unwrap());
        let caller = tokens.caller("sp-014-secret-token").unwrap();
        assert!(caller.may(&store) && !caller.may(&other) && !caller.may_all());
        assert!(tokens.caller("correct-horse-battery").unwrap().may(&other));
        assert!(tokens.caller("sp-014-secret-toke").is_none() && tokens.caller("").is_none());
        assert_eq!(format!("{tokens:?}"), r#"["back", "head"]"#, "tokens are not printed");
    }

    #[test]
    fn a_bad_line_is_named_and_not_repeated() {
        for (text, why) in [
            ("", "no token in it"),
            ("a hunter2 *", "line 1: a token has at least 16 bytes"),
            ("# x\na sha256:12 *", "line 2: expected 64 hexadecimal"),
            ("a b", "line 1: expected three words"),
            ("a 0123456789abcdef sp.014", "line 1: store \"sp.014\""),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
