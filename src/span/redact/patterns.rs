//! Patterns of attribute keys, compared word by word from the end. Nearly every key matches none, so the key's last
//! three letters are checked first. Pure; the worker thread calls it.

/// Patterns of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    pub(super) all: Vec<Pattern>,
    /// The last letters of their last words: they rule most keys out.
    pub(super) ends: Vec<[u8; END]>,
    /// A bit for each of these, so that one look-up rules most keys out.
    pub(super) marks: [u64; 16],
    /// Whether a pattern has no such letters, so that every key must be compared.
    pub(super) has_short: bool,
}

impl Patterns {
    pub(super) fn add<P: AsRef<str>>(&mut self, patterns: impl IntoIterator<Item = P>) {
        for pattern in patterns {
            let mut words = Vec::new();
            for (at, part) in pattern.as_ref().split('*').enumerate() {
                words.extend((at > 0).then(|| "*".to_owned()));
                words.extend(KeyWords(part).map(str::to_ascii_lowercase));
            }
            let Some(last) = words.last() else { continue };
            match last.as_bytes().last_chunk::<END>() {
                Some(end) => {
                    self.ends.push(*end);
                    let (word, bit) = mark_of(*end);
                    if let Some(word) = self.marks.get_mut(word) {
                        *word |= bit;
                    }
                }
                None => self.has_short = true,
            }
            self.all.push(Pattern(words));
        }
    }

    pub(super) fn hold_for(&self, key: &str) -> bool {
        if !self.may_hold_for(key) {
            return false;
        }
        let words: Vec<&str> = KeyWords(key).collect();
        self.all.iter().any(|pattern| pattern.holds_for(&words))
    }

    pub(super) fn may_hold_for(&self, key: &str) -> bool {
        match key.as_bytes().last_chunk::<END>() {
            Some(end) if !self.has_short && !end.iter().any(|byte| is_separator(*byte)) => {
                let end = end.map(|byte| byte.to_ascii_lowercase());
                let (word, bit) = mark_of(end);
                self.marks.get(word).is_some_and(|word| word & bit != 0) && self.ends.contains(&end)
            }
            _ => !self.all.is_empty(),
        }
    }
}

/// The words of a pattern; `*` matches any number of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    /// Returns whether the key ends in the pattern.
    fn holds_for(&self, words: &[&str]) -> bool {
        fn ends(pattern: &[String], words: &[&str]) -> bool {
            match pattern.split_last() {
                None => true,
                Some((star, rest)) if star == "*" => {
                    (0..=words.len()).any(|end| ends(rest, words.get(..end).unwrap_or_default()))
                }
                Some((word, rest)) => words.split_last().is_some_and(|(last, before)| {
                    last.eq_ignore_ascii_case(word) && ends(rest, before)
                }),
            }
        }
        ends(&self.0, words)
    }
}

/// The words of a key.
pub(super) struct KeyWords<'a>(pub(super) &'a str);

impl<'a> Iterator for KeyWords<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches(|character: char| {
            character.is_ascii() && is_separator(character as u8)
        });
        let bytes = text.as_bytes();
        bytes.first()?;
        let begins_word = |at: usize| {
            let [before, here] =
                [bytes.get(at - 1), bytes.get(at)].map(|byte| byte.copied().unwrap_or(0));
            let next = bytes.get(at + 1).copied().unwrap_or(0);
            // `apiKey`, and `APIKey`.
            is_separator(here)
                || (here.is_ascii_uppercase()
                    && (before.is_ascii_lowercase()
                        || before.is_ascii_digit()
                        || (before.is_ascii_uppercase() && next.is_ascii_lowercase())))
        };
        let end = (1..bytes.len()).find(|at| begins_word(*at));
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_punctuation() || byte.is_ascii_whitespace()
}

/// Returns which of 1024 bits belongs to these letters.
fn mark_of([first, second, third]: [u8; END]) -> (usize, u64) {
    let mixed = usize::from(first) * 37 + usize::from(second) * 11 + usize::from(third);
    (mixed / 64 % 16, 1 << (mixed % 64))
}

const END: usize = 3;
