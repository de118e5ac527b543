//! Parameters in the query of a target, as forms write them (WHATWG URL, `application/x-www-form-urlencoded`).

use std::borrow::Cow;

/// The values of all parameters of this name, in order and decoded: `+` is a space, bytes that are not UTF-8 become
/// U+FFFD. A parameter without `=` has an empty value.
pub fn params<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.filter(move |(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_like_those_of_forms() {
        let query = Some("a=1&b=x+y%2Fz&a=&c&%61=%ff&d=1=2");
        let all = |name: &str| params(query, name).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(all("a"), ["1", "", "\u{fffd}"]);
        assert_eq!(all("b"), ["x y/z"]);
        assert_eq!((all("c"), all("d"), all("e")), (vec![String::new()], vec!["1=2".to_owned()], vec![]));
        assert_eq!(params(None, "a").count(), 0);
    }
}
