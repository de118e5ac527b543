//! Certificates of the proxies, by an authority of the bench that its clients believe.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;

use crate::files::write;
use crate::terminal::Result;

/// Who signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Files of one certificate. P-256, as most authorities sign today.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one, as HAProxy wants them.
    pub(crate) both: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let made = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        made().map(Self).map_err(failed)
    }

    /// For clients.
    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).map_err(|error| format!("the authority: {error}"))?;
        Ok(roots)
    }

    /// For a proxy that is a client itself.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        write(folder, "authority.pem", &self.0.pem())
    }

    /// Writes a certificate for these names, as `NAME.pem` and so on.
    pub(crate) fn sign(&self, folder: &Path, name: &str, hosts: &[&str]) -> Result<Certificate> {
        let made = || {
            let key = KeyPair::generate()?;
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let certificate = CertificateParams::new(hosts)?.signed_by(&key, &self.0)?;
            Ok((certificate.pem(), key.serialize_pem()))
        };
        let (chain, key) = made().map_err(failed)?;
        Ok(Certificate {
            both: write(folder, &format!("{name}.both.pem"), &[&*chain, &key].concat())?,
            chain: write(folder, &format!("{name}.pem"), &chain)?,
            key: write(folder, &format!("{name}.key"), &key)?,
        })
    }
}

fn failed(error: rcgen::Error) -> String {
    format!("cannot make a certificate: {error}")
}
