//! `${NAME}` in texts: what the environment has by that name.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use crate::report::Report;

/// What the environment has by a name.
pub(crate) type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Fills in all texts of a value. Names begin with a capital and have no small letters: regular expressions and their
/// groups stay as they are.
pub(crate) fn fill_in(
    value: &mut Spanned<DeValue<'_>>,
    environment: &Environment<'_>,
    report: &mut Report<'_>,
) {
    let at = value.span().start;
    match value.get_mut() {
        DeValue::String(text) => match filled_in(text, environment) {
            Ok(Some(filled_in)) => *text = Cow::Owned(filled_in),
            Ok(None) => {}
            Err(name) => {
                let message = format!("the environment has no {name} that is text");
                let help = format!(
                    "set it, write ${{{name}:-VALUE}} for what to take without it, or $${{{name}}} for that very text"
                );
                report.add(at, message, Some(help));
            }
        },
        DeValue::Array(items) => items.iter_mut().for_each(|item| fill_in(item, environment, report)),
        DeValue::Table(table) => {
            // What `env` has is a name itself, of a secret most likely.
            let others = table.iter_mut().filter(|(key, _)| key.get_ref() != "env");
            others.for_each(|(_, value)| fill_in(value, environment, report));
        }
        _ => {}
    }
}

/// `None` if there is nothing to fill in; the error is a name that the environment does not have.
fn filled_in(text: &str, environment: &Environment<'_>) -> Result<Option<String>, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some(end) = from.find('}') else { break };
        let inner = &from[2..end];
        let (name, otherwise) = match inner.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inner, None),
        };
        let (whole, after) = from.split_at(end + 1);
        if !is_name(name) {
            filled.push_str(before);
            filled.push_str(whole);
        } else if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str(whole);
        } else {
            filled.push_str(before);
            let value = environment(name).or_else(|| otherwise.map(str::to_owned));
            filled.push_str(&value.ok_or_else(|| name.to_owned())?);
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok((filled != text).then_some(filled))
}

fn is_name(name: &str) -> bool {
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
    name.bytes().next().is_some_and(is_capital)
        && name.bytes().all(|byte| is_capital(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_capitals_are_filled_in() {
        let environment = |name: &str| (name == "HOST_1").then(|| "a.test".to_owned());
        let filled = |text: &str| filled_in(text, &environment);
        for (text, expected) in [
            ("${HOST_1}:80", "a.test:80"),
            ("${HOST_1}${HOST_1}", "a.testa.test"),
            ("${PORT:-8080}", "8080"),
            ("${PORT:-}", ""),
            ("$${HOST_1} ${HOST_1}", "${HOST_1} a.test"),
        ] {
            assert_eq!(filled(text), Ok(Some(expected.to_owned())), "{text}");
        }
        for text in ["/new/$1", "${1}", "${id}", "${Host}", "${", "$HOST_1", "^a{2}$", "${HOST_1", "${}"] {
            assert_eq!(filled(text), Ok(None), "{text}");
        }
        assert_eq!(filled("a ${PORT}"), Err("PORT".to_owned()));
    }
}
