//! Patterns of attribute keys, compared from the end. Almost no key matches a pattern, so the key's last three letters
//! are checked first. Pure; the worker thread calls it.

/// Patterns of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    pub(super) all: Vec<Pattern>,
    /// The last three letters of each pattern, which rule out most keys.
    ends: Vec<[u8; END]>,
    /// A bit for each of these letter triples, so that one look-up rules out most keys.
    marks: [u64; 16],
    /// Whether a pattern is too short for this check, so that every key must be compared.
    has_short: bool,
}

impl Patterns {
    pub(super) fn add<P: AsRef<str>>(&mut self, patterns: impl IntoIterator<Item = P>) {
        for pattern in patterns {
            let Some(pattern) = Pattern::of(pattern.as_ref()) else {
                continue;
            };
            match pattern.last_letters().as_bytes().last_chunk::<END>() {
                Some(end) => {
                    self.ends.push(*end);
                    let (word, bit) = mark_of(*end);
                    if let Some(word) = self.marks.get_mut(word) {
                        *word |= bit;
                    }
                }
                None => self.has_short = true,
            }
            self.all.push(pattern);
        }
    }

    pub(super) fn hold_for(&self, key: &str) -> bool {
        if !self.may_hold_for(key) {
            return false;
        }
        let stem = without_index(key);
        self.any_holds_for(key) || (stem.len() < key.len() && self.any_holds_for(stem))
    }

    fn any_holds_for(&self, key: &str) -> bool {
        let words: Vec<&str> = KeyWords(key).collect();
        self.all
            .iter()
            .any(|pattern| pattern.holds_for(key, &words))
    }

    fn may_hold_for(&self, key: &str) -> bool {
        if self.all.is_empty() || self.has_short {
            return !self.all.is_empty();
        }
        match key.as_bytes().last_chunk::<END>() {
            Some(end)
                if end
                    .iter()
                    .all(|byte| !is_separator(*byte) && !byte.is_ascii_digit()) =>
            {
                self.may_end_in(*end)
            }
            _ => [key, without_index(key)].into_iter().any(|key| {
                let mut letters = key.bytes().rev().filter(|byte| !is_separator(*byte));
                match (letters.next(), letters.next(), letters.next()) {
                    (Some(third), Some(second), Some(first)) => {
                        self.may_end_in([first, second, third])
                    }
                    _ => false,
                }
            }),
        }
    }

    fn may_end_in(&self, end: [u8; END]) -> bool {
        let end = end.map(|byte| byte.to_ascii_lowercase());
        let (word, bit) = mark_of(end);
        self.marks.get(word).is_some_and(|word| word & bit != 0) && self.ends.contains(&end)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Matches keys that end in these words. `*` matches any number of words.
    Words(Vec<String>),
    /// Matches keys whose last part ends in these letters, ignoring the separators of words.
    Letters(String),
}

impl Pattern {
    /// Parses a pattern. Returns `None` if it is empty.
    fn of(pattern: &str) -> Option<Self> {
        if let Some(letters) = pattern.strip_prefix('*')
            && !letters.is_empty()
            && letters.bytes().all(|byte| !is_separator(byte))
        {
            return Some(Self::Letters(letters.to_ascii_lowercase()));
        }
        let mut words = Vec::new();
        for (at, part) in pattern.split('*').enumerate() {
            words.extend((at > 0).then(|| "*".to_owned()));
            words.extend(KeyWords(part).map(str::to_ascii_lowercase));
        }
        (!words.is_empty()).then_some(Self::Words(words))
    }

    fn last_letters(&self) -> &str {
        match self {
            Self::Words(words) => words.last().map_or("", String::as_str),
            Self::Letters(letters) => letters,
        }
    }

    /// Returns whether the key, whose words are `words`, ends in the pattern.
    fn holds_for(&self, key: &str, words: &[&str]) -> bool {
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
        match self {
            Self::Words(pattern) => ends(pattern, words),
            Self::Letters(letters) => {
                let part = key.bytes().rev().take_while(|byte| !ends_part(*byte));
                let mut part = part.filter(|byte| !is_separator(*byte));
                letters.bytes().rev().all(|letter| {
                    part.next()
                        .is_some_and(|byte| byte.eq_ignore_ascii_case(&letter))
                })
            }
        }
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
            // A word begins at the `K` of both `apiKey` and `APIKey`.
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

/// Returns the key without the number at its end, as in `password.0`, `tokens[12]` and `token2`.
fn without_index(key: &str) -> &str {
    key.trim_end_matches(|character: char| {
        character.is_ascii_digit() || (character.is_ascii() && is_separator(character as u8))
    })
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_punctuation() || byte.is_ascii_whitespace()
}

/// Returns whether the byte separates the parts of a key, not only its words.
fn ends_part(byte: u8) -> bool {
    is_separator(byte) && !b"_- ".contains(&byte)
}

/// Returns the position of the bit for these letters, among 1024 bits.
fn mark_of([first, second, third]: [u8; END]) -> (usize, u64) {
    let mixed = usize::from(first) * 37 + usize::from(second) * 11 + usize::from(third);
    (mixed / 64 % 16, 1 << (mixed % 64))
}

const END: usize = 3;
