//! Parses queries (`a=b&c=d`) and path segments, both percent-encoded (RFC 3986, section 2.1). Every route must use
//! this parser, so that no two routes decode an address differently. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The error of a text that is not percent-encoded UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// The value of a parameter. The caller decides what an invalid value means for its parameter.
pub(crate) type QueryValue<'a> = Result<Cow<'a, str>, NotUtf8>;

/// Returns the parameters of a query in their order. A `+` is a space, as in HTML forms. A parameter whose key is not
/// UTF-8 is left out, because no route has a parameter of such a name.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, QueryValue<'_>)> {
    query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((parameter(key).ok()?, parameter(value)))
    })
}

/// Returns the first non-empty value of a parameter.
pub(crate) fn first<'a>(query: &'a str, name: &str) -> Option<QueryValue<'a>> {
    let is_empty = |value: &QueryValue<'_>| value.as_ref().is_ok_and(|value| value.is_empty());
    pairs(query)
        .find(|(key, value)| key == name && !is_empty(value))
        .map(|(_, value)| value)
}

/// Decodes a percent-encoded path segment.
pub(crate) fn segment(text: &str) -> QueryValue<'_> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_error| NotUtf8)
}

fn parameter(text: &str) -> QueryValue<'_> {
    if !text.contains('+') {
        return segment(text);
    }
    let spaced = text.replace('+', " ");
    let decoded = segment(&spaced)?;
    Ok(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_however_it_is_encoded() {
        for (query, expected) in [
            ("", None),
            ("id", None),
            ("id=", None),
            ("id=&id=a", Some(Ok("a"))),
            ("x=1&id=a&id=b", Some(Ok("a"))),
            ("id=a-1", Some(Ok("a-1"))),
            ("id=a%2D1", Some(Ok("a-1"))),
            ("id=a%2d1", Some(Ok("a-1"))),
            ("%69d=a", Some(Ok("a"))),
            ("id=a=b", Some(Ok("a=b"))),
            ("id=a+b%2Bc", Some(Ok("a b+c"))),
            ("id=k%C3%A4se", Some(Ok("käse"))),
            ("id=%00", Some(Ok("\0"))),
            ("id=%", Some(Ok("%"))),
            ("id=%4", Some(Ok("%4"))),
            ("id=%zz", Some(Ok("%zz"))),
            ("id=%FF", Some(Err(NotUtf8))),
            ("%FF=1&id=2", Some(Ok("2"))),
        ] {
            let read = first(query, "id");
            let read = read
                .as_ref()
                .map(|value| value.as_deref().map_err(|error| *error));
            assert_eq!(read, expected, "{query}");
        }
    }

    #[test]
    fn a_segment_of_a_path_keeps_its_plus() {
        assert_eq!(segment("a+b%20c%2Fd").as_deref(), Ok("a+b c/d"));
        assert_eq!(segment("%ff"), Err(NotUtf8));
    }
}
