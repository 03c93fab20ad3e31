//! Redis forgets, on purpose.

use redis::AsyncCommands;
use testbed::{Redis, RedisOptions};

use crate::leftovers::Footprint;

async fn connect(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_loses_the_keys() {
    let mut server = Redis::start(RedisOptions::default()).await.unwrap();
    connect(&server).await.set::<_, _, ()>("key", 1).await.unwrap();
    let url = server.url();
    server.stop().await.unwrap();
    assert!(!server.is_running());
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    assert!(!connect(&server).await.exists::<_, bool>("key").await.unwrap());
}

#[tokio::test]
async fn a_kill_is_followed_by_a_fresh_start() {
    let mut server = Redis::start(RedisOptions::default()).await.unwrap();
    let killed = Footprint::of(&server);
    server.kill().unwrap();
    killed.assert_processes_gone().await;
    server.start_again().await.unwrap();
    connect(&server).await.set::<_, _, ()>("key", 1).await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_after_a_drop() {
    let server = Redis::start(RedisOptions::default()).await.unwrap();
    let footprint = Footprint::of(&server);
    drop(server);
    footprint.assert_gone().await;
}

#[tokio::test]
async fn nothing_is_left_after_a_panic() {
    let server = Redis::start(RedisOptions::default()).await.unwrap();
    let footprint = Footprint::of(&server);
    let task = tokio::spawn(async move {
        let _server = server;
        panic!("as a failing test does");
    });
    assert!(task.await.unwrap_err().is_panic());
    footprint.assert_gone().await;
}

#[tokio::test]
async fn a_paused_server_answers_once_it_is_resumed_and_can_be_stopped_while_paused() {
    let mut server = Redis::start(RedisOptions::default()).await.unwrap();
    let mut connection = connect(&server).await;
    server.pause().unwrap();
    let answer = tokio::spawn(async move { connection.set::<_, _, ()>("key", 1).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!answer.is_finished());
    server.resume().unwrap();
    answer.await.unwrap().unwrap();
    server.pause().unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let options =
        RedisOptions { extra_args: vec!["--no-such-option".to_owned(), "x".to_owned()], ..RedisOptions::default() };
    let Err(error) = Redis::start(options).await else { panic!("it started") };
    let text = format!("{error:#}");
    assert!(text.contains("redis ended with exit status: 1"), "{text}");
    assert!(text.contains("no-such-option"), "{text}");
}
