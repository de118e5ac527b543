//! A DNS record that is there while an authority looks for it (RFC 8555 §8.4).

use std::sync::Arc;

use tokio::time::sleep;

use crate::settings::{Dns, Records};

/// Removed when this is dropped.
pub(crate) struct Published {
    records: Arc<dyn Records>,
    name: String,
    value: String,
}

/// Sets the record that shows `host`, which may be a wildcard, to be ours, and waits until it can be seen.
pub(crate) async fn publish(dns: &Dns, host: &str, value: String) -> Result<Published, String> {
    let name = record_name(host);
    let published = Published { records: dns.records.clone(), name, value };
    // It is removed even if it is not known whether it was set.
    published.records.set(&published.name, &published.value).await?;
    sleep(dns.wait).await;
    Ok(published)
}

fn record_name(host: &str) -> String {
    format!("_acme-challenge.{}", host.strip_prefix("*.").unwrap_or(host))
}

impl Drop for Published {
    fn drop(&mut self) {
        let removed = self.records.remove(&self.name, &self.value);
        let name = std::mem::take(&mut self.name);
        // Nobody waits for it; at the end of the process it may stay, and is of no use to anybody.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = removed.await {
                    tracing::warn!(target: "acme", record = %name, "cannot remove a DNS record: {error}");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_shown_by_the_record_of_its_parent() {
        assert_eq!(record_name("a.test"), "_acme-challenge.a.test");
        assert_eq!(record_name("*.a.test"), "_acme-challenge.a.test");
    }
}
