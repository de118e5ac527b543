//! One rule as an operator writes it: conditions, and in the same table what happens when they hold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Conditions and what happens when they hold, to be read from `[config]`.
///
/// The action is a struct of its own with the keys that a policy adds to those of [`Conditions`]; a key of the
/// same name as one of theirs never reaches it. Operators read its comments: those on its fields as they are,
/// the one on the struct after "All conditions must hold; one that is left out always holds."
///
/// A key that neither knows is refused by name, whether or not the action is marked `deny_unknown_fields`. That
/// does not hold for an action that serde does not read as a struct (an enum, or a struct with `flatten`): it has
/// to refuse by itself what it does not know.
#[derive(Debug, Clone)]
pub struct Rule<Action> {
    /// When.
    pub conditions: Conditions,
    /// What then.
    pub action: Action,
}

/// When a rule applies: all of them must hold, and one that is empty always holds. [`Default`]: always.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(default, rename_all = "kebab-case")]
pub struct Conditions {
    /// One of these hosts: `example.org`, or `*.example.org` for every name below it but not itself. Case, port
    /// and a trailing dot do not count; IPv6 addresses stand in brackets.
    pub hosts: Vec<String>,
    /// One of these globs over the normalised path: `*` within a segment, `**` across segments, `?` one character
    /// but `/`; `/api/**` matches `/api` too.
    pub paths: Vec<String>,
    /// One of these methods, with regard to case.
    pub methods: Vec<String>,
    /// All of these fields: a pattern that the whole of any value matches, with regard to case. `*` is any
    /// characters, `?` any one; `*` alone holds if the field is present.
    pub headers: BTreeMap<String, String>,
    /// One of these texts is part of the `user-agent` field, in any case.
    pub user_agents: Vec<String>,
    /// What the client connected with: `http` or `https`.
    pub schemes: Vec<String>,
    /// All of these parameters of the query, decoded: patterns as in `headers`.
    pub query: BTreeMap<String, String>,
    /// All of these cookies: patterns as in `headers`, for the first cookie of the name.
    pub cookies: BTreeMap<String, String>,
    /// One of these networks (`10.0.0.0/8`) and addresses has the client.
    pub clients: Vec<String>,
}

impl<'de, Action: Deserialize<'de>> Deserialize<'de> for Rule<Action> {
    /// Not `#[serde(flatten)]`: it keeps all values aside until the end, and then neither names a key that nobody
    /// knows nor says in which key of a rule a value is wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<Action>(PhantomData<Action>);

        impl<'de, Action: Deserialize<'de>> Visitor<'de> for Table<Action> {
            type Value = Rule<Action>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("struct Rule")
            }

            fn visit_map<M: MapAccess<'de>>(self, table: M) -> Result<Self::Value, M::Error> {
                let mut conditions = Conditions::default();
                let rest = Rest { table, conditions: &mut conditions, known: None };
                let action = Action::deserialize(rest)?;
                Ok(Rule { conditions, action })
            }
        }

        deserializer.deserialize_map(Table(PhantomData))
    }
}

/// The table of a rule without its conditions, which are put where they belong as they come by.
struct Rest<'a, M> {
    table: M,
    conditions: &'a mut Conditions,
    /// The keys of the action; `None` = it has to refuse others itself.
    known: Option<&'static [&'static str]>,
}

impl<'de, M: MapAccess<'de>> Deserializer<'de> for Rest<'_, M> {
    type Error = M::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, M::Error> {
        visitor.visit_map(Self { known: Some(fields), ..self })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, M::Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for Rest<'_, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, M::Error> {
        loop {
            match self.table.next_key_seed(Sort { seed, known: self.known })? {
                None => return Ok(None),
                Some(Key::Action(key)) => return Ok(Some(key)),
                Some(Key::Condition(condition, unused)) => {
                    self.conditions.read(condition, &mut self.table)?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.table.next_value_seed(seed)
    }
}

/// A key in the table of a rule; `S` is what a key of the action would have been read with.
enum Key<S, T> {
    Condition(Condition, S),
    Action(T),
}

#[derive(Clone, Copy)]
enum Condition {
    Hosts,
    Paths,
    Methods,
    Headers,
    UserAgents,
    Schemes,
    Query,
    Cookies,
    Clients,
}

/// As they are written.
const CONDITIONS: [(&str, Condition); 9] = [
    ("hosts", Condition::Hosts),
    ("paths", Condition::Paths),
    ("methods", Condition::Methods),
    ("headers", Condition::Headers),
    ("user-agents", Condition::UserAgents),
    ("schemes", Condition::Schemes),
    ("query", Condition::Query),
    ("cookies", Condition::Cookies),
    ("clients", Condition::Clients),
];

impl Conditions {
    fn read<'de, M: MapAccess<'de>>(&mut self, key: Condition, table: &mut M) -> Result<(), M::Error> {
        let mut list = |name: &str, list: &mut Vec<String>| {
            *list = table.next_value()?;
            // A rule that was meant for nothing would hold for everything.
            if list.is_empty() || list.iter().any(String::is_empty) { Err(empty(name)) } else { Ok(()) }
        };
        let (name, patterns) = match key {
            Condition::Hosts => return list("hosts", &mut self.hosts),
            Condition::Paths => return list("paths", &mut self.paths),
            Condition::Methods => return list("methods", &mut self.methods),
            Condition::UserAgents => return list("user-agents", &mut self.user_agents),
            Condition::Schemes => return list("schemes", &mut self.schemes),
            Condition::Clients => return list("clients", &mut self.clients),
            Condition::Headers => ("headers", &mut self.headers),
            Condition::Query => ("query", &mut self.query),
            Condition::Cookies => ("cookies", &mut self.cookies),
        };
        *patterns = table.next_value()?;
        if patterns.is_empty() { Err(empty(name)) } else { Ok(()) }
    }
}

fn empty<E: de::Error>(name: &str) -> E {
    E::custom(format_args!("`{name}` is empty, or has an empty text: leave it out where any will do"))
}

/// Reads a key while the table still knows which one it is, so that an error names it.
struct Sort<S> {
    seed: S,
    known: Option<&'static [&'static str]>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Sort<S> {
    type Value = Key<S, S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Sort<S> {
    type Value = Key<S, S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == key) {
            return Ok(Key::Condition(*condition, self.seed));
        }
        match self.known {
            Some(known) if !known.contains(&key) => Err(unknown(key, known)),
            _ => self.seed.deserialize(key.into_deserializer()).map(Key::Action),
        }
    }
}

/// As serde says it, which asks for all names in one list.
fn unknown<E: de::Error>(key: &str, known: &[&str]) -> E {
    let names = CONDITIONS.iter().map(|(name, _)| name).chain(known).map(|name| format!("`{name}`"));
    let names: Vec<_> = names.collect();
    E::custom(format_args!("unknown field `{key}`, expected one of {}", names.join(", ")))
}

impl<Action: JsonSchema> JsonSchema for Rule<Action> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Rule", Action::schema_name()).into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("{}::Rule<{}>", module_path!(), Action::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its schema is used")]
        struct Table<Action> {
            #[schemars(flatten)]
            conditions: Conditions,
            #[schemars(flatten)]
            action: Action,
        }

        let when = "All conditions must hold; one that is left out always holds.";
        let then = Action::json_schema(generator);
        let description = match then.get("description").and_then(|description| description.as_str()) {
            Some(then) => format!("{when} {then}"),
            None => when.to_owned(),
        };
        let mut schema = Table::<Action>::json_schema(generator);
        schema.insert("description".to_owned(), description.into());
        schema
    }
}
