//! What is said, and how numbers, times and prices are written, in the two languages of the page.

use axum::http::{HeaderMap, header};
use backbone::service::now;
use protocol::{Fields, Timestamp};

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Portuguese,
}

impl Language {
    /// As HTML names it.
    pub(crate) fn tag(self) -> &'static str {
        self.t("en", "pt-BR")
    }

    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        match tag.get(..2)?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "pt" => Some(Self::Portuguese),
            _ => None,
        }
    }

    /// The first that the browser would like and we have. Browsers list them in the order of their preference.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        accepted.split(',').find_map(|tag| Self::of_tag(tag.trim())).unwrap_or(Self::English)
    }

    /// The text in this language.
    pub(crate) fn t<'a>(self, english: &'a str, portuguese: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Portuguese => portuguese,
        }
    }

    /// A count with a noun: `one` for exactly one, `many` for the rest.
    pub(crate) fn count(self, number: u64, english: [&str; 2], portuguese: [&str; 2]) -> String {
        let [one, many] = if self == Self::English { english } else { portuguese };
        format!("{} {}", self.number(number), if number == 1 { one } else { many })
    }

    pub(crate) fn labels(self, number: u64) -> String {
        self.count(number, ["label", "labels"], ["etiqueta", "etiquetas"])
    }

    /// A whole number, its thousands apart.
    pub(crate) fn number(self, number: u64) -> String {
        group(&number.to_string(), self.thousands())
    }

    /// A number with so many places.
    pub(crate) fn decimal(self, number: f64, places: usize) -> String {
        self.decimal_text(&format!("{number:.places$}"))
    }

    /// A share of 1 in percent, never rounded to what it is not: neither nothing nor everything.
    pub(crate) fn percent(self, part: u64, whole: u64) -> String {
        if whole == 0 {
            return "–".to_owned();
        }
        let percent = part as f64 * 100.0 / whole as f64;
        let shown = if part < whole { percent.min(99.9) } else { 100.0 };
        let shown = if part > 0 { shown.max(0.1) } else { 0.0 };
        let places = usize::from(shown.fract() != 0.0);
        format!("{}%", self.decimal(shown, places))
    }

    /// A length of time as a person would say it.
    pub(crate) fn millis(self, millis: u64) -> String {
        match millis {
            0..1_000 => format!("{millis} ms"),
            1_000..60_000 => format!("{} s", self.decimal(millis as f64 / 1e3, 1)),
            60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
            3_600_000..86_400_000 => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
            _ => self.count(millis / 86_400_000, ["day", "days"], ["dia", "dias"]),
        }
    }

    /// How long ago that was, in one unit.
    pub(crate) fn ago(self, at: Timestamp) -> String {
        let seconds = u64::try_from(now().unix_millis() - at.unix_millis()).unwrap_or(0) / 1_000;
        let length = match seconds {
            0..2 => return self.t("just now", "agora").to_owned(),
            2..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => self.count(seconds / 86_400, ["day", "days"], ["dia", "dias"]),
        };
        match self {
            Self::English => format!("{length} ago"),
            Self::Portuguese => format!("há {length}"),
        }
    }

    /// A price with its currency.
    pub(crate) fn price(self, fields: &Fields) -> Option<String> {
        let amount = self.decimal_text(fields.price.as_ref()?.as_str());
        let Some(currency) = fields.currency.map(|currency| currency.to_string()) else { return Some(amount) };
        Some(match (self, currency.as_str()) {
            (_, "BRL") => format!("R$\u{a0}{amount}"),
            (Self::English, "USD") => format!("${amount}"),
            (Self::English, "EUR") => format!("€{amount}"),
            (Self::Portuguese, "EUR") => format!("€\u{a0}{amount}"),
            (_, other) => format!("{other}\u{a0}{amount}"),
        })
    }

    fn decimal_text(self, text: &str) -> String {
        let (whole, places) = text.split_once('.').map_or((text, None), |(whole, places)| (whole, Some(places)));
        let whole = group(whole, self.thousands());
        places.map_or(whole.clone(), |places| format!("{whole}{}{places}", self.t(".", ",")))
    }

    fn thousands(self) -> char {
        match self {
            Self::English => ',',
            Self::Portuguese => '.',
        }
    }
}

/// Puts a mark between groups of three digits.
fn group(digits: &str, mark: char) -> String {
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(mark);
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::{Language::*, *};

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_and_prices_are_written_as_in_the_country() {
        assert_eq!((English.number(1_234_567), Portuguese.number(50_000)), ("1,234,567".into(), "50.000".into()));
        let price = fields(r#"{"price":"1299.90","currency":"BRL"}"#);
        assert_eq!(Portuguese.price(&price).unwrap(), "R$\u{a0}1.299,90");
        assert_eq!(English.price(&price).unwrap(), "R$\u{a0}1,299.90");
        assert_eq!(English.price(&fields(r#"{"price":"5","currency":"USD"}"#)).unwrap(), "$5");
        assert_eq!(English.price(&fields(r#"{"price":"0.50"}"#)).unwrap(), "0.50");
        assert_eq!(English.price(&fields("{}")), None);
    }

    #[test]
    fn a_share_is_not_rounded_to_all_or_nothing() {
        assert_eq!(English.percent(49_999, 50_000), "99.9%");
        assert_eq!(Portuguese.percent(1, 50_000), "0,1%");
        assert_eq!(English.percent(50_000, 50_000), "100%");
        assert_eq!((English.percent(0, 5), English.percent(0, 0)), ("0%".into(), "–".into()));
    }

    #[test]
    fn the_first_language_that_we_have_is_taken() {
        let of = |text: &'static str| {
            let value = axum::http::HeaderValue::from_static(text);
            Language::preferred(&[(header::ACCEPT_LANGUAGE, value)].into_iter().collect())
        };
        assert_eq!(of("de-DE, pt-BR;q=0.9, en;q=0.8"), Portuguese);
        assert_eq!(of("de"), English);
        assert_eq!(Language::preferred(&HeaderMap::new()), English);
    }
}
