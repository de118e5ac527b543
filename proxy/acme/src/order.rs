//! One order: from the name to the certificate (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus,
};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::challenges::{Challenges, Presented};
use crate::failure::{self, Failure, Fault};
use crate::published::{Published, publish};
use crate::settings::Dns;
use crate::transport::Told;
use crate::{At, ChallengeKind, KeyType, Storage, key};

/// An order that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(300);
/// Until the authority is asked for the first time what has become of something.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Between two such questions, if the authority does not say otherwise.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Whatever it says.
const LONGEST_SAID: Duration = Duration::from_secs(60);

/// What is ordered.
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a str,
    pub(crate) challenge: ChallengeKind,
    pub(crate) key_type: KeyType,
    pub(crate) profile: Option<&'a str>,
    /// The certificate that the new one takes the place of (RFC 9773 §5).
    pub(crate) replaces: Option<CertificateIdentifier<'a>>,
    pub(crate) dns: Option<&'a Dns>,
}

/// What an authority is shown, as long as it is kept.
enum Shown {
    Answer { _presented: Presented },
    Record { _published: Published },
}

/// Key and chain in one text. `told` belongs to the account.
pub(crate) async fn obtain(
    account: &Account,
    told: &Told,
    wish: Wish<'_>,
    challenges: &Arc<Challenges>,
    storage: &Storage,
) -> Result<Vec<u8>, Failure> {
    let wish_wait = wish.dns.map(|dns| dns.wait).unwrap_or_default();
    let whole = async {
        let mut order = begin(account, told, &wish).await?;
        let shown = prepare(&mut order, told, &wish, challenges, storage).await?;
        if !shown.is_empty() {
            validated(&mut order, told, wish.challenge).await?;
        }
        // Whoever asks has asked.
        drop(shown);
        finish(&mut order, told, &wish).await
    };
    let longest = LONGEST + wish_wait;
    match timeout(longest, whole).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("no certificate within {} s of the order", longest.as_secs());
            Err(Failure::new(Fault::Authority, text))
        }
    }
}

async fn begin(account: &Account, told: &Told, wish: &Wish<'_>) -> Result<Order, Failure> {
    let identifiers = [Identifier::Dns(wish.name.to_owned())];
    let new = || {
        let order = NewOrder::new(&identifiers);
        wish.profile.into_iter().fold(order, |order, profile| order.profile(profile))
    };
    let of = |error| Failure::of(error, told.take());
    let Some(replaces) = &wish.replaces else { return account.new_order(&new()).await.map_err(of) };
    // Authorities refuse an order for a certificate that was replaced once, and some do so although the order that was to
    // replace it came to nothing; others say nothing of what is replaced, which our library takes for an error. A
    // certificate is worth more than the note whose place it takes.
    match account.new_order(&new().replaces(replaces.clone())).await.map_err(of) {
        Err(failure) if failure.fault != Fault::RateLimit => {
            tracing::info!(
                target: "acme",
                name = wish.name,
                "the authority takes no order that replaces the present certificate, and gets one that does not: {failure}"
            );
            account.new_order(&new()).await.map_err(of)
        }
        result => result,
    }
}

