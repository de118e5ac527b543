//! What this process knows of an upstream that its configuration does not say, for another process to go on with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_config as config;

use crate::cluster::{Cluster, Hold};
use crate::health::{Health, State};
use tidegate_io::Millis;

/// What was ordered of an upstream while it serves, and which of its servers fail their checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kept {
    /// The upstream's.
    pub name: String,
    /// The servers in place of those of the configuration, which are these.
    replaced: Option<Replaced>,
    held: Vec<(String, Hold)>,
    weights: Vec<(String, u32)>,
    down: Vec<String>,
    /// Those that passed a check.
    well: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Replaced {
    configured: Vec<ServerText>,
    by: Vec<ServerText>,
}

/// A server as the configuration and the admin interface have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ServerText {
    address: String,
    weight: u32,
    backup: bool,
}

impl From<&config::Server> for ServerText {
    fn from(server: &config::Server) -> Self {
        Self { address: server.address.to_string(), weight: server.weight, backup: server.backup }
    }
}

fn texts(servers: &[config::Server]) -> Vec<ServerText> {
    servers.iter().map(ServerText::from).collect()
}

impl Cluster {
    /// For another process; as it is now.
    pub fn kept(&self) -> Kept {
        let now = Millis::now();
        let replaced = self
            .replaced()
            .as_ref()
            .map(|servers| Replaced { configured: texts(&self.config.servers), by: texts(servers) });
        let members = self.members();
        let those = |are: &dyn Fn(&Health) -> bool| {
            let members = members.list.iter().filter(|member| are(&member.health));
            members.map(|member| member.target.name.to_string()).collect()
        };
        let orders = self.orders();
        Kept {
            name: self.name.to_string(),
            replaced,
            held: orders.held.iter().map(|(name, hold)| (name.to_string(), *hold)).collect(),
            weights: orders.weights.iter().map(|(name, weight)| (name.to_string(), *weight)).collect(),
            down: those(&|health| health.state(now) == State::Down),
            well: those(&Health::was_well),
        }
    }

    /// Goes on with what another process kept, as far as it fits the configuration of this one. What checks say from now on
    /// counts.
    pub fn take_up(&self, kept: Kept) {
        if let Some(replaced) = kept.replaced
            && replaced.configured == texts(&self.config.servers)
            && let Ok(json) = serde_json::to_value(&replaced.by)
            && let Ok(servers) = config::Config::servers(&json)
        {
            *self.replaced() = Some(servers);
        }
        {
            let mut orders = self.orders();
            orders.held.extend(kept.held.into_iter().map(|(name, hold)| (Arc::from(name), hold)));
            orders.weights.extend(kept.weights.into_iter().map(|(name, weight)| (Arc::from(name), weight)));
        }
        self.update(true);
        if self.config.health.is_some() {
            for member in &self.members().list {
                let is_among = |names: &[String]| names.iter().any(|name| **name == *member.target.name);
                member.health.go_on(is_among(&kept.well), is_among(&kept.down));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(servers: &str) -> Arc<Cluster> {
        let health = "health = { path = \"/\", interval = \"1h\" }";
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = {servers}\n{health}"
        );
        let config = config::parse(&text, "tidegate.toml".as_ref()).expect("a valid configuration");
        let cluster = Cluster::new("app", &config.upstreams["app"], None, None);
        cluster.update(true);
        cluster
    }

    /// What another process makes of it, if its configuration has these servers.
    fn taken_up(kept: &Kept, servers: &str) -> Vec<(String, &'static str, u32)> {
        let text = serde_json::to_string(kept).expect("text");
        let cluster = cluster(servers);
        cluster.take_up(serde_json::from_str(&text).expect("the same"));
        shown(&cluster)
    }

    fn shown(cluster: &Cluster) -> Vec<(String, &'static str, u32)> {
        let servers = cluster.status().servers.into_iter();
        servers.map(|server| (server.address.to_string(), server.state, server.weight)).collect()
    }

    #[test]
    fn what_was_ordered_and_what_is_down_stays_so() {
        let servers = "[\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"]";
        let before = cluster(servers);
        assert!(before.hold("10.0.0.1:1", Hold::Disabled) && before.set_weight("10.0.0.2:1", 7));
        before.members().list[1].health.check_failed(1);
        assert!(!before.has_server_up());
        before.members().list[0].health.check_passed(1, Millis::now());
        let now = shown(&before);
        assert!(now.contains(&("10.0.0.1:1".to_owned(), "disabled", 1)), "{now:?}");
        assert_eq!(taken_up(&before.kept(), servers), now);
        let other = cluster(servers);
        other.take_up(before.kept());
        assert_eq!(other.has_server_up(), before.has_server_up());
    }

    #[test]
    fn servers_that_were_put_in_place_stay_unless_the_configuration_has_others() {
        let servers = "[\"10.0.0.1:1\", \"unix:/run/app\"]";
        let before = cluster(servers);
        let json = serde_json::json!([{ "address": "10.0.0.9:1", "weight": 3 }, "unix:/run/other"]);
        before.replace_servers(Some(config::Config::servers(&json).expect("servers")));
        assert_eq!(taken_up(&before.kept(), servers), shown(&before));
        let others = "[\"10.0.0.2:1\"]";
        assert_eq!(taken_up(&before.kept(), others), shown(&cluster(others)));
    }
}
