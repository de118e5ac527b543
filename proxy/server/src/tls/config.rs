//! What a listener's `tls` table becomes: checked certificates in a rustls configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use tidegate_acme::{Certificates, Stored, TicketSecrets};
use tidegate_config::{ClientAuth, Config, Group, HttpVersions, Problem, Serves, Tls, TlsVersion};

use super::alpn::{ALPN_HTTP1, ALPN_HTTP2};
use super::certificates::{ByName, Certificate, Fault, authorities, revocation_lists};
use super::tickets::{OwnSecrets, Sealing, Tickets};

/// More names are not written into a certificate that the proxy signs itself.
const MOST_SELF_SIGNED: usize = 50;

/// Whether a client that does not use ALPN has to speak HTTP/2.
pub(crate) fn speaks_only_http2(config: &ServerConfig) -> bool {
    config.alpn_protocols == [ALPN_HTTP2]
}

/// What the handshakes of a listener go by.
pub(crate) struct Terms {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificates: Arc<ByName>,
    /// Certificates are obtained for other names when a client asks for them.
    pub(super) on_demand: bool,
}

/// What the admin interface is called among listeners; none has such a name.
pub(crate) const ADMIN: &str = "[admin]";

/// Every table of TLS by the name of its listener, and what HTTP is spoken there.
fn tables(config: &Config) -> impl Iterator<Item = (&str, &Tls, Option<HttpVersions>)> {
    let listeners = config.listeners.iter().filter_map(|(name, listener)| {
        let http = match &listener.serves {
            Serves::Http(versions) => Some(*versions),
            Serves::Tcp(_) | Serves::TlsPassthrough(_) => None,
        };
        Some((name.as_str(), listener.tls.as_ref()?, http))
    });
    let http1 = Some(HttpVersions { http1: true, http2: false });
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    listeners.chain(admin.map(|tls| (ADMIN, tls, http1)))
}

/// Every file a configuration's TLS depends on.
pub(crate) fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let listeners = tables(config).flat_map(|(_, tls, _)| {
        let certificates = tls.certificates.iter().flat_map(|one| [&one.chain, &one.key]);
        certificates.chain(&tls.client_ca).chain(&tls.client_crl).cloned()
    });
    let upstreams = config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
    listeners.chain(upstreams.flat_map(super::client::files))
}

/// Builds the TLS configurations of one generation after another. One whose table and files are
/// unchanged is kept, so that sessions can be resumed across reloads; where only certificates that the proxy obtained
/// are others, the keys of session tickets stay.
pub(crate) struct Loader {
    provider: Arc<CryptoProvider>,
    built: HashMap<String, (Inputs, Arc<Terms>)>,
    /// What session tickets are sealed with.
    own_tickets: Arc<OwnSecrets>,
    /// The same, where proxies share that.
    shared_tickets: Option<Arc<TicketSecrets>>,
    /// Obtained certificates that are read, by name.
    read: HashMap<String, (Arc<Stored>, Certificate)>,
}

/// Everything a listener's configuration is made of.
#[derive(PartialEq, Eq)]
struct Inputs {
    tls: String,
    /// Digest of each file, in order; `None` where it cannot be read.
    files: Vec<(PathBuf, Option<[u8; 32]>)>,
    shares_tickets: bool,
    on_demand: bool,
    /// By name; `None` where there is none yet.
    obtained: Vec<(String, Option<Arc<Stored>>)>,
}

/// What a load found wrong.
#[derive(Default)]
pub(crate) struct Findings {
    /// The configuration cannot be used.
    pub(crate) problems: Vec<Problem>,
    /// It can, but its operator will want to know.
    pub(crate) warnings: Vec<Problem>,
}

impl Loader {
    pub(crate) fn new(own_tickets: Arc<OwnSecrets>, shared_tickets: Option<Arc<TicketSecrets>>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { provider, built: HashMap::new(), own_tickets, shared_tickets, read: HashMap::new() }
    }

    /// The terms of all listeners that have one, by listener, those of [`ADMIN`] among them; `obtained` are the certificates that the proxy
    /// has for names, as far as it has some.
    pub(crate) fn load(
        &mut self,
        config: &Config,
        obtained: &Certificates,
    ) -> (HashMap<String, Arc<Terms>>, Findings) {
        let mut findings = Findings::default();
        self.read.retain(|name, (read, _)| obtained.get(name).is_some_and(|now| Arc::ptr_eq(now, read)));
        let mut built = HashMap::new();
        for (name, tls, http) in tables(config) {
            let inputs = Inputs::of(tls, http, config.acme.share_tickets, obtained);
            let kept = self.built.get(name).filter(|(before, _)| *before == inputs);
            let one = match kept {
                Some((_, kept)) => Some(kept.clone()),
                None => self.build(name, tls, http, &inputs, config, &mut findings),
            };
            if let Some(one) = one {
                built.insert(name.to_owned(), (inputs, one));
            }
        }
        let terms = built.iter().map(|(name, (_, terms))| (name.clone(), terms.clone())).collect();
        if findings.problems.is_empty() {
            self.built = built;
        }
        (terms, findings)
    }

