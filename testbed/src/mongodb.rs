//! A private MongoDB.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::Result;

use crate::Server;
use crate::install;
use crate::server::{Launch, Ready};

/// How a [`MongoDb`] differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct MongoDbOptions {
    /// Arguments of `mongod` after ours.
    pub extra_args: Vec<String>,
}

/// A stand-alone MongoDB on 127.0.0.1; its data survives a stop and a kill.
pub struct MongoDb {
    server: Server,
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
                args: ours.map(str::to_owned).into_iter().chain(options.extra_args.clone()).collect(),
                env: Vec::new(),
                ready: Ready::Port, // it recovers its journal before it listens
                patience: Duration::from_secs(60),
                grace: Duration::from_secs(30),
            })
        })
        .await?;
        Ok(Self { server })
    }

    /// `mongodb://127.0.0.1:PORT`, without a database.
    pub fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.server.port())
    }

    /// `mongodb://127.0.0.1:PORT/<database>`; MongoDB makes a database when it is first written to.
    pub fn database_url(&self, database: &str) -> String {
        format!("{}/{database}", self.url())
    }
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
