//! Patterns of routing keys, as RabbitMQ's topic exchanges have them.

/// Whether a routing key fits a pattern: `*` stands for one word, `#` for any number of them, words are parted by dots.
pub(super) fn fits(pattern: &str, key: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    fits_words(&pattern, &key)
}

fn fits_words(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), _) => fits_words(rest, key) || (!key.is_empty() && fits_words(pattern, &key[1..])),
        (Some((&word, pattern)), Some((&first, key))) => (word == "*" || word == first) && fits_words(pattern, key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_words() {
        for (pattern, key) in [
            ("#", "sp-014.shown"),
            ("sp-014.*", "sp-014.shown"),
            ("*.shown", "sp-014.shown"),
            ("sp-014.shown", "sp-014.shown"),
            ("#.shown", "shown"),
            ("sp-014.#", "sp-014"),
            ("#.b.#", "a.b.c.d"),
        ] {
            assert!(fits(pattern, key), "{pattern} {key}");
        }
        for (pattern, key) in [
            ("sp-014.*", "sp-015.shown"),
            ("*", "sp-014.shown"),
            ("sp-014", "sp-014.shown"),
            ("sp-014.*.*", "sp-014.shown"),
            ("", "a"),
        ] {
            assert!(!fits(pattern, key), "{pattern} {key}");
        }
    }
}
