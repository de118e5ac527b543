//! Certificates that the proxy obtains by itself (ACME, RFC 8555), and renews (RFC 9773).
//!
//! * `agent` is a thread that looks after the names that listeners have: who is due is attended to (`attend`), by one of
//!   the proxies that share a storage at a time;
//! * `order` is one order from its beginning to the certificate, `authority` who is asked;
//! * `plan` says when a certificate is renewed and when a failure is tried again, `record` is what is remembered of both;
//! * `demand` is for names that no listener has, until a client asks for them;
//! * `storage` is the directory where all of it lives, with its leases;
//! * `tickets` keeps what session tickets are sealed with;
//! * `challenges` has the answers for whoever asks on behalf of an authority: it is what the workers of the proxy hold.
//!
//! Nothing here opens a connection: requests to an authority go through a [`Transport`].

mod agent;
mod at;
mod attend;
mod authority;
mod certificate;
mod challenges;
mod demand;
mod failure;
mod key;
mod order;
mod plan;
mod published;
mod record;
mod settings;
mod status;
mod storage;
mod tickets;
mod transport;

pub use agent::{Acme, Certificates, Watcher};
pub use at::At;
pub use certificate::Stored;
pub use challenges::{ALPN, Challenge, Challenges, HTTP_PATH};
pub use demand::{Denied, OnDemand};
pub use key::self_signed;
pub use settings::{
    Authority, ChallengeKind, Demanded, Dns, ExternalAccount, KeyType, Permit, PermitFuture, RecordFuture,
    Records, Settings,
};
pub use status::{AuthorityStatus, FailureStatus, NameState, NameStatus, Status};
pub use storage::{Common, Storage};
pub use tickets::{TicketSecret, TicketSecrets};
pub use transport::{Transport, TransportFuture};
