//! What only the broker inside the process promises.

use super::{
    fixture::{ANSWERS, BackEnd, Fixture, GATEWAY, OTHER, QUIET, REPORTS, TempDir, command, embedded_options, next},
    wire::{Hello, V5, V311, Wire},
};
use argon2::{Argon2, Params, PasswordHasher, password_hash::SaltString};
use backbone::mqtt::{
    Client, ClientOptions, EmbeddedBroker, EmbeddedError, EmbeddedOptions, Incoming, PublishError, Subscription,
    gateway::{Gateway, GatewayOptions, MqttVersion},
};
use protocol::names::mqtt::{Channel, SHARED_RESPONSES, topic};
use std::time::Duration;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc, time::timeout};
use tokio_util::task::TaskTracker;

const MINUTE: Duration = Duration::from_secs(60);
/// MQTT 5: PUBACK and SUBACK, section 3.4.2.1.
const NOT_AUTHORIZED: u8 = 0x87;

struct Broker {
    broker: EmbeddedBroker,
    tracker: TaskTracker,
}

impl Broker {
    async fn start(options: EmbeddedOptions) -> Self {
        let tracker = TaskTracker::new();
        Self { broker: EmbeddedBroker::start(options, &tracker).await.unwrap(), tracker }
    }

    async fn open(&self, hello: Hello<'_>) -> Wire {
        Wire::open(self.broker.address().unwrap(), hello).await
    }

    /// Where connections are limited, the one before may take a moment to be gone.
    async fn open_when_free(&self, hello: Hello<'_>) -> Wire {
        loop {
            match Wire::try_open(self.broker.address().unwrap(), hello).await {
                Ok(wire) => return wire,
                Err(None) => tokio::task::yield_now().await,
                Err(Some(code)) => panic!("refused: {code}"),
            }
        }
    }

    async fn end(self) {
        self.broker.close();
        self.tracker.close();
        timeout(Duration::from_secs(20), self.tracker.wait()).await.unwrap();
    }
}

fn own(channel: Channel) -> String {
    topic(GATEWAY, channel)
}

#[tokio::test]
async fn a_gateway_without_credentials_is_a_gateway_and_nothing_else() {
    let fixture = Fixture::on(BackEnd::Embedded).await;
    let mut gateway = Wire::open(fixture.address, Hello::new(V5, "gw")).await;
    for filter in [SHARED_RESPONSES, "/gw/+/response", "/gw/+/action", "#", "$share/g//gw/00fa7e000001/action"] {
        assert_eq!(gateway.subscribe(filter).await, NOT_AUTHORIZED, "{filter}");
    }
    assert_eq!(gateway.subscribe(&own(Channel::Action)).await, 1);
    gateway.publish(&own(Channel::Action), b"forged").await;
    assert_eq!(gateway.puback().await, NOT_AUTHORIZED);
    assert!(gateway.is_quiet_for(QUIET).await, "its own command did not come back");
    drop(gateway);
    fixture.end().await;
}

fn passwords(folder: &TempDir) -> EmbeddedOptions {
    let hash = |password: &str| {
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::encode_b64(b"a test's salt").unwrap();
        argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    };
    let file = folder.path().join("gateways");
    let lines = format!("{GATEWAY}:{}\n{OTHER}:{}\ninspector:{}\n", hash("one"), hash("two"), hash("look"));
    std::fs::write(&file, lines).unwrap();
    EmbeddedOptions { credentials: Some(file), ..embedded_options(folder) }
}

#[tokio::test]
async fn a_gateway_with_credentials_is_itself() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(passwords(&folder)).await;
    let address = broker.broker.address().unwrap();
    let (mac, other) = (GATEWAY.to_string(), OTHER.to_string());
    let id = format!("gw-{mac}");
    let hello = Hello { login: Some((&mac, "one")), ..Hello::new(V5, &id) };
    for refused in [
        Hello { login: None, ..hello },
        Hello { login: Some((&mac, "two")), ..hello },
        Hello { login: Some(("nobody", "one")), ..hello },
        // A client ID of another gateway's would push that one off.
        Hello { login: Some((&other, "two")), ..hello },
        Hello { login: None, ..Hello::new(V311, &id) },
    ] {
        let answer = Wire::try_open(address, refused).await.map(|_| ());
        assert!(matches!(answer, Err(Some(_))), "{refused:?}: {answer:?}");
    }
    let mut gateway = broker.open(hello).await;
    assert_eq!(gateway.subscribe(&topic(OTHER, Channel::Action)).await, NOT_AUTHORIZED);
    assert_eq!(gateway.subscribe(&own(Channel::Action)).await, 1);
    for channel in [Channel::Response, Channel::Status] {
        gateway.publish(&topic(OTHER, channel), b"forged").await;
        assert_eq!(gateway.puback().await, NOT_AUTHORIZED);
    }
    gateway.publish(&own(Channel::Status), b"{}").await;
    assert_eq!(gateway.puback().await, 0);
    drop(gateway);
    broker.end().await;
}

