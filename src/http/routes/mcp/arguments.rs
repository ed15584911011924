//! Parses the arguments of a tool: bounded and typed. An error names the allowed values, so that an
//! agent can correct its call. Pure.

use std::ops::RangeInclusive;

use serde_json::{Map as JsonMap, Value as Json};

use crate::http::routes::mcp::tools::Tool;

/// Upper bound on the bytes of one text.
const TEXT_BYTES_MAX: usize = 2048;

/// The arguments of one call.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    all: Option<&'a JsonMap<String, Json>>,
}

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFormat {
    Text,
    Json,
}

impl<'a> Arguments<'a> {
    /// Checks that the tool accepts all of these arguments.
    pub(crate) fn of(tool: Tool, all: Option<&'a Json>) -> Result<Self, String> {
        let all = match all {
            None | Some(Json::Null) => None,
            Some(Json::Object(all)) => Some(all),
            Some(_) => return Err("the arguments are no object".to_owned()),
        };
        let unknown = all.and_then(|all| {
            let mut names = all.keys();
            names.find(|name| !tool.arguments.contains(&name.as_str()))
        });
        match unknown {
            None => Ok(Self { all }),
            Some(name) => Err(format!(
                "{} has no argument {:?}. Its arguments are: {}",
                tool.name,
                cut(name),
                tool.arguments.join(", ")
            )),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        self.all?.get(name).filter(|value| !value.is_null())
    }

    /// Returns a text, or `None` if it is empty or missing.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str();
        let text = text.ok_or_else(|| format!("the argument {name} is not text"))?;
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!(
                "the argument {name} is longer than {TEXT_BYTES_MAX} bytes"
            ));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a str, String> {
        self.text(name)?
            .ok_or_else(|| format!("the argument {name} is missing"))
    }

    /// Returns the argument's value, which must be one of these words. If the argument is missing,
    /// returns the first word.
    pub(crate) fn one_of<'w>(&self, name: &str, words: &[&'w str]) -> Result<&'w str, String> {
        let Some(text) = self.text(name)? else {
            return Ok(words.first().copied().unwrap_or_default());
        };
        let known = words.iter().find(|word| **word == text);
        known.copied().ok_or_else(|| {
            let (given, words) = (cut(text), words.join(", "));
            format!("the argument {name} is {given:?}, not one of {words}")
        })
    }

    pub(crate) fn format(&self) -> Result<AnswerFormat, String> {
        Ok(match self.one_of("format", &["text", "json"])? {
            "json" => AnswerFormat::Json,
            _ => AnswerFormat::Text,
        })
    }

    /// Returns a number. It may be a string, because some agents send numbers as strings.
    pub(crate) fn number(
        &self,
        name: &str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<f64, String> {
        let Some(value) = self.get(name) else {
            return Ok(default.into());
        };
        let text = || value.as_str()?.trim().parse().ok();
        let number: Option<f64> = value.as_f64().or_else(text);
        let (from, to) = (*range.start(), *range.end());
        number
            .filter(|number| (f64::from(from)..=f64::from(to)).contains(number))
            .ok_or_else(|| format!("the argument {name} is not a number from {from} to {to}"))
    }

    /// Returns a list of texts. One text counts as a list of one.
    pub(crate) fn texts(&self, name: &str, max: usize) -> Result<Vec<&'a str>, String> {
        let list = match self.get(name) {
            None => &[],
            Some(Json::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        if list.is_empty() {
            return Err(format!("the argument {name} is missing"));
        }
        if list.len() > max {
            return Err(format!("the argument {name} has more than {max} entries"));
        }
        let texts = list.iter().map(|one| {
            let text = one.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX);
            text.ok_or_else(|| format!("an entry of {name} is not text, or is too long"))
        });
        texts.collect()
    }
}

/// Returns hexadecimal digits in lower case, if there are between 4 and `max` of them.
pub(crate) fn id_digits(name: &str, text: &str, max: usize) -> Result<String, String> {
    let digits = text.to_ascii_lowercase();
    let is_id = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_id && (4..=max).contains(&digits.len()) {
        return Ok(digits);
    }
    let given = cut(text);
    Err(format!(
        "{name} {given:?} is not an id: 4 to {max} hexadecimal digits"
    ))
}

/// Returns the beginning of a text, for an error message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
