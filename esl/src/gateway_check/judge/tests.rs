//! Findings that no emulated gateway can bring about, and those that are easier to see without one.

use super::{Verdict, judge};
use crate::gateway_check::record::{Purpose, Record, Sent};
use backbone::mqtt::{Handshake, Observed, PublishError, Subscribed, Will, gateway::MqttVersion};
use protocol::{CorrelationId, GatewayMac, LabelMac};
use std::time::{Duration, Instant};

const GATEWAY: &str = "00fa7e000001";
const RESPONSE: &str = "/gw/00fa7e000001/response";
const STATUS: &str = "/gw/00fa7e000001/status";
const LABEL: LabelMac = LabelMac::from_octets([0, 0x1a, 0x2b, 0, 0, 1]);

struct Case {
    record: Record,
    start: Instant,
}

impl Case {
    /// A gateway that has answered one command well, and has reported twice.
    fn good() -> Self {
        let gateway: GatewayMac = GATEWAY.parse().unwrap();
        let mut case =
            Self { record: Record::new(gateway, Duration::from_secs(15), &[LABEL], true), start: Instant::now() };
        case.record.handshakes = Some(vec![handshake()]);
        case.hear(0, STATUS, r#"{"online":true}"#);
        for ms in [10, 2_010] {
            case.hear(ms, STATUS, r#"{"labels":[{"mac":"001a2b000001","rssi":-61}]}"#);
        }
        case.send(Purpose::First, "a", 2_100);
        case.hear(2_700, RESPONSE, r#"{"deviceMac":"001a2b000001","ack":true,"id":"a"}"#);
        case
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn send(&mut self, purpose: Purpose, id: &str, ms: u64) {
        let id: CorrelationId = id.parse().unwrap();
        let (at, expiry) = (self.at(ms), Duration::from_secs(15));
        self.record.sent.push(Sent { id, label: LABEL, purpose, at, expiry, copies: 1, published: Ok(()) });
    }

    fn hear(&mut self, ms: u64, topic: &str, body: &str) {
        self.record.take(self.message(ms, topic, body));
    }

    fn message(&self, ms: u64, topic: &str, body: &str) -> Observed {
        let (topic, payload) = (topic.to_owned(), body.as_bytes().to_vec());
        Observed { topic, payload, at_most_once: false, retained: false, correlation: None, at: self.at(ms) }
    }

    fn verdict(&self, name: &str) -> Verdict {
        self.check(name).0
    }

    fn check(&self, name: &str) -> (Verdict, String) {
        let checks = judge(&self.record);
        let check = checks.iter().find(|check| check.name == name).unwrap();
        (check.verdict, check.findings.join("; "))
    }

    #[track_caller]
    fn fails(&self, name: &str, because: &str) {
        let (verdict, findings) = self.check(name);
        assert!(verdict == Verdict::Fail && findings.contains(because), "{name}: {verdict:?} {findings}");
    }
}

fn handshake() -> Handshake {
    let will = Will { topic: STATUS.to_owned(), payload: br#"{"online":false}"#.to_vec(), qos: 1, retained: false };
    Handshake {
        version: MqttVersion::V5,
        client_id: "gw-1".to_owned(),
        keeps_session: true,
        will: Some(will),
        subscriptions: vec![Subscribed { filter: "/gw/00fa7e000001/action".to_owned(), qos: 1 }],
    }
}

#[test]
fn a_good_gateway_has_no_finding() {
    let bad: Vec<_> = judge(&Case::good().record).into_iter().filter(|check| check.verdict > Verdict::Pass).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let empty = Record::new(GATEWAY.parse().unwrap(), Duration::from_secs(15), &[], false);
    let failed: Vec<_> = judge(&empty).into_iter().filter(|check| check.verdict > Verdict::Skipped).collect();
    assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), ["reports"], "{failed:?}");
}

#[test]
fn every_mistake_in_connecting_is_found() {
    let wrong = |change: fn(&mut Handshake), because: &str| {
        let mut case = Case::good();
        change(&mut case.record.handshakes.as_mut().unwrap()[0]);
        case.fails("connection", because);
    };
    fn will(handshake: &mut Handshake) -> &mut Will {
        handshake.will.as_mut().unwrap()
    }
    wrong(|handshake| handshake.keeps_session = false, "not persistent");
    wrong(|handshake| handshake.will = None, "no last will");
    wrong(|handshake| will(handshake).topic = "gw/offline".to_owned(), "its last will goes to \"gw/offline\"");
    wrong(|handshake| will(handshake).payload = b"bye".to_vec(), "its last will says \"bye\"");
    wrong(|handshake| will(handshake).retained = true, "retained");
    wrong(|handshake| will(handshake).qos = 0, "its last will is at QoS 0");
    wrong(|handshake| handshake.subscriptions[0].qos = 0, "subscribes to /gw/00fa7e000001/action at QoS 0");
    wrong(|handshake| handshake.subscriptions.clear(), "not subscribed");
    let mut silent = Case::good();
    silent.record.reports.remove(0);
    silent.fails("connection", r#"does not say {"online":true}"#);
    let mut elsewhere = Case::good();
    elsewhere.record.handshakes = Some(Vec::new());
    elsewhere.fails("connection", "no gateway has connected");
}

#[test]
fn what_is_published_wrongly_is_found() {
    let ack = r#"{"deviceMac":"001a2b000001","ack":true,"id":"b"}"#;
    let with = |change: fn(&mut Observed)| {
        let mut case = Case::good();
        case.send(Purpose::Tolerance, "b", 3_000);
        let mut message = case.message(3_100, RESPONSE, ack);
        change(&mut message);
        case.record.take(message);
        case
    };
    with(|message| message.retained = true).fails("delivery", "retained");
    with(|message| message.at_most_once = true).fails("delivery", "QoS 0");
    with(|message| message.topic = "/gw/00FA7E000001/response".to_owned()).fails("topics", "/gw/00FA7E000001/response");
    with(|message| message.topic = "gw/00fa7e000001/response".to_owned()).fails("topics", "expected /gw/00fa");
    with(|message| message.topic = "/gw/00fa7e000002/response".to_owned()).fails("topics", "/gw/00fa7e000002/response");
    with(|message| message.payload = b"OK".to_vec()).fails("answers", "can't be read");
    with(|message| message.correlation = Some(b"a".to_vec())).fails("echo", "two different");
    with(|message| message.correlation = Some(vec![0xff])).fails("echo", "an ID that was not sent");
    with(|message| message.payload = ack_of("zzz")).fails("unasked", "1 answers");
    let mut deaf = Case::good();
    deaf.record.sent[0].published = Err(PublishError::NobodyListens);
    deaf.fails("topics", "nobody is subscribed");
    let mut others = Case::good();
    others.hear(3_000, "/gw/00fa7e000002/response", ack);
    assert_eq!(others.verdict("unasked"), Verdict::Pass, "another gateway's answers are its own affair");
}

fn ack_of(id: &str) -> Vec<u8> {
    format!(r#"{{"deviceMac":"001a2b000001","ack":true,"id":"{id}"}}"#).into_bytes()
}

#[test]
fn commands_to_one_label_must_not_overtake_each_other() {
    let mut case = Case::good();
    for (id, ms) in [("b", 3_000), ("c", 3_001)] {
        case.send(Purpose::Order, id, ms);
    }
    let mut turned = Case { record: case.record.clone(), start: case.start };
    for (at, id) in [(3_500, "b"), (4_000, "c")] {
        case.record.take(Observed { payload: ack_of(id), ..case.message(at, RESPONSE, "") });
    }
    assert_eq!(case.verdict("order"), Verdict::Pass);
    for (at, id) in [(3_500, "c"), (4_000, "b")] {
        turned.record.take(Observed { payload: ack_of(id), ..turned.message(at, RESPONSE, "") });
    }
    turned.fails("order", "another order");
}

#[test]
fn answers_without_an_id_belong_to_the_oldest_command_that_waits() {
    let mut case = Case::good();
    case.send(Purpose::Tolerance, "b", 3_000);
    for ms in [3_600, 3_700] {
        case.hear(ms, RESPONSE, r#"{"deviceMac":"001a2b000001","ack":true}"#);
    }
    assert_eq!(case.record.answers[1].of, Some(1));
    case.fails("once", "1 commands were answered more often than they came");
    assert_eq!(case.verdict("echo"), Verdict::Warning);
}