#[tokio::test]
async fn what_the_broker_refuses_is_counted_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(passwords(&folder)).await;
    let (sender, mut answers) = mpsc::channel(10);
    join(&broker, Some(ANSWERS), sender).await;
    let url = format!("mqtt://{GATEWAY}:one@{}", broker.broker.address().unwrap());
    let (mac, brokers) = (GATEWAY, vec![url.parse().unwrap()]);
    let options = GatewayOptions { mac, brokers, first_broker: 0, version: MqttVersion::V5 };
    let gateway = Gateway::start(options, mpsc::channel(10).0, &broker.tracker);
    gateway.answer_as(OTHER, b"forged".to_vec(), None).unwrap();
    gateway.answer(b"own".to_vec(), None).unwrap();
    assert_eq!(next(&mut answers).await.payload, b"own");
    timeout(MINUTE, gateway.status().wait_for(|status| status.refused == 1)).await.unwrap().unwrap();
    drop(gateway);
    broker.end().await;
}

#[tokio::test]
async fn an_inspector_hears_what_gateways_say_and_sends_them_commands() {
    let (mac, id) = (GATEWAY.to_string(), format!("gw-{GATEWAY}"));
    for with_passwords in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = if with_passwords { passwords(&folder) } else { embedded_options(&folder) };
        let broker = Broker::start(options).await;
        let (sender, mut answers) = mpsc::channel(10);
        let router = join(&broker, Some(ANSWERS), sender).await;
        let hello = Hello { login: Some(("inspector", "look")), ..Hello::new(V5, "esl-check") };
        if with_passwords {
            let wrong = Hello { login: Some(("inspector", "one")), ..hello };
            assert!(matches!(Wire::try_open(broker.broker.address().unwrap(), wrong).await.map(|_| ()), Err(Some(_))));
        }
        let mut gateway = broker.open(Hello { login: Some((&mac, "one")), ..Hello::new(V5, &id) }).await;
        assert_eq!(gateway.subscribe(&own(Channel::Action)).await, 1);
        let mut inspector = broker.open(hello).await;
        for (filter, granted) in [("/gw/+/response", 1), ("gw/+/status", 1), ("/gw/+/action", NOT_AUTHORIZED)] {
            assert_eq!(inspector.subscribe(filter).await, granted, "{filter}");
        }
        inspector.publish(&own(Channel::Response), b"forged").await;
        assert_eq!(inspector.puback().await, NOT_AUTHORIZED);
        inspector.publish(&own(Channel::Action), b"command").await;
        assert!(gateway.expect(3).await.ends_with("command"));
        gateway.publish(&own(Channel::Response), b"answer").await;
        assert!(inspector.expect(3).await.ends_with("answer"));
        let heard = next(&mut answers).await;
        assert_eq!(heard.payload, b"answer", "the roles hear it as ever");
        heard.acknowledge().await;
        drop((gateway, inspector));
        router.close();
        broker.end().await;
    }
}

#[tokio::test]
async fn a_will_in_another_gateways_name_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(passwords(&folder)).await;
    let (sender, mut reports) = mpsc::channel(10);
    join(&broker, Some(REPORTS), sender).await;
    let (mac, id) = (GATEWAY.to_string(), format!("gw-{GATEWAY}"));
    for (gateway, expected) in [(OTHER, false), (GATEWAY, true)] {
        let status = topic(gateway, Channel::Status);
        let hello = Hello { login: Some((&mac, "one")), will: Some((&status, "will")), ..Hello::new(V311, &id) };
        drop(broker.open(hello).await);
        let came = timeout(QUIET, reports.recv()).await.is_ok();
        assert_eq!(came, expected, "{gateway}");
    }
    broker.end().await;
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hello = Hello { clean: false, ..Hello::new(V311, "gw-persistent") };
    {
        let broker = Broker::start(embedded_options(&folder)).await;
        let mut gateway = broker.open(hello).await;
        gateway.subscribe(&own(Channel::Action)).await;
        gateway.disconnect().await;
        let router = router(&broker).await;
        router.publish(command("one", MINUTE)).await.unwrap();
        broker.end().await;
        assert_eq!(router.publish(command("two", MINUTE)).await, Err(PublishError::NotConnected));
    }
    let broker = Broker::start(embedded_options(&folder)).await;
    let router = router(&broker).await;
    router.publish(command("three", MINUTE)).await.expect("its session is known");
    let mut gateway = broker.open(hello).await;
    assert!(gateway.expect(3).await.ends_with("one"));
    assert!(gateway.expect(3).await.ends_with("three"));
    broker.end().await;
}

async fn router(broker: &Broker) -> Client {
    join(broker, None, mpsc::channel(1).0).await
}