    fn build(
        &mut self,
        listener: &str,
        tls: &Tls,
        http: Option<HttpVersions>,
        inputs: &Inputs,
        config: &Config,
        findings: &mut Findings,
    ) -> Option<Arc<Terms>> {
        let table = match listener {
            ADMIN => "admin.tls".to_owned(),
            name => format!("listener.{name}.tls"),
        };
        let path = |key: &str| format!("{table}.{key}");
        let mut usable = Vec::new();
        for (index, one) in tls.certificates.iter().enumerate() {
            let problem = |fault| match fault {
                Fault::Chain(what) => {
                    let key = path(&format!("certificates[{index}].chain"));
                    config.positions.problem(&key, format!("{}: {what}", one.chain.display()))
                }
                Fault::Key(what) => {
                    let key = path(&format!("certificates[{index}].key"));
                    config.positions.problem(&key, format!("{}: {what}", one.key.display()))
                }
            };
            match Certificate::load(&one.chain, &one.key, &self.provider) {
                Ok(certificate) => {
                    let warning = certificate.warning().map(Fault::Chain).map(problem);
                    findings.warnings.extend(warning);
                    usable.push(certificate);
                }
                Err(faults) => findings.problems.extend(faults.into_iter().map(problem)),
            }
        }
        let verifier = match &tls.client_ca {
            None => Some(WebPkiClientVerifier::no_client_auth()),
            Some(ca) => match self.client_verifier(ca, tls.client_crl.as_deref(), tls.client_auth) {
                Ok(verifier) => Some(verifier),
                Err((key, file, what)) => {
                    let message = format!("{}: {what}", file.display());
                    findings.problems.push(config.positions.problem(&path(key), message));
                    None
                }
            },
        };
        if usable.len() < tls.certificates.len() {
            return None;
        }
        usable.extend(self.obtained(listener, inputs, &usable));
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let provider = self.restricted(tls);
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let before = self.built.get(listener);
        let before = before.filter(|(before, _)| {
            (&before.tls, &before.files, before.shares_tickets)
                == (&inputs.tls, &inputs.files, inputs.shares_tickets)
        });
        let ticketer = match before {
            Some((_, before)) => before.config.ticketer.clone(),
            None => self.ticketer(listener, tls, inputs),
        };
        let certificates = Arc::new(ByName::new(&usable, &provider)?);
        match builder {
            Ok(builder) => {
                let builder = builder.with_client_cert_verifier(verifier?);
                let mut built = builder.with_cert_resolver(certificates.clone());
                built.ticketer = ticketer;
                // What a forwarded connection speaks is between its ends.
                let http2 = http.is_some_and(|http| http.http2).then(|| ALPN_HTTP2.to_vec());
                let http1 = http.is_some_and(|http| http.http1).then(|| ALPN_HTTP1.to_vec());
                built.alpn_protocols = http2.into_iter().chain(http1).collect();
                Some(Arc::new(Terms { config: Arc::new(built), certificates, on_demand: tls.on_demand }))
            }
            Err(error) => {
                let message = format!("TLS is not available: {error}");
                findings.problems.push(config.positions.problem(&table, message));
                None
            }
        }
    }

    fn ticketer(&self, listener: &str, tls: &Tls, inputs: &Inputs) -> Arc<dyn ProducesTickets> {
        // Of the same listener with the same files.
        let context = format!("{listener:?} {} {:?}", inputs.tls, inputs.files).into_bytes();
        let own = Sealing { secrets: self.own_tickets.clone(), context };
        let Some(secrets) = self.shared_tickets.clone().filter(|_| inputs.shares_tickets) else {
            return Arc::new(Tickets::new(own, None));
        };
        // Whatever a resumed session is not asked for again.
        let checked = |file: &Option<PathBuf>| {
            let file = file.as_ref()?;
            inputs.files.iter().find(|(known, _)| known == file).map(|(_, digest)| *digest)
        };
        let context = format!(
            "{listener:?} {:?} {:?} {:?}",
            tls.client_auth,
            checked(&tls.client_ca),
            checked(&tls.client_crl)
        );
        Arc::new(Tickets::new(own, Some(Sealing { secrets, context: context.into_bytes() })))
    }

