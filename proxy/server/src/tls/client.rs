//! What an upstream's `tls` table becomes: whom the proxy believes, and who it says it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use tidegate_config::{Config, Problem, Protocol, UpstreamTls};

use super::alpn::{ALPN_HTTP1, ALPN_HTTP2};
use super::certificates::{Certificate, Fault, authorities, first_certificate};

/// Builds the client side of TLS for one generation after another. One whose table and files are
/// unchanged is kept, and with it the connections and sessions.
pub(crate) struct ClientLoader {
    provider: Arc<CryptoProvider>,
    built: HashMap<String, (Inputs, Arc<ClientConfig>)>,
}

#[derive(PartialEq)]
struct Inputs {
    tls: UpstreamTls,
    protocol: Protocol,
    /// Digest of each file; `None` where it cannot be read.
    files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

impl ClientLoader {
    pub(crate) fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), built: HashMap::new() }
    }

    /// The configurations of all upstreams that have TLS, by upstream.
    pub(crate) fn load(
        &mut self,
        config: &Config,
        problems: &mut Vec<Problem>,
    ) -> HashMap<String, Arc<ClientConfig>> {
        let mut built = HashMap::new();
        let before = problems.len();
        for (name, upstream) in &config.upstreams {
            let Some(tls) = &upstream.tls else { continue };
            let files = files(tls).map(crate::regular::digested);
            let inputs = Inputs { tls: tls.clone(), protocol: upstream.protocol, files: files.collect() };
            let one = match self.built.get(name).filter(|(known, _)| *known == inputs) {
                Some((_, kept)) => Some(kept.clone()),
                None => self.build(name, tls, upstream.protocol, config, problems),
            };
            if let Some(one) = one {
                built.insert(name.clone(), (inputs, one));
            }
        }
        let configs = built.iter().map(|(name, (_, config))| (name.clone(), config.clone())).collect();
        if problems.len() == before {
            self.built = built;
        }
        configs
    }

    fn build(
        &self,
        upstream: &str,
        tls: &UpstreamTls,
        protocol: Protocol,
        config: &Config,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<ClientConfig>> {
        let place = |key: &str| format!("upstream.{upstream}.tls{key}");
        let mut report = |key: &str, message: String| {
            problems.push(config.positions.problem(&place(key), message));
        };
        let roots = match &tls.ca {
            _ if !tls.verify || !tls.fingerprints.is_empty() => Ok(RootCertStore::empty()),
            Some(ca) => authorities(ca).map_err(|what| report(".ca", format!("{}: {what}", ca.display()))),
            None => system_authorities().map_err(|what| report("", what)),
        };
        let identity = match &tls.client_certificate {
            None => Some(None),
            Some(one) => match Certificate::load(&one.chain, &one.key, &self.provider) {
                Ok(certificate) => Some(Some(certificate)),
                Err(faults) => {
                    for fault in faults {
                        match fault {
                            Fault::Chain(what) => report(
                                ".client-certificate.chain",
                                format!("{}: {what}", one.chain.display()),
                            ),
                            Fault::Key(what) => {
                                report(".client-certificate.key", format!("{}: {what}", one.key.display()));
                            }
                        }
                    }
                    None
                }
            },
        };
        let (Ok(roots), Some(identity)) = (roots, identity) else { return None };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
        let builder = match builder {
            Ok(builder) if !tls.verify || !tls.fingerprints.is_empty() => {
                let pinned = tls.verify.then(|| tls.fingerprints.clone());
                if pinned.is_none() {
                    tracing::warn!(target: "tls", upstream, "tls.verify = false: the certificates of its servers are not looked at");
                }
                let verifier = Pinned { fingerprints: pinned, provider: self.provider.clone() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Ok(builder) => builder.with_root_certificates(roots),
            Err(error) => {
                report("", format!("TLS is not available: {error}"));
                return None;
            }
        };
        let mut built = match identity {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(certificate.into_single())),
        };
        built.alpn_protocols = match protocol {
            Protocol::Auto => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
            Protocol::Http1 => vec![ALPN_HTTP1.to_vec()],
            Protocol::H2 => vec![ALPN_HTTP2.to_vec()],
        };
        Some(Arc::new(built))
    }
}

/// Whom the proxy, or a command, believes where it asks for something itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Believes<'a> {
    /// Whom the system does.
    System,
    /// Whoever has a certificate that an authority in this file signed.
    Authority(&'a Path),
    /// Who has the first certificate in this file, whoever signed that and whatever names it has.
    Certificate(&'a Path),
}

/// How somebody is spoken to whose certificate `ca` has signed, or whom the system believes.
pub(crate) fn for_own_requests(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    as_client(ca.map_or(Believes::System, Believes::Authority), None)
}

/// How somebody is spoken to, in HTTP/1.1; `identity` is what is shown to who asks: the files of a certificate and its key.
pub(crate) fn as_client(
    believes: Believes<'_>,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| format!("TLS is not available: {error}"))?;
    let of = |file: &Path, what: String| format!("{}: {what}", file.display());
    let builder = match believes {
        Believes::System => builder.with_root_certificates(system_authorities()?),
        Believes::Authority(ca) => {
            builder.with_root_certificates(authorities(ca).map_err(|what| of(ca, what))?)
        }
        Believes::Certificate(file) => {
            let der = first_certificate(file).map_err(|what| of(file, what))?;
            let verifier =
                Pinned { fingerprints: Some(vec![Sha256::digest(&der).into()]), provider: provider.clone() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let certificate = Certificate::load(chain, key, &provider).map_err(|faults| {
                let faults = faults.into_iter().map(|fault| match fault {
                    Fault::Chain(what) => of(chain, what),
                    Fault::Key(what) => of(key, what),
                });
                faults.collect::<Vec<_>>().join("; ")
            })?;
            builder.with_client_cert_resolver(Arc::new(certificate.into_single()))
        }
    };
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// Looks at the certificate itself and at nothing else: not at names, dates or authorities.
#[derive(Debug)]
struct Pinned {
    /// `None`: any certificate will do.
    fingerprints: Option<Vec<[u8; 32]>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest: [u8; 32] = Sha256::digest(certificate).into();
        match &self.fingerprints {
            Some(known) if !known.contains(&digest) => {
                let shown = digest.map(|byte| format!("{byte:02x}")).join(":");
                Err(rustls::Error::General(format!("its certificate {shown} is none of tls.fingerprints")))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    // That the server has the key of the certificate is what makes it the server.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Every file an upstream's TLS depends on.
pub(super) fn files(tls: &UpstreamTls) -> impl Iterator<Item = PathBuf> {
    let certificate = tls.client_certificate.iter().flat_map(|one| [one.chain.clone(), one.key.clone()]);
    tls.ca.iter().cloned().chain(certificate).collect::<Vec<_>>().into_iter()
}

/// Whom this machine believes: what OpenSSL would, including SSL_CERT_FILE and SSL_CERT_DIR.
fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Machines carry some that no standard allows; they are of no use.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "this machine has no certificate authorities (package ca-certificates); name yours with ca = \"FILE.pem\" {}",
            errors.join(", ")
        ));
    }
    Ok(roots)
}
