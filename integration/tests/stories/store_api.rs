//! The store backend speaks HTTP: tasks in, progress live, what was shown when, and who may ask.

use anyhow::{Context, Result, ensure};
use integration::{Story, label_mac, labels, quick};
use protocol::{LabelMac, TaskId, names::amqp};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use std::{io::Write, time::Duration};
use testbed::{ServersConfig, Stack, StackConfig};

const LIMIT: Duration = Duration::from_secs(60);
const STORE_TOKEN: &str = "token-of-the-store-backend";
const OTHER_TOKEN: &str = "token-of-another-store";

/// Two store-apis, and who may ask them.
fn config(labels: usize, tokens: &tempfile::NamedTempFile) -> StackConfig {
    let config = StackConfig { store_apis: 2, ..quick(3, labels) };
    config.with_env(testbed::STORE_API, "API_TOKENS", tokens.path().display().to_string())
}

fn tokens() -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "backend {STORE_TOKEN} sp-014\nother {OTHER_TOKEN} sp-015")?;
    Ok(file)
}

fn http() -> reqwest::Client {
    testbed::http_builder().build().unwrap_or_default()
}

fn ask(story: &Story, api: usize, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", story.stack.api_urls[api]);
    http().request(method, url).bearer_auth(STORE_TOKEN).timeout(LIMIT)
}

async fn get(story: &Story, path: &str) -> Result<Value> {
    let answer = ask(story, 0, Method::GET, path).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.text().await?);
    Ok(answer.json().await?)
}

/// The status and the problem document of what must fail.
async fn problem(request: RequestBuilder) -> Result<(StatusCode, Value)> {
    let answer = request.send().await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).context("no content type")?.clone();
    ensure!(kind == "application/problem+json", "{kind:?}");
    Ok((answer.status(), answer.json().await?))
}

fn prices(labels: &[LabelMac], price: &str) -> Value {
    let task = |label: &LabelMac| json!({"labels": [label], "fields": {"name": "Furadeira", "price": price, "currency": "BRL"}});
    json!({ "tasks": labels.iter().map(task).collect::<Vec<_>>() })
}

/// Enqueues, and tells the bookkeeper what was enqueued.
async fn enqueue(story: &Story, key: &str, batch: &str, body: &Value) -> Result<Value> {
    let path = format!("/v1/stores/sp-014/tasks?batch={batch}");
    let answer = ask(story, 1, Method::POST, &path).header("Idempotency-Key", key).json(body).send().await?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "{}", answer.text().await?);
    Ok(answer.json().await?)
}

/// The events of a batch to their end: names and data.
async fn follow(story: &Story, batch: &str) -> Result<Vec<(String, Value)>> {
    let text = ask(story, 0, Method::GET, &format!("/v1/batches/{batch}/events")).send().await?.text().await?;
    let part = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    let events = text.split("\n\n").filter_map(|event| Some((part(event, "event:")?, part(event, "data:")?)));
    events.map(|(name, data)| Ok((name, serde_json::from_str(&data)?))).collect()
}

async fn shown_at(story: &Story, label: LabelMac, at: &str) -> Result<Value> {
    Ok(get(story, &format!("/v1/labels/{label}/history?at={at}")).await?["shown"].clone())
}

