//! Certificates that the proxy obtains by itself: the operator's word for it, and the way to the authorities.

mod common;
mod permits;
mod records;
mod transport;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurposeConfig;
use tidegate_acme::{
    Acme, Authority, Certificates, ChallengeKind, Challenges, Common, Demanded, Dns, ExternalAccount,
    KeyType, OnDemand, Settings, Storage, TicketSecrets, Watcher,
};
use tidegate_config::{self as config, AcmeShare, AllowedBy, Config, Problem, Secret};

pub(crate) use self::common::in_state;
use self::transport::Http;
use crate::{regular, tls};

/// Every file beside the storage that decides how certificates are obtained.
pub(crate) fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let used = config.obtains_certificates();
    let authorities = config.acme.authorities.iter().filter(move |_| used);
    let names = match config.on_demand().map(|on_demand| &on_demand.by) {
        Some(AllowedBy::Names(file)) => Some(file.clone()),
        Some(AllowedBy::Url(_)) | None => None,
    };
    let of_authorities = authorities.flat_map(|authority| {
        let key = match authority.external_account.as_ref().map(|account| &account.key) {
            Some(Secret::File(file)) => Some(file.clone()),
            Some(Secret::Env(_)) | None => None,
        };
        authority.ca.clone().into_iter().chain(key)
    });
    of_authorities.chain(names)
}

/// Obtains what the running generation wants.
pub(crate) struct Obtainer {
    acme: Acme,
    /// Where proxies meet that share `[state]`.
    common: Option<Arc<dyn Common>>,
    inputs: Option<Inputs>,
    /// The certificates that were handed out last.
    version: u64,
}

/// Everything that decides how certificates are obtained.
#[derive(PartialEq, Eq)]
struct Inputs {
    acme: config::Acme,
    names: BTreeSet<String>,
    /// Digest of each file; `None` where it cannot be read.
    files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

/// What a new configuration would change.
pub(crate) struct Prepared {
    /// By name.
    pub(crate) certificates: Certificates,
    /// `None`: nothing.
    change: Option<(Option<Settings>, Inputs)>,
    version: u64,
}

impl Obtainer {
    /// `wake` is called when there are other certificates; it must not wait.
    pub(crate) fn new(common: Option<Arc<dyn Common>>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { acme: Acme::new(wake), common, inputs: None, version: 0 }
    }

    /// Looks whether a configuration can be used, and which certificates it has already.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, Problem> {
        let names: BTreeSet<String> = config.acme_names().into_iter().cloned().collect();
        // Before the certificates are taken: others may come in between.
        let version = self.acme.version();
        let files = files(config).map(regular::digested).collect();
        let inputs = Inputs { acme: config.acme.clone(), names, files };
        let is_same = self.inputs.as_ref() == Some(&inputs);
        if !config.obtains_certificates() {
            let change = (!is_same).then_some((None, inputs));
            return Ok(Prepared { certificates: Certificates::default(), change, version });
        }
        let path = &config.acme.storage;
        let storage = if is_same { Ok(Storage::at(path)) } else { Storage::open(path) };
        let storage = storage.map_err(|error| {
            let message = format!("acme.storage: cannot write to {}: {error}", path.display());
            let help = "name a directory that the proxy may make and write to";
            config.positions.problem("acme.storage", message).with_help(help)
        })?;
        let common = match config.acme.share {
            AcmeShare::Storage => None,
            AcmeShare::State => Some(self.common.clone().ok_or_else(|| {
                let message = "acme.share: [state] is in the memory of this process until its next start";
                config.positions.problem("acme.share", message.to_owned()).with_help("restart the proxy")
            })?),
        };
        let storage = storage.with_common(common);
        let certificates = self.acme.certificates(&storage, &inputs.names);
        let change = if is_same { None } else { Some((Some(settings(config, storage)?), inputs)) };
        Ok(Prepared { certificates, change, version })
    }

    /// Goes by it from now on.
    pub(crate) fn adopt(&mut self, prepared: Prepared) -> std::io::Result<()> {
        self.version = prepared.version;
        let Some((settings, inputs)) = prepared.change else { return Ok(()) };
        let has_changed = self
            .inputs
            .as_ref()
            .is_some_and(|before| (&before.acme, &before.files) != (&inputs.acme, &inputs.files));
        self.acme.look_after(settings, inputs.names.clone(), has_changed)?;
        self.inputs = Some(inputs);
        Ok(())
    }

