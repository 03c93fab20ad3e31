//! Every parser of what comes from outside, on arbitrary bytes: none may panic, and what one accepts it must accept
//! again when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Answer, Command, CommandHead, Reply, Report, ResultMessage, Task, Wait, names};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(task) = Task::parse(bytes) {
        let written = serde_json::to_vec(&task).expect("a task can be written");
        assert_eq!(Task::parse(&written).expect("and read again"), task);
    }
    if let Ok(answer) = Answer::parse(bytes) {
        assert_eq!(Answer::parse(&answer.to_json()).expect("an answer can be read again"), answer);
    }
    if let Ok(report) = Report::parse(bytes) {
        let known = Report { nonsense: 0, ..report };
        if !known.sightings.is_empty() {
            assert_eq!(Report::parse(&known.to_json()).expect("a report can be read again"), known);
        }
    }
    let _ = serde_json::from_slice::<Command>(bytes);
    let _ = serde_json::from_slice::<CommandHead>(bytes);
    let _ = serde_json::from_slice::<Reply>(bytes);
    let _ = serde_json::from_slice::<ResultMessage>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = names::mqtt::parse_topic(text);
        let _ = names::redis::parse_label_key(text);
        let _ = names::amqp::parse_reply_queue(text);
        let _ = names::amqp::parse_result_key(text);
        let _ = names::amqp::parse_waiting_queue(text);
        let _ = Wait::parse(text);
    }
});