#[tokio::test]
async fn prices_are_enqueued_followed_and_proved_later() -> Result<()> {
    let tokens = tokens()?;
    let story = Story::start(config(200, &tokens)).await?;
    let all = labels(200);
    let accepted = enqueue(&story, "monday", "mon", &prices(&all, "10.00")).await?;
    assert_eq!((&accepted["labels"], &accepted["repeated"]), (&json!(200), &json!(false)));

    let events = follow(&story, "mon").await?;
    let (name, last) = events.last().context("no event")?;
    assert_eq!((name.as_str(), &last["outcomes"]["shown"], &last["waiting"]), ("complete", &json!(200), &json!(0)));
    assert!(events[..events.len() - 1].iter().all(|(name, _)| name == "progress"));
    for (_, view) in &events {
        let outcomes = view["outcomes"].as_object().context("no outcomes")?;
        let sum: u64 = outcomes.values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(sum + view["waiting"].as_u64().unwrap()), view["labels"].as_u64(), "{view}");
    }

    // The audit question, between two updates and after both.
    let label = label_mac(7);
    let between = get(&story, &format!("/v1/labels/{label}")).await?["shown"]["at"].clone();
    let between = between.as_str().context("not shown")?.to_owned();
    let second = enqueue(&story, "tuesday", "tue", &prices(&[label], "12.50")).await?;
    assert_eq!(follow(&story, "tue").await?.last().context("no event")?.1["outcomes"]["shown"], 1);
    let then = shown_at(&story, label, &between).await?;
    assert_eq!((&then["fields"]["price"], &then["task_id"]), (&json!("10.00"), &accepted["task_ids"][6]));
    assert!(then["gateway"].is_string());
    let now = shown_at(&story, label, "2999-01-01T00:00:00Z").await?;
    assert_eq!((&now["fields"]["price"], &now["task_id"]), (&json!("12.50"), &second["task_ids"][0]));
    assert_eq!(shown_at(&story, label, "2000-01-01T00:00:00Z").await?, Value::Null);
    let history = get(&story, &format!("/v1/labels/{label}/history?limit=1")).await?;
    let next = history["next"].as_str().context("no next page")?;
    let older = get(&story, &format!("/v1/labels/{label}/history?limit=1&before={next}")).await?;
    assert_eq!(older["outcomes"][0]["task_id"], accepted["task_ids"][6]);
    assert_eq!(get(&story, "/v1/stores/sp-014/out-of-date").await?["labels"], json!([]));
    assert!(get(&story, "/v1/gateways").await?["gateways"].as_array().is_some_and(|all| all.len() == 3));

    // A repeat adds nothing, wherever it arrives; other content under the same key is refused.
    let again = enqueue(&story, "monday", "mon", &prices(&all, "10.00")).await?;
    assert_eq!((&again["task_ids"], &again["repeated"]), (&accepted["task_ids"], &json!(true)));
    let other = ask(&story, 0, Method::POST, "/v1/stores/sp-014/tasks?batch=mon").header("Idempotency-Key", "monday");
    assert_eq!(problem(other.json(&prices(&all, "11.00"))).await?.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(story.backlog(amqp::TASKS).await?, 0);
    assert_eq!(get(&story, "/v1/batches/mon").await?["labels"], 200);
    assert_eq!(story.results.count(), 201);
    story.check_books().await?;
    story.end().await
}

