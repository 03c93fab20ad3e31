//! The roles' users in the servers, with exactly what the files in `security/` permit.

const RABBITMQ: &str = include_str!("../../security/rabbitmq.permissions");
const REDIS: &str = include_str!("../../security/redis.acl");
const MOSQUITTO: &str = include_str!("../../security/mosquitto.acl");

/// The password of every user: the servers are on loopback, and live as long as what they were started for.
pub(crate) const PASSWORD: &str = "testbed";
/// Who signs in at Mosquitto, besides gateways.
pub(crate) const MQTT_USERS: [&str; 3] = ["fwd-router", "bck-router", "emulator"];

/// What a user may do in a virtual host of RabbitMQ: names, as regular expressions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permissions {
    pub(crate) user: &'static str,
    pub(crate) configure: &'static str,
    pub(crate) write: &'static str,
    pub(crate) read: &'static str,
}

/// Every user of RabbitMQ.
pub(crate) fn rabbitmq_permissions() -> impl Iterator<Item = Permissions> {
    RABBITMQ.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(Permissions { user: words.next()?, configure: words.next()?, write: words.next()?, read: words.next()? })
    })
}

/// Redis' file of users. Whoever doesn't say who he is, as tests do, may do everything.
pub(crate) fn redis_acl() -> String {
    let line = |line: &str| match line.split_whitespace().nth(1) {
        Some("default") => "user default on nopass ~* &* +@all\n".to_owned(),
        Some(user) => format!("{}\n", line.replace(&format!(">@{user}@"), &format!(">{PASSWORD}"))),
        None => String::new(),
    };
    REDIS.lines().map(line).collect()
}

/// Mosquitto's file of permissions. Where whoever doesn't say who he is gets in, as tests do, he may do everything.
pub(crate) fn mosquitto_acl(anonymous: bool) -> String {
    let everything = if anonymous { "topic readwrite #\n\n" } else { "" };
    format!("{everything}{MOSQUITTO}")
}

/// The URL with this user in place of whom it names.
pub(crate) fn with_user(url: &str, user: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_at = rest.split('/').next().and_then(|authority| authority.rfind('@')).map_or(0, |at| at + 1);
    format!("{scheme}://{user}:{PASSWORD}@{}", &rest[host_at..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_permissions() {
        let users: Vec<_> = rabbitmq_permissions().map(|permissions| permissions.user).collect();
        assert_eq!(users, ["task-worker", "fwd-router", "bck-router", "store-api", "backend"]);
        let acl = redis_acl();
        assert!(acl.lines().all(|line| line.starts_with("user ")) && !acl.contains(">@"));
        assert!(acl.contains("user fwd-router on >testbed "), "{acl}");
        assert_eq!(acl.lines().count(), 5);
    }

    #[test]
    fn a_user_takes_the_place_of_another() {
        assert_eq!(with_user("amqp://guest:guest@h:1/v@x", "a"), "amqp://a:testbed@h:1/v@x");
        assert_eq!(with_user("redis://h:1/0", "a"), "redis://a:testbed@h:1/0");
    }
}
