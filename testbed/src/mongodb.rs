//! A private MongoDB.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::{Context, Result};
use mongodb::Client;
use mongodb::bson::{self, doc};
use serde_json::Value;

use crate::access::{PASSWORD, with_user};
use crate::install;
use crate::server::{Launch, Ready};
use crate::{Server, TlsFiles};

const ROLES: &str = include_str!("../../security/mongodb.json");
/// Who may do everything.
const OWNER: &str = "owner";

/// How a [`MongoDb`] differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct MongoDbOptions {
    /// Arguments of `mongod` after ours.
    pub extra_args: Vec<String>,
    /// Nobody gets in but users: its own, who may do everything, and those that [`MongoDb::create_users`] makes.
    pub users: bool,
    /// With what it speaks TLS, with whoever wants that.
    pub tls: Option<TlsFiles>,
}

/// A stand-alone MongoDB on 127.0.0.1; its data survives a stop and a kill.
pub struct MongoDb {
    server: Server,
    users: bool,
}

impl MongoDb {
    /// Starts MongoDB and waits until it accepts connections (some 0.3 s).
    pub async fn start(options: MongoDbOptions) -> Result<Self> {
        let program = install::mongod()?;
        let server = Server::start("mongodb", |port, folder| {
            let port = port.to_string();
            let folder = folder.display().to_string();
            let ours = [
                "--port",
                &port,
                "--bind_ip",
                "127.0.0.1",
                "--dbpath",
                &folder,
                "--nounixsocket",
                "--wiredTigerCacheSizeGB",
                "0.25",
                "--wiredTigerEngineConfigString",
                "log=(prealloc=false,file_max=10MB)",
                "--setParameter",
                "diagnosticDataCollectionEnabled=false",
            ];
            Ok(Launch {
                name: "mongodb",
                program: program.clone(),
                args: ours
                    .map(str::to_owned)
                    .into_iter()
                    .chain(access_args(&options))
                    .chain(options.extra_args.clone())
                    .collect(),
                env: Vec::new(),
                ready: Ready::Port, // it recovers its journal before it listens
                patience: Duration::from_secs(60),
                grace: Duration::from_secs(30),
            })
        })
        .await?;
        let mongodb = Self { server, users: options.users };
        if options.users {
            mongodb.create_owner().await?;
        }
        Ok(mongodb)
    }

    /// `mongodb://127.0.0.1:PORT`, without a database.
    pub fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.server.port())
    }

    /// `mongodb://127.0.0.1:PORT/<database>`; MongoDB makes a database when it is first written to.
    pub fn database_url(&self, database: &str) -> String {
        match self.users {
            true => format!("{}/{database}?authSource=admin", with_user(&self.url(), OWNER)),
            false => format!("{}/{database}", self.url()),
        }
    }

    /// Makes the roles' users in a database, with what `security/mongodb.json` permits them.
    pub async fn create_users(&self, database: &str) -> Result<()> {
        let roles: Vec<Value> = serde_json::from_str(ROLES).context("reading security/mongodb.json")?;
        let there =
            Client::with_uri_str(self.database_url("admin")).await.context("connecting to MongoDB")?.database(database);
        for mut role in roles {
            let name = role["createRole"].as_str().context("reading a role's name")?.to_owned();
            for privilege in role["privileges"].as_array_mut().into_iter().flatten() {
                privilege["resource"]["db"] = database.into();
            }
            let role = bson::serialize_to_document(&role).context("reading security/mongodb.json")?;
            there.run_command(role).await.with_context(|| format!("making MongoDB's role {name}"))?;
            let user = doc! { "createUser": &name, "pwd": PASSWORD, "roles": [&name] };
            there.run_command(user).await.with_context(|| format!("making MongoDB's user {name}"))?;
        }
        Ok(())
    }

    /// The first user can be made without signing in, from this machine only.
    async fn create_owner(&self) -> Result<()> {
        let admin = Client::with_uri_str(self.url()).await.context("connecting to MongoDB")?.database("admin");
        let owner = doc! { "createUser": OWNER, "pwd": PASSWORD, "roles": ["root"] };
        admin.run_command(owner).await.context("making MongoDB's first user")?;
        Ok(())
    }
}

fn access_args(options: &MongoDbOptions) -> Vec<String> {
    let mut args = Vec::new();
    if options.users {
        args.push("--auth".to_owned());
    }
    if let Some(TlsFiles { authority, both, .. }) = &options.tls {
        let (both, authority) = (both.display().to_string(), authority.display().to_string());
        args.extend(["--tlsMode", "preferTLS", "--tlsAllowConnectionsWithoutCertificates"].map(str::to_owned));
        args.extend(["--tlsCertificateKeyFile".to_owned(), both, "--tlsCAFile".to_owned(), authority]);
    }
    args
}

impl Deref for MongoDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for MongoDb {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
