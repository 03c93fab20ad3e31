//! Who looks at the page, and how he wants it.

use super::language::Language;
use crate::{problem::Problem, request::hex, tokens::Caller};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use uuid::Uuid;

/// Holds the token as the API would be sent it: nothing else is needed to verify it, on any replica, and it ends with
/// the token. Scripts can't read it, and other sites can't have it sent.
pub(crate) const SESSION: &str = "esl_session";
/// Holds what forms prove that they are ours by.
pub(crate) const FORM: &str = "esl_form";
pub(crate) const LANGUAGE: &str = "esl_language";
pub(crate) const THEME: &str = "esl_theme";

/// Light or dark; absent: as the system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        [Self::Light, Self::Dark].into_iter().find(|theme| theme.as_str() == text).unwrap_or(Self::System)
    }
}

/// Who looks at the page.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// `None` only where he is yet to log in.
    pub(crate) caller: Option<Caller>,
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    /// The page asks for a token at all.
    pub(crate) has_login: bool,
    /// What was asked for.
    pub(crate) url: String,
    /// An `EventSource` asks.
    pub(crate) follows: bool,
    /// The random text in his cookie, and whether he has yet to be given it.
    pub(crate) secret: String,
    pub(crate) is_new: bool,
}

impl Visitor {
    /// From the request; `caller` is for the guard to find.
    pub(crate) fn of(parts: &Parts, has_login: bool) -> Self {
        let headers = &parts.headers;
        let secret = cookie(headers, FORM).filter(|secret| secret.len() == 32);
        let language = cookie(headers, LANGUAGE).and_then(Language::of_tag);
        let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        Self {
            caller: None,
            language: language.unwrap_or_else(|| Language::preferred(headers)),
            theme: Theme::of(cookie(headers, THEME).unwrap_or("")),
            has_login,
            url: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            follows: accepts.contains("text/event-stream"),
            is_new: secret.is_none(),
            secret: secret.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned),
        }
    }

    /// What every form of his has in it. Another site can read neither the cookie nor our pages.
    pub(crate) fn form_key(&self) -> String {
        hex(&format!("form\n{}", self.secret))[..32].to_owned()
    }

    /// Who acts, for the audit trail.
    pub(crate) fn name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }

    /// The text in his language.
    pub(crate) fn t<'a>(&self, english: &'a str, portuguese: &'a str) -> &'a str {
        self.language.t(english, portuguese)
    }

    pub(crate) fn may(&self, store: &protocol::Store) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(store))
    }

    pub(crate) fn may_all(&self) -> bool {
        self.caller.as_ref().is_some_and(Caller::may_all)
    }

    /// Refuses one whose token is not for this store.
    pub(crate) fn demand(&self, store: &protocol::Store) -> Result<(), Problem> {
        if self.may(store) {
            return Ok(());
        }
        Err(Problem::forbidden(match self.language {
            Language::English => format!("your token is not for store {store}"),
            Language::Portuguese => format!("seu token não vale para a loja {store}"),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request passed no door"))
    }
}

/// A cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        let headers: HeaderMap = [(header::COOKIE, "a=1; esl_form=x=y;b=".parse().unwrap())].into_iter().collect();
        assert_eq!((cookie(&headers, FORM), cookie(&headers, "a")), (Some("x=y"), Some("1")));
        assert_eq!((cookie(&headers, "b"), cookie(&headers, "esl")), (None, None));
    }
}