    /// What a listener may use of what there is.
    fn restricted(&self, tls: &Tls) -> Arc<CryptoProvider> {
        if tls.cipher_suites.is_none() && tls.groups.is_none() {
            return self.provider.clone();
        }
        let mut provider = CryptoProvider::clone(&self.provider);
        if let Some(allowed) = &tls.cipher_suites {
            let is_allowed = |code: u16| allowed.iter().any(|suite| suite.code() == code);
            provider.cipher_suites.retain(|suite| is_allowed(suite.suite().into()));
        }
        if let Some(allowed) = &tls.groups {
            let known = std::mem::take(&mut provider.kx_groups);
            let find =
                |group: &Group| known.iter().find(|known| u16::from(known.name()) == group.code()).copied();
            provider.kx_groups = allowed.iter().filter_map(find).collect();
        }
        Arc::new(provider)
    }

    /// The certificates that the proxy obtained for a listener, and one that it signs itself for the names that have none;
    /// such a name may be among those of `others`, which are believed by somebody.
    fn obtained(&mut self, listener: &str, inputs: &Inputs, others: &[Certificate]) -> Vec<Certificate> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, stored) in &inputs.obtained {
            let known = match (self.read.get(name), stored) {
                (Some((_, read)), Some(_)) => Some(read.clone()),
                (None, Some(stored)) => match Certificate::of_pem(stored.pem(), &self.provider) {
                    Ok(read) => {
                        self.read.insert(name.clone(), (stored.clone(), read.clone()));
                        Some(read)
                    }
                    Err(error) => {
                        tracing::error!(target: "acme", name, "its certificate cannot be used: {error}");
                        None
                    }
                },
                (_, None) => None,
            };
            match known {
                Some(known) => found.push(known),
                None if others.iter().any(|other| other.has_name(name)) => {}
                None => missing.push(name.clone()),
            }
        }
        // A client that asks for no name gets something.
        let is_empty = inputs.on_demand && found.is_empty() && others.is_empty();
        if is_empty || !missing.is_empty() {
            // Nobody believes it: it need not say all that it stands for.
            let shown = if missing.len() <= MOST_SELF_SIGNED { &missing[..] } else { &[] };
            let signed = tidegate_acme::self_signed(shown);
            match signed.and_then(|pem| Certificate::of_pem(&pem, &self.provider)) {
                Ok(signed) => found.push(signed.with_names(missing)),
                Err(error) => tracing::error!(target: "tls", listener, "cannot sign a certificate: {error}"),
            }
        }
        found
    }

    /// The error is a key, its file and what is wrong with it.
    fn client_verifier<'p>(
        &self,
        ca: &'p Path,
        crl: Option<&'p Path>,
        auth: ClientAuth,
    ) -> Result<Arc<dyn ClientCertVerifier>, (&'static str, &'p Path, String)> {
        let of_ca = |what: String| ("client-ca", ca, what);
        let roots = authorities(ca).map_err(of_ca)?;
        let lists = match crl {
            Some(file) => revocation_lists(file).map_err(|what| ("client-crl", file, what))?,
            None => Vec::new(),
        };
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone());
        let builder = match auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional | ClientAuth::None => builder.allow_unauthenticated(),
        };
        let builder = builder.with_crls(lists).only_check_end_entity_revocation();
        builder.build().map_err(|error| match crl {
            Some(file) => ("client-crl", file, format!("cannot be used: {error}")),
            None => of_ca(error.to_string()),
        })
    }
}

impl Inputs {
    fn of(tls: &Tls, http: Option<HttpVersions>, shares_tickets: bool, obtained: &Certificates) -> Self {
        let (tls_names, on_demand) = (&tls.acme, tls.on_demand);
        let certificates = tls.certificates.iter().flat_map(|one| [&one.chain, &one.key]);
        let files =
            certificates.chain(&tls.client_ca).chain(&tls.client_crl).cloned().map(crate::regular::digested);
        // What the table says, in a form that can be compared; the paths are in `files`.
        let tls = format!(
            "{:?} {:?} {:?} {:?} {:?} {http:?}",
            tls.client_auth, tls.min_version, tls.cipher_suites, tls.groups, tls.certificates
        );
        let obtained = tls_names.iter().map(|name| (name.clone(), obtained.get(name).cloned())).collect();
        Self { tls, files: files.collect(), shares_tickets, on_demand, obtained }
    }
}
