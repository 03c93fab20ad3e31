//! What gateways say, dealt to the roles of this process: each message to one member of each group.

use crate::mqtt::{BrokerName, Incoming, client::Ack};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// What a gateway said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) correlation: Option<Bytes>,
}

/// How long to wait for a member that has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all: the next report says it again.
    None,
    /// As long as it takes.
    ForRoom,
    /// As long as it takes, for there to be a member, too.
    ForMember,
}

/// All groups that listen. A subscription that is not shared is a group by itself.
#[derive(Debug)]
pub(super) struct Groups {
    broker: BrokerName,
    groups: watch::Sender<Arc<[Group]>>,
    next_member: AtomicU64,
}

#[derive(Debug, Clone)]
struct Group {
    name: Arc<str>,
    topic_filter: Arc<str>,
    next: Arc<AtomicUsize>,
    members: Arc<[Member]>,
}

#[derive(Debug, Clone)]
struct Member {
    id: MemberId,
    inbox: mpsc::Sender<Incoming>,
    /// Room for messages that wait to be acknowledged, where they are by whoever handles them.
    in_hand: Option<Arc<Semaphore>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberId(u64);

impl Groups {
    pub(super) fn new(broker: BrokerName) -> Self {
        Self { broker, groups: watch::Sender::new(Arc::new([])), next_member: AtomicU64::new(0) }
    }

    /// Joins the group of a filter. Where `in_hand` is given, so many messages may be unacknowledged at a time.
    pub(super) fn join(&self, filter: &str, inbox: mpsc::Sender<Incoming>, in_hand: Option<u16>) -> MemberId {
        let id = MemberId(self.next_member.fetch_add(1, Ordering::Relaxed));
        let in_hand = in_hand.map(|room| Arc::new(Semaphore::new(room.into())));
        let (topic_filter, shared) = match mqtt5::parse_shared_subscription(filter) {
            (topic_filter, Some(_)) => (topic_filter, true),
            (topic_filter, None) => (topic_filter, false),
        };
        let name = if shared { filter.to_owned() } else { format!("{} {filter}", id.0) };
        self.groups.send_modify(|groups| {
            let mut all = groups.to_vec();
            let at = all.iter().position(|group| *group.name == *name).unwrap_or_else(|| {
                all.push(Group::empty(&name, topic_filter));
                all.len() - 1
            });
            let joined = all[at].members.iter().cloned().chain([Member { id, inbox, in_hand }]);
            all[at].members = joined.collect();
            *groups = all.into();
        });
        id
    }

    /// Gets nothing from now on.
    pub(super) fn leave(&self, id: MemberId) {
        self.groups.send_modify(|groups| {
            let mut all = groups.to_vec();
            for group in &mut all {
                group.members = group.members.iter().filter(|member| member.id != id).cloned().collect();
            }
            all.retain(|group| !group.members.is_empty());
            *groups = all.into();
        });
    }

    /// Gives a message to one member of each group that listens to its topic; whether every one took it, and there
    /// was one. Resolves when it is in the inboxes.
    pub(super) async fn deal(&self, said: &Said, patience: Patience) -> bool {
        loop {
            let mut changes = self.groups.subscribe();
            let groups = changes.borrow_and_update().clone();
            let listening = groups.iter().filter(|group| mqtt5::topic_matches_filter(&said.topic, &group.topic_filter));
            let (mut any, mut all) = (false, true);
            for group in listening {
                let dealt = self.deal_to(group, said, patience).await;
                (any, all) = (any || dealt, all && dealt);
            }
            if any || patience != Patience::ForMember {
                return any && all;
            }
            // Fails never: the sender is ours.
            let _ = changes.changed().await;
        }
    }

    /// Round robin, but past those that are full; where all are, waits for the one whose turn it is.
    async fn deal_to(&self, group: &Group, said: &Said, patience: Patience) -> bool {
        let mut group = group.clone();
        loop {
            let mut changes = self.groups.subscribe();
            match changes.borrow_and_update().iter().find(|known| known.name == group.name) {
                Some(known) => group = known.clone(),
                None => return false,
            }
            let turn = group.next.fetch_add(1, Ordering::Relaxed) % group.members.len();
            let mut members = (0..group.members.len()).map(|k| &group.members[(turn + k) % group.members.len()]);
            if members.any(|member| member.try_give(said, &self.broker)) {
                return true;
            }
            if patience == Patience::None {
                return false;
            }
            let member = &group.members[turn];
            tokio::select! {
                given = member.give(said, &self.broker) => match given {
                    true => return true,
                    // It takes nothing any more, and has not said so.
                    false => self.leave(member.id),
                },
                _ = changes.changed() => {}
            }
        }
    }
}

impl Group {
    fn empty(name: &str, topic_filter: &str) -> Self {
        let next = Arc::new(AtomicUsize::new(0));
        Self { name: name.into(), topic_filter: topic_filter.into(), next, members: Arc::new([]) }
    }
}

impl Member {
    fn try_give(&self, said: &Said, broker: &BrokerName) -> bool {
        let in_hand = match &self.in_hand {
            None => None,
            Some(room) => match Arc::clone(room).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return false,
            },
        };
        let Ok(place) = self.inbox.try_reserve() else { return false };
        place.send(incoming(said, broker, in_hand));
        true
    }

