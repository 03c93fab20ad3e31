//! Input that can't be used.

use crate::fixture::*;
use protocol::names::amqp;
use serde_json::json;

in_both_forms! {
    a_bad_line_stops_all_and_every_one_is_named,
    bad_lines_can_be_skipped_but_not_unnoticed,
    what_can_not_be_meant_is_one_sentence,
    help_has_an_example_of_each_command,
}

const BAD: &str =
    "sku,name,price,currency\np-1,Trena,29.90,BRL\np-2,Serra,\"12,90\",BRL\np-1,Trena,31.90,BRL\np-3,,8,real\n";

async fn a_bad_line_stops_all_and_every_one_is_named(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("prices.csv", BAD);
    let answer = office.esl(&["enqueue", &file, "--store", "sp-014"]).await;
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
    let expected = format!(
        "{file}:3: price is \"12,90\", expected a decimal point, not a comma, and no thousands separator: 12.90\n\
         {file}:4: sku is \"p-1\", expected each sku once in a file; line 2 has it already\n\
         {file}:5: name is \"\", expected 1 to 1024 bytes of text without control characters\n\
         {file}:5: currency is \"real\", expected the three capital letters of ISO 4217, such as \"BRL\"\n\
         esl: {file}: 3 lines can't be used, so nothing was done; --skip-bad uses the others\n"
    );
    assert_eq!(answer.stderr, expected);
    let report = office.esl(&["enqueue", &file, "--store", "sp-014", "--json"]).await.json(2);
    let first = json!({"file": file, "line": 3, "column": "price", "value": "12,90",
        "expected": "a decimal point, not a comma, and no thousands separator: 12.90"});
    assert_eq!((&report["bad_cells"][0], report["bad_cells"].as_array().unwrap().len()), (&first, 4));
    assert_eq!(office.backlog(amqp::TASKS).await, 0, "nothing was sent");
    office.close().await;
}

async fn bad_lines_can_be_skipped_but_not_unnoticed(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("prices.csv", BAD);
    let answer = office.esl(&["enqueue", &file, "--store", "sp-014", "--skip-bad"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stdout.contains("1 task sent") && answer.stdout.contains("3 bad lines skipped"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 4, "{answer:?}");
    assert_eq!(office.tasks(1).await[0].fields.price, Some(id("29.90")));
    let all_bad = office.file("bad.csv", "sku,name,price,currency\np-1,Trena,x,BRL\n");
    assert_eq!(office.esl(&["enqueue", &all_bad, "--store", "sp-014", "--skip-bad"]).await.code, Some(2));
    office.close().await;
}

async fn what_can_not_be_meant_is_one_sentence(form: Form) {
    let office = Office::open(form).await;
    let file = office.file("prices.csv", &prices(2));
    let empty = office.file("empty.csv", "");
    let cases: [(&[&str], &str); 10] = [
        (&["enqueue", &empty, "--store", "sp-014"], "empty.csv is empty"),
        (&["enqueue", "missing.csv", "--store", "sp-014"], "missing.csv: No such file"),
        (&["enqueue", &file], "--store"),
        (&["enqueue", &file, "--store", "sp.014"], "store \"sp.014\": expected 1 to 64"),
        (&["enqueue", &file, "--store", "sp-014", "--timeout", "30d"], "timeout_ms: 2592000000"),
        (&["enqueue", &file, "--store", "sp-014", "--amqp-url", "http://u:hunter2@h"], "scheme \"http\""),
        (&["gateways", "--api", "http://u:hunter2@h"], "give a token in ESL_TOKEN"),
        (&["label", "kitchen"], "label MAC \"kitchen\": expected 12"),
        (&["watch", "b"], "--total"),
        (&["dead", "replay"], "--all"),
    ];
    for (args, expected) in cases {
        let answer = office.esl(args).await;
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.contains(expected) && answer.stderr.lines().count() == 1, "{answer:?}");
        assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    }
    office.close().await;
}

async fn help_has_an_example_of_each_command(form: Form) {
    let office = Office::open(form).await;
    for command in ["bind", "enqueue", "watch", "label", "gateways", "dead"] {
        let answer = office.esl(&[command, "--help"]).await;
        assert!(answer.code == Some(0) && answer.stdout.contains(&format!("  esl {command}")), "{answer:?}");
    }
    office.close().await;
}
