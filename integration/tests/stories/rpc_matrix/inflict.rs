//! Each fault is done; what it leaves behind, [`Rig::ask`] undoes.

use super::{
    Fault, NO_ROUTE, Told,
    rig::{LIMIT, PATIENCE, Rig, told},
};
use anyhow::Result;
use backbone::queue::{Broker, Message};
use integration::Asker;
use protocol::{Action, Command, CorrelationId, Fields, LabelMac, names::amqp};
use serde_json::json;
use std::sync::Arc;
use testbed::Mode;

/// No command or answer is so large.
const TOO_LARGE: usize = 600_000;
/// Later than [`PATIENCE`].
const LATE: &str = "2500ms";

impl Rig {
    pub(super) async fn inflict(&mut self, fault: Fault, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        let before = self.commands().await?;
        match fault {
            Fault::RequestLost => self.no_routers(id, label).await,
            Fault::RequestTwice => self.request_twice(id, label, before).await,
            Fault::RequestInTheHandsOfDeadRouters => self.dead_routers(id, label, before).await,
            Fault::RequestOutOfTime => self.frozen_routers(id, label).await,
            Fault::RequestTooLarge => told(self.asker.ping_with(id, label, &"x".repeat(TOO_LARGE), LIMIT).await),
            Fault::CommandUnacknowledgedByBroker => self.brokers_puback_lost(id, label, before).await,
            Fault::CommandUnacknowledgedByGateway => self.gateways_puback_lost(id, label, before).await,
            Fault::GatewayGone => self.gateway_gone(id, label).await,
            Fault::GatewayGoneWithCommand => self.gateway_gone_with_it(id, label, before).await,
            Fault::BothReconnect => self.both_reconnect(id, label, before).await,
            Fault::AnswerUnacknowledgedByBroker => self.answers_puback_lost(id, label, before).await,
            Fault::AnswerTooLarge => self.large_answer(id, label, before).await,
            Fault::ReplyUnconfirmed => self.confirm_lost(id, label).await,
            Fault::ReplyLate => self.late_reply(id, label).await,
            Fault::CallerGone => self.caller_gone(id, label, before).await,
            Fault::CommandLost => self.ping_faulty(id, label, json!({"silence_rate": 1})).await,
            Fault::CommandLate => self.ping_faulty(id, label, json!({"late_rate": 1, "late_by": LATE})).await,
            Fault::AnswerLost => self.ping_faulty(id, label, json!({"lost_answer_rate": 1})).await,
            Fault::AnswerLate => {
                self.ping_faulty(id, label, json!({"late_answer_rate": 1, "late_answer_by": LATE})).await
            }
            Fault::AnswerTwice => {
                self.gateway_faults(json!({"duplicate_answer_rate": 1})).await?;
                self.ping(id, label, LIMIT).await
            }
            Fault::GatewayFull => {
                self.gateway_faults(json!({"nack_rate": 1, "nack_error": "queue_full"})).await?;
                self.ping(id, label, LIMIT).await
            }
        }
    }

    /// Asks a gateway from which nothing comes in time.
    async fn ping_faulty(&self, id: &CorrelationId, label: LabelMac, faults: serde_json::Value) -> Result<Told> {
        self.gateway_faults(faults).await?;
        self.ping(id, label, PATIENCE).await
    }

    /// No router takes the request, and RabbitMQ drops it when nobody waits any longer.
    async fn no_routers(&mut self, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        for router in &mut self.story.stack.fwd_routers {
            router.kill()?;
        }
        let told = self.ping(id, label, PATIENCE).await;
        self.start_routers().await?;
        told
    }

    async fn start_routers(&mut self) -> Result<()> {
        for router in &mut self.story.stack.fwd_routers {
            router.start_again()?;
        }
        for router in &mut self.story.stack.fwd_routers {
            router.wait_ready(LIMIT).await?;
        }
        Ok(())
    }

    /// The same request comes again while the gateway has the command: it gets it again, and the answer counts once.
    async fn request_twice(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        let again = async {
            self.came(before + 1).await?;
            self.copy_request(id, label).await?;
            self.came(before + 2).await?;
            self.gateway_state("resume").await
        };
        let (told, again) = tokio::join!(self.ping(id, label, LIMIT), again);
        again?;
        told
    }

    /// Publishes a request once more, as RabbitMQ would deliver it again; only the first one's reply queue counts.
    async fn copy_request(&self, id: &CorrelationId, label: LabelMac) -> Result<()> {
        let broker = Broker::connect(&self.story.stack.servers.amqp_url.parse()?, "somebody").await?;
        let command = Command { id: id.clone(), label, action: Action::Ping, version: None, fields: Fields::default() };
        let body = serde_json::to_vec(&command)?;
        let message = Message {
            routing_key: amqp::RPC,
            body: &body,
            correlation_id: Some(id.as_str()),
            reply_to: Some("nobody"),
            expiration: Some(LIMIT),
            ..Message::default()
        };
        broker.publisher().await?.publish(message).await?;
        broker.close().await;
        Ok(())
    }

    /// The gateway loses the command, and the routers are killed before they know that the broker has it: the request is
    /// delivered again to those that come after them.
    async fn dead_routers(&mut self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_faults(json!({"silence_rate": 1})).await?;
        self.lines.routers.set_mode(Mode::HalfOpen);
        let asker = Arc::clone(&self.asker);
        let asking = async move { told(asker.ping_as(id, label, LIMIT).await) };
        let killing = async {
            self.came(before + 1).await?;
            for router in &mut self.story.stack.fwd_routers {
                router.kill()?;
            }
            self.gateway_faults(json!({})).await?;
            self.lines.routers.set_mode(Mode::Pass);
            self.start_routers().await
        };
        let (told, killed) = tokio::join!(asking, killing);
        killed?;
        told
    }