    /// The certificates that a configuration has now, which was adopted.
    pub(crate) fn latest(&mut self, config: &Config) -> Certificates {
        self.version = self.acme.version();
        let names = config.acme_names().into_iter().cloned().collect();
        let storage = Storage::at(&config.acme.storage);
        let shares = config.acme.share == AcmeShare::State;
        self.acme.certificates(&storage.with_common(self.common.clone().filter(|_| shares)), &names)
    }

    /// Whether there are other certificates than those that were taken up last.
    pub(crate) fn has_news(&self) -> bool {
        self.acme.version() != self.version
    }

    /// The answers to authorities.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.acme.challenges()
    }

    /// The certificates of names that clients ask for.
    pub(crate) fn on_demand(&self) -> Arc<OnDemand> {
        self.acme.on_demand()
    }

    /// What session tickets are sealed with, where that is shared.
    pub(crate) fn tickets(&self) -> Arc<TicketSecrets> {
        self.acme.tickets()
    }

    /// For the admin interface.
    pub(crate) fn watcher(&self) -> Watcher {
        self.acme.watcher()
    }
}

/// The certificates that are there already, without making anything.
pub(crate) fn stored(config: &Config) -> Certificates {
    let names = config.acme_names().into_iter().cloned().collect();
    Acme::new(|| ()).certificates(&Storage::at(&config.acme.storage), &names)
}

/// Whether the authorities could be asked, as far as files tell.
pub(crate) fn check(config: &Config) -> Result<(), Problem> {
    if !config.obtains_certificates() {
        return Ok(());
    }
    settings(config, Storage::at(&config.acme.storage)).map(drop)
}

fn settings(config: &Config, storage: Storage) -> Result<Settings, Problem> {
    let acme = &config.acme;
    let authorities = acme.authorities.iter().map(|authority| {
        let place = authority.place;
        let problem = |key: &str, message: String| {
            config.positions.problem(&format!("{place}.{key}"), format!("{place}.{key}: {message}"))
        };
        let tls = tls::for_own_requests(authority.ca.as_deref()).map_err(|message| problem("ca", message))?;
        let external_account = match &authority.external_account {
            None => None,
            Some(account) => {
                let key = external_key(&account.key).map_err(|what| problem("external-account.key", what))?;
                Some(ExternalAccount { id: account.id.clone(), key })
            }
        };
        Ok(Authority {
            directory: authority.directory.clone(),
            profile: authority.profile.clone(),
            external_account,
            transport: Arc::new(Http::new(Some(tls))),
        })
    });
    let challenges = acme.challenges.iter().map(|kind| match kind {
        config::ChallengeKind::Http01 => ChallengeKind::Http01,
        config::ChallengeKind::TlsAlpn01 => ChallengeKind::TlsAlpn01,
        config::ChallengeKind::Dns01 => ChallengeKind::Dns01,
    });
    let dns = match &acme.dns {
        None => None,
        Some(hook) => {
            let records = records::open(hook)
                .map_err(|message| config.positions.problem("acme.dns", format!("acme.dns: {message}")))?;
            Some(Dns { records, wait: hook.wait })
        }
    };
    let demanded = match config.on_demand() {
        None => None,
        Some(on_demand) => {
            let permit = permits::open(&on_demand.by).map_err(|(key, message)| {
                let key = format!("acme.on-demand.{key}");
                config.positions.problem(&key, format!("{key}: {message}"))
            })?;
            Some(Demanded { permit, limit: on_demand.limit })
        }
    };
    Ok(Settings {
        dns,
        demanded,
        shares_tickets: acme.share_tickets,
        storage,
        email: acme.email.clone(),
        key_type: match acme.key_type {
            config::KeyType::EcdsaP256 => KeyType::EcdsaP256,
            config::KeyType::EcdsaP384 => KeyType::EcdsaP384,
            config::KeyType::Rsa2048 => KeyType::Rsa2048,
            config::KeyType::Rsa4096 => KeyType::Rsa4096,
        },
        challenges: challenges.collect(),
        authorities: authorities.collect::<Result<_, _>>()?,
    })
}

/// The key of an account elsewhere. No message repeats anything of it.
fn external_key(secret: &Secret) -> Result<Vec<u8>, String> {
    let text = match secret {
        Secret::File(file) => regular::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
        Secret::Env(name) => {
            std::env::var(name).map_err(|_| format!("the environment has no {name} that is text"))?
        }
    };
    let text: String = text
        .trim()
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
    match engine.decode(text) {
        Ok(key) if !key.is_empty() => Ok(key),
        _ => Err("this is not Base64".to_owned()),
    }
}