#[tokio::test]
async fn who_may_not_ask_is_told_so_and_what_is_wrong_is_named() -> Result<()> {
    let tokens = tokens()?;
    let story = Story::start(config(10, &tokens)).await?;
    let tasks = "/v1/stores/sp-014/tasks";
    let bare = |path: &str| http().get(format!("{}{path}", story.stack.api_urls[0]));
    assert_eq!(problem(bare("/v1/gateways")).await?.0, StatusCode::UNAUTHORIZED);
    assert_eq!(problem(bare("/v1/gateways").bearer_auth("no-such-token-at-all")).await?.0, StatusCode::UNAUTHORIZED);
    assert_eq!(bare("/v1/openapi.json").send().await?.status(), StatusCode::OK);
    let contract: Value = bare("/v1/asyncapi.json").send().await?.error_for_status()?.json().await?;
    assert_eq!(contract["channels"]["tasks"]["address"], amqp::TASKS);

    let bind = json!([{"label": label_mac(1), "sku": "drill"}, {"label": label_mac(2), "sku": "drill"}]);
    let bound = ask(&story, 0, Method::PUT, "/v1/stores/sp-014/bindings").json(&bind).send().await?;
    assert_eq!(bound.json::<Value>().await?["new"], 2);
    let theirs = |path: String| bare(&path).bearer_auth(OTHER_TOKEN);
    for path in ["/v1/stores/sp-014/out-of-date".to_owned(), format!("/v1/labels/{}", label_mac(1))] {
        assert_eq!(problem(theirs(path)).await?.0, StatusCode::FORBIDDEN);
    }
    let foreign = http().put(format!("{}/v1/stores/sp-015/bindings", story.stack.api_urls[0]));
    assert_eq!(
        problem(foreign.bearer_auth(OTHER_TOKEN).json(&bind)).await?.0,
        StatusCode::FORBIDDEN,
        "not their labels"
    );

    let (status, problem_of) = problem(ask(&story, 0, Method::DELETE, tasks)).await?;
    assert_eq!((status, &problem_of["status"]), (StatusCode::METHOD_NOT_ALLOWED, &json!(405)));
    assert_eq!(problem(ask(&story, 0, Method::GET, "/v1/nothing")).await?.0, StatusCode::NOT_FOUND);
    let text = ask(&story, 0, Method::POST, tasks).header(header::CONTENT_TYPE, "text/plain").body("x");
    assert_eq!(problem(text).await?.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = ask(&story, 0, Method::POST, tasks).header(header::CONTENT_TYPE, "text/csv").body(vec![b' '; 17 << 20]);
    assert_eq!(problem(large).await?.0, StatusCode::PAYLOAD_TOO_LARGE);

    let csv = "sku,name,price,currency\ndrill,Furadeira,29.90,BRL\nsaw,Serra,12,50,BRL\n";
    let send =
        |csv: &str| ask(&story, 0, Method::POST, tasks).header(header::CONTENT_TYPE, "text/csv").body(csv.to_owned());
    let (status, answer) = problem(send(csv)).await?;
    assert_eq!((status, &answer["errors"][0]["line"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(3)));
    let accepted: Value = send("sku,name,price,currency\ndrill,Furadeira,29.90,BRL\n").send().await?.json().await?;
    assert_eq!(accepted["labels"], 2);
    let batch = accepted["batch"].as_str().context("no batch")?;
    assert_eq!(follow(&story, batch).await?.last().context("no event")?.1["outcomes"]["shown"], 2);
    story.check_books().await?;
    story.end().await
}

#[tokio::test]
async fn nothing_is_claimed_that_a_broker_has_not_confirmed() -> Result<()> {
    let tokens = tokens()?;
    let servers = ServersConfig { own_rabbitmq: true, ..ServersConfig::default() };
    let mut story = Story::start(StackConfig { servers, ..config(20, &tokens) }).await?;
    let rabbitmq = |stack: &mut Stack| stack.servers.rabbitmq.take().context("a RabbitMQ of our own");
    let mut broker = rabbitmq(&mut story.stack)?;
    broker.stop().await?;
    let body = prices(&labels(20), "9.90");
    let request = |story: &Story| {
        let path = "/v1/stores/sp-014/tasks?batch=late";
        ask(story, 0, Method::POST, path).header("Idempotency-Key", "late").json(&body)
    };
    let answer = request(&story).send().await?;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    let view = ask(&story, 0, Method::GET, "/v1/batches/late").send().await?;
    if view.status() == StatusCode::OK {
        assert_eq!(view.json::<Value>().await?["labels"], Value::Null, "half-enqueued is not claimed");
    }

    broker.start_again().await?;
    story.stack.servers.rabbitmq = Some(broker);
    story.stack.wait_ready().await?;
    let accepted: Value = request(&story).send().await?.error_for_status()?.json().await?;
    assert_eq!(accepted["repeated"], false);
    assert_eq!(follow(&story, "late").await?.last().context("no event")?.1["outcomes"]["shown"], 20);
    let ids: Vec<TaskId> = serde_json::from_value(accepted["task_ids"].clone())?;
    for (label, id) in labels(20).into_iter().zip(ids) {
        let history = story.ledger.history(label, 10).await?;
        assert_eq!(history.iter().map(|result| &result.task_id).collect::<Vec<_>>(), [&id]);
    }
    story.check_books().await?;
    story.end().await
}