    /// Fails when its inbox is closed.
    async fn give(&self, said: &Said, broker: &BrokerName) -> bool {
        let Ok(place) = self.inbox.reserve().await else { return false };
        let in_hand = match &self.in_hand {
            None => None,
            Some(room) => Arc::clone(room).acquire_owned().await.ok(),
        };
        place.send(incoming(said, broker, in_hand));
        true
    }
}

fn incoming(said: &Said, broker: &BrokerName, in_hand: Option<OwnedSemaphorePermit>) -> Incoming {
    Incoming {
        broker: broker.clone(),
        topic: said.topic.as_ref().to_owned(),
        payload: said.payload.to_vec(),
        correlation: said.correlation.as_ref().map(|data| data.to_vec()),
        ack: in_hand.map(Ack::InHand),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "$share/group//gw/+/response";

    fn groups() -> Groups {
        Groups::new("here".into())
    }

    fn said(number: u8) -> Said {
        Said { topic: "/gw/00fa7e000001/response".into(), payload: vec![number].into(), correlation: None }
    }

    #[tokio::test]
    async fn members_of_a_group_take_turns_and_each_group_gets_all() {
        let groups = groups();
        let mut inboxes: Vec<_> = [SHARED, SHARED, "/gw/+/response", "/gw/+/status"]
            .iter()
            .map(|filter| {
                let (sender, inbox) = mpsc::channel(10);
                groups.join(filter, sender, None);
                inbox
            })
            .collect();
        for number in 0..4 {
            assert!(groups.deal(&said(number), Patience::ForRoom).await);
        }
        let counts: Vec<_> = inboxes.iter_mut().map(|inbox| inbox.len()).collect();
        assert_eq!(counts, [2, 2, 4, 0]);
    }

    #[tokio::test]
    async fn a_member_holds_only_as_much_as_it_may_leave_unacknowledged() {
        let groups = groups();
        let (sender, mut inbox) = mpsc::channel(10);
        groups.join(SHARED, sender, Some(1));
        assert!(groups.deal(&said(0), Patience::ForRoom).await);
        assert!(!groups.deal(&said(1), Patience::None).await, "one is in hand");
        let first = inbox.recv().await.unwrap();
        let second = said(2);
        let (dealt, ()) = tokio::join!(groups.deal(&second, Patience::ForRoom), first.acknowledge());
        assert!(dealt);
        assert_eq!(inbox.recv().await.unwrap().payload, [2]);
    }

    #[tokio::test]
    async fn what_waits_goes_to_whoever_joins_or_stays() {
        let groups = Arc::new(groups());
        let (full, mut full_inbox) = mpsc::channel(1);
        let (sender, mut inbox) = mpsc::channel(1);
        let member = groups.join(SHARED, full, None);
        assert!(groups.deal(&said(0), Patience::ForMember).await);
        let waiting = said(1);
        let exchange = async {
            tokio::task::yield_now().await;
            groups.leave(member);
            groups.join(SHARED, sender, None);
        };
        let (dealt, ()) = tokio::join!(groups.deal(&waiting, Patience::ForMember), exchange);
        assert!(dealt);
        assert_eq!(inbox.recv().await.unwrap().payload, [1]);
        assert_eq!(full_inbox.recv().await.unwrap().payload, [0]);
    }

    #[tokio::test]
    async fn a_member_that_is_gone_without_a_word_is_passed_over() {
        let groups = groups();
        let (gone, _) = mpsc::channel(1);
        groups.join(SHARED, gone, None);
        assert!(!groups.deal(&said(0), Patience::ForRoom).await, "nobody is left");
        let (sender, mut inbox) = mpsc::channel(2);
        groups.join(SHARED, sender, None);
        assert!(groups.deal(&said(1), Patience::ForRoom).await);
        assert_eq!(inbox.recv().await.unwrap().payload, [1]);
    }
}
