//! Two tests that share a RabbitMQ (under `testbed exec`) don't see each other.

use lapin::{Connection, ConnectionProperties};
use testbed::{Servers, ServersConfig, SharedServers};

#[tokio::test]
async fn each_test_has_a_virtual_host_a_database_and_brokers_of_its_own() {
    let config = ServersConfig { mosquittos: 2, ..ServersConfig::default() };
    let shared = SharedServers::from_env().unwrap().is_some();
    let first = Servers::start(&config).await.unwrap();
    assert_eq!(first.rabbitmq.is_none() && first.mongodb.is_none(), shared);
    assert_eq!(first.mqtt_urls.len(), 2);
    assert!(first.amqp_url.ends_with(first.name()) && first.mongodb_url.ends_with(first.name()));
    Connection::connect(&first.amqp_url, ConnectionProperties::default()).await.unwrap();
    if shared {
        let second = Servers::start(&config).await.unwrap();
        assert_ne!(first.amqp_url, second.amqp_url);
        assert_ne!(first.mongodb_url, second.mongodb_url);
        assert_ne!(first.redis_url, second.redis_url);
        second.release().await.unwrap();
        let gone = Connection::connect(&second.amqp_url, ConnectionProperties::default()).await;
        assert!(gone.is_err(), "a released virtual host is gone");
    }
    first.release().await.unwrap();
}
