//! What is peculiar to HTTP: tokens, and an API that is away.

use crate::fixture::*;
use std::io::Write;
use testbed::ServersConfig;

const TOKEN: &str = "token-of-the-back-office";

async fn with_tokens() -> (Office, tempfile::NamedTempFile) {
    let mut tokens = tempfile::NamedTempFile::new().unwrap();
    writeln!(tokens, "office {TOKEN} sp-014").unwrap();
    let path = tokens.path().display().to_string();
    (Office::with_api(Form::Http, ServersConfig::default(), &["--tokens", &path]).await, tokens)
}

#[tokio::test]
async fn a_token_is_needed_known_and_for_its_stores_only() {
    let (office, _tokens) = with_tokens().await;
    let (token, wrong) = (office.file("token", &format!("{TOKEN}\n")), office.file("wrong", "hunter2-hunter2-hunter2"));
    let (bound, file) = (office.file("bindings.csv", &bindings(2, 2)), office.file("prices.csv", &prices(2)));
    let cases: [(&[&str], &str); 5] = [
        (&["gateways"], "it wants a token; give it in ESL_TOKEN or by --token-file"),
        (&["bind", &bound], "it wants a token"),
        (&["dead", "--token-file", &wrong], "it does not know this token"),
        (&["gateways", "--token-file", "no-such-file"], "--token-file no-such-file: No such file"),
        (&["enqueue", &file, "--store", "sp-015", "--token-file", &token], "this token is not for store sp-015"),
    ];
    for (args, expected) in cases {
        let answer = office.esl(args).await;
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
        assert!(answer.stderr.contains(expected) && answer.stderr.lines().count() == 1, "{answer:?}");
        assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    }
    let answer = office.esl(&["bind", &bound, "--token-file", &token]).await;
    assert_eq!(answer.stdout, "2 labels bound: 2 new, 0 changed, 0 as before\n", "{answer:?}");
    let answer = office.esl(&["enqueue", &file, "--store", "sp-014", "--token-file", &token]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    office.tasks(2).await;
    office.close().await;
}

#[tokio::test]
async fn what_only_asks_fails_while_the_api_is_away_and_what_changes_something_waits() {
    let mut office = Office::open(Form::Http).await;
    let (bound, file) = (office.file("bindings.csv", &bindings(4, 2)), office.file("prices.csv", &prices(2)));
    office.api.as_mut().unwrap().kill().unwrap();
    let away = format!("the API at {}: Connection refused (os error 111)", office.api_url);
    for args in [&["gateways"][..], &["label", "001a00000001"], &["dead"], &["dead", "replay", "--all"]] {
        let answer = office.esl(args).await;
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(1), &*format!("esl: {away}\n")), "{answer:?}");
    }
    let answer = office.esl(&["bind", &bound, "--wait", "300ms"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let expected = format!("esl: {away}; waiting for it, at most 0.3 s\nesl: {away}\n");
    assert_eq!(answer.stderr, expected);

    let mut binding = office.start(&["bind", &bound]);
    let mut sending = office.start(&["enqueue", &file, "--store", "sp-014"]);
    let waiting = format!("esl: {away}; waiting for it, at most 600.0 s\n");
    binding.said(&waiting).await;
    sending.said(&waiting).await;
    office.api.as_mut().unwrap().start_again().unwrap();
    office.api_is_ready().await;
    for (running, said) in [(binding, "4 labels bound"), (sending, "2 tasks sent")] {
        let answer = running.end().await;
        assert!(answer.code == Some(0) && answer.stdout.starts_with(said), "{answer:?}");
        assert!(answer.stderr.ends_with("the API answers again\n"), "{answer:?}");
        assert_eq!(answer.stderr.matches("waiting for it").count(), 1, "said once: {answer:?}");
    }
    office.tasks(2).await;
    office.close().await;
}

#[tokio::test]
async fn something_else_than_an_api_is_not_believed() {
    let office = Office::open(Form::Http).await;
    let admin = office.api.as_ref().unwrap().admin_url();
    for args in [["label", "001a00000001"], ["watch", "--total=1"], ["gateways", "--json"]] {
        let mut args = vec![args[0], args[1], "--api", &admin];
        args.extend((args[0] == "watch").then_some("b"));
        let answer = office.esl(&args).await;
        assert_eq!(answer.code, Some(2), "{answer:?}");
        let expected =
            format!("esl: the API at {admin}: it answered 404 Not Found without saying why; is it a store-api?\n");
        assert!(answer.stderr.ends_with(&expected), "{answer:?}");
    }
    office.close().await;
}
