//! A MongoDB replica set of three.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::{MongoDb, MongoDbOptions};

const NAME: &str = "esl";
/// A member that hears nothing of the primary for so long calls an election: 10 s where nobody says otherwise.
const ELECTION_TIMEOUT_MS: i32 = 1_000;
const PRIMARY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Three MongoDBs on 127.0.0.1 that hold the same data. With two of them it goes on.
pub struct ReplicaSet {
    /// The members.
    pub members: Vec<MongoDb>,
}

impl ReplicaSet {
    /// Starts the members, and waits until one of them is the primary (some 3 s).
    pub async fn start() -> Result<Self> {
        let options = MongoDbOptions {
            extra_args: ["--replSet", NAME, "--oplogSize", "64"].map(str::to_owned).to_vec(),
            ..MongoDbOptions::default()
        };
        let start = || MongoDb::start(options.clone());
        let (one, two, three) = tokio::try_join!(start(), start(), start())?;
        let set = Self { members: vec![one, two, three] };
        set.initiate().await?;
        set.primary().await?;
        Ok(set)
    }

    /// `mongodb://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT/<database>?replicaSet=esl`
    pub fn database_url(&self, database: &str) -> String {
        let hosts: Vec<_> = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port())).collect();
        format!("mongodb://{}/{database}?replicaSet={NAME}", hosts.join(","))
    }

    /// Which member is the primary; waits while there is none.
    pub async fn primary(&self) -> Result<usize> {
        let end = Instant::now() + PRIMARY_LIMIT;
        while Instant::now() < end {
            for (at, member) in self.members.iter().enumerate() {
                let hello = ask(member, doc! { "hello": 1 }).await;
                if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or_default()) {
                    return Ok(at);
                }
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the replica set has had no primary for {PRIMARY_LIMIT:?}")
    }

    async fn initiate(&self) -> Result<()> {
        let member = |(at, member): (usize, &MongoDb)| {
            doc! { "_id": at as i32, "host": format!("127.0.0.1:{}", member.port()) }
        };
        let members: Vec<_> = self.members.iter().enumerate().map(member).collect();
        let settings = doc! { "electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": 500 };
        let config = doc! { "_id": NAME, "members": members, "settings": settings };
        ask(&self.members[0], doc! { "replSetInitiate": config }).await.context("making the replica set")?;
        Ok(())
    }
}

/// Asks one member, whatever it is in the set.
async fn ask(member: &MongoDb, command: Document) -> Result<Document> {
    let url = format!("{}/?directConnection=true&serverSelectionTimeoutMS=2000", member.url());
    let client = Client::with_uri_str(url).await.context("connecting to MongoDB")?;
    Ok(client.database("admin").run_command(command).await?)
}