    /// The routers get the request when nobody waits for its answer any more.
    async fn frozen_routers(&mut self, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        for router in &mut self.story.stack.fwd_routers {
            router.pause()?;
        }
        let told = self.ping(id, label, PATIENCE).await;
        for router in &mut self.story.stack.fwd_routers {
            router.resume()?;
        }
        told
    }

    /// The broker's PUBACK is lost with the router's connection: the router sends the command again.
    async fn brokers_puback_lost(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        self.lines.routers.set_mode(Mode::HalfOpen);
        let losing = async {
            self.came(before + 1).await?;
            self.lines.routers.set_mode(Mode::Cut);
            self.routers_ready(false).await?;
            self.lines.routers.set_mode(Mode::Pass);
            self.came(before + 2).await?;
            // An answer that no router listens to is lost, as if the gateway had not given it.
            self.routers_ready(true).await?;
            self.gateway_state("resume").await
        };
        let (told, lost) = tokio::join!(self.ping(id, label, LIMIT), losing);
        lost?;
        told
    }

    /// The gateway's PUBACK, and its answer, are lost with its connection: the broker delivers the command again, and the
    /// gateway sends its answer again.
    async fn gateways_puback_lost(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.lines.gateway.set_mode(Mode::Mute);
        let losing = async {
            self.came(before + 1).await?;
            self.reconnect_gateway().await
        };
        let (told, lost) = tokio::join!(self.ping(id, label, LIMIT), losing);
        lost?;
        told
    }

    async fn reconnect_gateway(&self) -> Result<()> {
        self.lines.gateway.set_mode(Mode::Cut);
        self.gateway_online(false).await?;
        self.lines.gateway.set_mode(Mode::Pass);
        self.gateway_online(true).await
    }

    async fn gateway_gone(&self, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        self.gateway_state("offline?abrupt=true").await?;
        // Until the routers have heard of it, nobody answers.
        let mut answered = self.ping(id, label, PATIENCE).await?;
        for _ in 0..10 {
            if answered == NO_ROUTE {
                break;
            }
            answered = told(self.asker.ping(label, PATIENCE).await)?;
        }
        Ok(answered)
    }

    async fn gateway_gone_with_it(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        let leaving = async {
            self.came(before + 1).await?;
            self.gateway_state("offline?abrupt=true").await
        };
        let (told, left) = tokio::join!(self.ping(id, label, PATIENCE), leaving);
        left?;
        told
    }

    /// The gateway and all routers lose Mosquitto while the gateway has the command.
    async fn both_reconnect(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        let reconnecting = async {
            self.came(before + 1).await?;
            self.lines.routers.set_mode(Mode::Cut);
            self.lines.gateway.set_mode(Mode::Cut);
            self.routers_ready(false).await?;
            self.gateway_online(false).await?;
            self.lines.routers.set_mode(Mode::Pass);
            self.lines.gateway.set_mode(Mode::Pass);
            self.routers_ready(true).await?;
            self.gateway_online(true).await?;
            self.gateway_state("resume").await
        };
        let (told, reconnected) = tokio::join!(self.ping(id, label, LIMIT), reconnecting);
        reconnected?;
        told
    }

    /// The broker's PUBACK is lost with the gateway's connection: the gateway sends its answer again.
    async fn answers_puback_lost(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        let answering = async {
            self.came(before + 1).await?;
            self.lines.gateway.set_mode(Mode::HalfOpen);
            self.gateway_state("resume").await
        };
        let (told, answered) = tokio::join!(self.ping(id, label, LIMIT), answering);
        answered?;
        self.reconnect_gateway().await?;
        told
    }

    /// What answers are allowed to be, and more than the router takes from the broker.
    async fn large_answer(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.story.emulator.label_faults(label, json!({"silent": true})).await?;
        let answering = async {
            self.came(before + 1).await?;
            for size in [TOO_LARGE / 100, TOO_LARGE] {
                self.answer(json!({"deviceMac": label, "ack": true, "id": id, "more": "x".repeat(size)})).await?;
            }
            anyhow::Ok(())
        };
        let (told, answered) = tokio::join!(self.ping(id, label, PATIENCE), answering);
        answered?;
        told
    }

    /// RabbitMQ has the reply, and the back router loses its connection before it knows: it may send the reply again.
    async fn confirm_lost(&self, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        self.lines.replies.set_mode(Mode::HalfOpen);
        let told = self.ping(id, label, LIMIT).await;
        self.lines.replies.set_mode(Mode::Cut);
        self.replies_ready(false).await?;
        self.lines.replies.set_mode(Mode::Pass);
        self.replies_ready(true).await?;
        told
    }

    /// The reply stays on its way to RabbitMQ for longer than anybody waits.
    async fn late_reply(&self, id: &CorrelationId, label: LabelMac) -> Result<Told> {
        self.lines.replies.set_mode(Mode::BlackHole);
        self.ping(id, label, PATIENCE).await
    }

    /// Whoever asked is gone when the answer comes.
    async fn caller_gone(&self, id: &CorrelationId, label: LabelMac, before: u64) -> Result<Told> {
        self.gateway_state("hang").await?;
        let caller = Asker::connect(&self.story).await?;
        tokio::select! {
            answered = caller.ping_as(id, label, LIMIT) => return told(answered),
            came = self.came(before + 1) => came?,
        }
        caller.leave().await;
        Ok(Told::Nothing)
    }
}