/// Sees to the answers, and tells the authority that it can ask. Empty if it knows already that the name is ours.
async fn prepare(
    order: &mut Order,
    told: &Told,
    wish: &Wish<'_>,
    challenges: &Arc<Challenges>,
    storage: &Storage,
) -> Result<Vec<Shown>, Failure> {
    let of = |error| Failure::of(error, told.take());
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(of)?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => {
                let text = format!("the authority refuses the name from the beginning: {status:?}");
                return Err(Failure::new(Fault::Name, text));
            }
        }
        let offered: Vec<_> =
            authorization.challenges.iter().map(|one| in_words(&one.r#type).to_owned()).collect();
        let Some(mut challenge) = authorization.challenge(kind(wish.challenge)) else {
            let offered = offered.join(", ");
            let text = format!("the authority offers no {}, but {offered}", wish.challenge);
            return Err(Failure::new(Fault::Name, text));
        };
        let answer = challenge.key_authorization();
        let present = |key: &str| {
            let presented = challenges.present(storage, wish.challenge, key, answer.as_str());
            presented.map_err(|error| Failure::own(format!("the storage cannot be used: {error}")))
        };
        shown.push(match wish.challenge {
            ChallengeKind::Http01 => Shown::Answer { _presented: present(&challenge.token)? },
            ChallengeKind::TlsAlpn01 => Shown::Answer { _presented: present(wish.name)? },
            ChallengeKind::Dns01 => {
                let dns = wish.dns.ok_or_else(|| Failure::own("nobody sets DNS records"))?;
                let published = publish(dns, wish.name, answer.dns_value()).await;
                let of = |error| Failure::new(Fault::Name, format!("dns-01: no record is set: {error}"));
                Shown::Record { _published: published.map_err(of)? }
            }
        });
        challenge.set_ready().await.map_err(of)?;
    }
    Ok(shown)
}

/// Waits until the authority knows that the name is ours.
async fn validated(order: &mut Order, told: &Told, challenge: ChallengeKind) -> Result<(), Failure> {
    let mut wait = FIRST_WAIT;
    loop {
        pause(&mut wait, told).await;
        let state = order.refresh().await.map_err(|error| Failure::of(error, told.take()))?;
        match state.status {
            OrderStatus::Pending => {}
            OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Processing => return Ok(()),
            OrderStatus::Invalid => {
                let of_order = state.error.as_ref().map(failure::text);
                let text = match why_invalid(order).await {
                    Some(text) => text,
                    None => of_order.unwrap_or_else(|| "the authority does not say why".to_owned()),
                };
                return Err(Failure::new(Fault::Name, format!("{challenge}: {text}")));
            }
        }
    }
}

/// What the authority says of the challenge that failed.
async fn why_invalid(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        authorization.refresh().await.ok()?;
        let error = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(error) = error {
            return Some(failure::text(error));
        }
    }
    None
}

/// Has a key of our own signed.
async fn finish(order: &mut Order, told: &Told, wish: &Wish<'_>) -> Result<Vec<u8>, Failure> {
    let of = |error: Error| Failure::of(error, told.take());
    let (name, key_type) = (wish.name.to_owned(), wish.key_type);
    let made = spawn_blocking(move || {
        let key = key::generate(key_type)?;
        Ok::<_, rcgen::Error>((key.serialize_pem(), key::request(&name, &key)?))
    });
    let (key, request) = match made.await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => return Err(Failure::own(format!("no key: {error}"))),
        Err(_) => return Err(Failure::own("no key: the proxy is stopping")),
    };
    order.finalize_csr(&request).await.map_err(of)?;
    let mut wait = FIRST_WAIT;
    loop {
        match order.state().status {
            OrderStatus::Valid => break,
            OrderStatus::Invalid => {
                let error = order.state().error.as_ref().map(failure::text);
                let text = error.unwrap_or_else(|| "the authority does not say why".to_owned());
                return Err(Failure::new(Fault::Name, format!("the order failed in the end: {text}")));
            }
            _ => {}
        }
        pause(&mut wait, told).await;
        order.refresh().await.map_err(of)?;
    }
    let chain = order.certificate().await.map_err(of)?;
    let chain = chain.ok_or_else(|| Failure::new(Fault::Authority, "a valid order without a certificate"))?;
    Ok((key + &chain).into_bytes())
}

async fn pause(wait: &mut Duration, told: &Told) {
    let said = told.take().map(|at| at.since(At::now())).filter(|said| !said.is_zero());
    sleep(said.map_or(*wait, |said| said.min(LONGEST_SAID))).await;
    *wait = (*wait * 2).min(LONGEST_WAIT);
}

fn kind(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

fn in_words(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Unknown(name) => name,
        _ => "another one",
    }
}
