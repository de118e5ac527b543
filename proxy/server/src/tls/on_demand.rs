//! Certificates that are obtained in the middle of a handshake, as rustls wants them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tidegate_acme::{Denied, Stored};

use super::certificates::Certificate;

/// A certificate, and what was read of it.
type Read = (Weak<Stored>, Arc<CertifiedKey>);

/// The same for all workers.
pub(crate) struct OnDemand {
    obtained: Arc<tidegate_acme::OnDemand>,
    read: Mutex<HashMap<String, Read>>,
}

impl OnDemand {
    pub(crate) fn new(obtained: Arc<tidegate_acme::OnDemand>) -> Self {
        Self { obtained, read: Mutex::default() }
    }

    /// The same with the certificate of a name, which is waited for.
    pub(super) async fn serving(
        &self,
        config: &ServerConfig,
        name: Option<&str>,
    ) -> Result<Arc<ServerConfig>, Denied> {
        let key = self.key(name).await?;
        Ok(with_resolver(config, Arc::new(SingleCertAndKey::from(key))))
    }

    async fn key(&self, name: Option<&str>) -> Result<Arc<CertifiedKey>, Denied> {
        let stored = self.obtained.certificate(name).await?;
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, key)) = read.get(&name)
            && of.as_ptr() == Arc::as_ptr(&stored)
        {
            return Ok(key.clone());
        }
        let certificate = Certificate::of_pem(stored.pem(), &aws_lc_rs::default_provider());
        let key = certificate.map(Certificate::into_key).map_err(|error| {
            tracing::error!(target: "acme", name, "its certificate cannot be used: {error}");
            Denied::Failed
        })?;
        // What was renewed or forgotten is used by nobody any more.
        read.retain(|_, (of, _)| of.strong_count() > 0);
        read.insert(name, (Arc::downgrade(&stored), key.clone()));
        Ok(key)
    }
}

/// The same with no certificate at all: the handshake fails with an alert.
pub(super) fn refusing(config: &ServerConfig) -> Arc<ServerConfig> {
    with_resolver(config, Arc::new(Nothing))
}

fn with_resolver(config: &ServerConfig, resolver: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = resolver;
    Arc::new(config)
}

#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