async fn join(broker: &Broker, subscription: Option<Subscription>, inbox: mpsc::Sender<Incoming>) -> Client {
    let url = broker.broker.clone().into();
    let options = ClientOptions { url, client_id: "router".to_owned(), subscription, receive_maximum: 10 };
    let client = Client::start(options, inbox, &broker.tracker);
    client.ready().await.unwrap();
    client
}

#[tokio::test]
async fn a_full_inbox_holds_up_answers_and_not_memory() {
    let fixture = Fixture::on(BackEnd::Embedded).await;
    let (router, mut inbox) = fixture.client_with_room(Some(ANSWERS), 1).await;
    let mut gateway = Wire::open(fixture.address, Hello::new(V5, "gw")).await;
    gateway.publish(&own(Channel::Response), b"one").await;
    assert_eq!(gateway.puback().await, 0);
    gateway.publish(&own(Channel::Response), b"two").await;
    assert!(gateway.is_quiet_for(QUIET).await, "not acknowledged before it is in the inbox");
    let one = next(&mut inbox).await;
    assert!(gateway.is_quiet_for(QUIET).await, "the first is still in hand");
    one.acknowledge().await;
    assert_eq!(gateway.puback().await, 0);
    assert_eq!(next(&mut inbox).await.payload, b"two");
    drop(gateway);
    router.close();
    fixture.end().await;
}

#[tokio::test]
async fn an_answer_waits_for_a_router_to_take_it() {
    let fixture = Fixture::on(BackEnd::Embedded).await;
    let mut gateway = Wire::open(fixture.address, Hello::new(V5, "gw")).await;
    gateway.publish(&own(Channel::Response), b"one").await;
    assert!(gateway.is_quiet_for(QUIET).await);
    let (router, mut inbox) = fixture.client(Some(ANSWERS)).await;
    assert_eq!(gateway.puback().await, 0);
    assert_eq!(next(&mut inbox).await.payload, b"one");
    drop(gateway);
    router.close();
    fixture.end().await;
}

#[tokio::test]
async fn a_flood_of_reports_delays_no_answer() {
    let fixture = Fixture::on(BackEnd::Embedded).await;
    let (tracker, _stuck) = fixture.client_with_room(Some(REPORTS), 4).await;
    let (router, mut answers) = fixture.client(Some(ANSWERS)).await;
    let mut gateway = Wire::open(fixture.address, Hello::new(V311, "gw")).await;
    for _ in 0..2000 {
        gateway.tell(&own(Channel::Status), &[b'x'; 100]).await;
    }
    gateway.publish(&own(Channel::Response), b"one").await;
    assert_eq!(gateway.puback().await, 0);
    assert_eq!(next(&mut answers).await.payload, b"one");
    drop(gateway);
    router.close();
    tracker.close();
    fixture.end().await;
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(EmbeddedOptions { max_connections: 2, ..embedded_options(&folder) }).await;
    let mut large = broker.open(Hello::new(V311, "large")).await;
    large.tell(&own(Channel::Status), &vec![b'x'; 310 * 1024]).await;
    while large.read().await.is_some() {}
    let (_one, _two) = (broker.open(Hello::new(V311, "one")).await, broker.open(Hello::new(V311, "two")).await);
    let mut third = TcpStream::connect(broker.broker.address().unwrap()).await.unwrap();
    let closed = timeout(Duration::from_secs(20), third.read_u8()).await.unwrap();
    assert!(closed.is_err(), "{closed:?}");
    broker.end().await;
}

#[tokio::test]
async fn sessions_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(EmbeddedOptions { max_connections: 1, ..embedded_options(&folder) }).await;
    let address = broker.broker.address().unwrap();
    let remembered = |client_id| Hello { clean: false, ..Hello::new(V311, client_id) };
    for client_id in ["a", "b", "c", "d"] {
        broker.open_when_free(remembered(client_id)).await.disconnect().await;
    }
    let refused = loop {
        match Wire::try_open(address, remembered("e")).await {
            Err(None) => tokio::task::yield_now().await,
            answer => break answer.map(|_| ()),
        }
    };
    assert_eq!(refused, Err(Some(3)), "server unavailable (section 3.2.2.3)");
    broker.open_when_free(remembered("a")).await.disconnect().await;
    broker.open_when_free(Hello::new(V311, "f")).await.disconnect().await;
    broker.end().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(embedded_options(&folder)).await;
    let other = tempfile::tempdir().unwrap();
    let tracker = TaskTracker::new();
    let taken = EmbeddedOptions { listen: broker.broker.address(), ..embedded_options(&other) };
    let error = EmbeddedBroker::start(taken, &tracker).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Listen { .. }), "{error:?}");
    let missing = EmbeddedOptions { credentials: Some(other.path().join("none")), ..embedded_options(&other) };
    let error = EmbeddedBroker::start(missing, &tracker).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Credentials(_)), "{error:?}");
    let error = EmbeddedBroker::start(embedded_options(&folder), &tracker).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Storage { .. }), "the folder is in use: {error:?}");
    broker.end().await;
}
