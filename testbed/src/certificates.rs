//! Certificates of an authority of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../security/certificates.sh");
const SERVER: &str = "server";

/// An authority, and the certificates that it has issued: by the script of which docs/SECURITY.md tells.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

/// Which files a server speaks TLS with.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The authority.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Both in one file.
    pub both: PathBuf,
}

impl Certificates {
    /// Makes an authority.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("esl-testbed-certificates-").tempdir();
        let certificates = Self { folder: folder.context("making a folder for certificates")? };
        certificates.run(&["authority"])?;
        Ok(certificates)
    }

    /// Issues the certificate of servers that are called so, such as `IP:127.0.0.1`.
    pub fn server(&self, names: &str) -> Result<TlsFiles> {
        self.run(&["server", SERVER, names])?;
        Ok(TlsFiles {
            authority: self.authority(),
            certificate: self.path(&format!("{SERVER}.pem")),
            key: self.path(&format!("{SERVER}.key")),
            both: self.path(&format!("{SERVER}.both.pem")),
        })
    }

    /// Issues certificates of clients: `NAME.pem` and `NAME.key` of each.
    pub fn clients<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let args: Vec<_> = ["client"].into_iter().chain(names).collect();
        self.run(&args)
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file among the certificates.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        run(Path::new(SCRIPT), args, self.folder.path())
    }
}

fn run(program: &Path, args: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new(program).args(args).current_dir(folder).output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {} ended with {}: {said}", program.display(), args.join(" "), output.status);
    Ok(())
}
