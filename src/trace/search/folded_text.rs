//! Text folded for comparison: without differences of case, of Unicode composition, or of the kind of white space.
//! The dashboard folds text in the same way (`dashboard/assets/model/search.mjs`); both are tested against
//! `tests/search.json`. Pure; it runs on the task of a request.

use memchr::memchr2_iter;
use unicode_normalization::UnicodeNormalization as _;

/// The folded text of a search term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoldedText(String);

impl FoldedText {
    pub(crate) fn of(text: &str) -> Self {
        Self(fold(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the text contains this one after folding. ASCII is compared in place.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        if !text.is_ascii() {
            return fold(text).contains(&self.0);
        }
        let wanted = self.0.as_bytes();
        let Some(first) = wanted.first() else {
            return true;
        };
        let starts_at = |at: usize| {
            let there = text.as_bytes().get(at..at + wanted.len());
            there.is_some_and(|there| {
                there
                    .iter()
                    .zip(wanted)
                    .all(|(byte, wanted)| fold_ascii(*byte) == *wanted)
            })
        };
        if *first == b' ' {
            return (0..text.len()).any(starts_at);
        }
        memchr2_iter(*first, first.to_ascii_uppercase(), text.as_bytes()).any(starts_at)
    }
}

/// Folds a text: NFD, then the full mappings to lower case, to upper case and to lower case again, then NFC. White space becomes spaces.
/// The result distinguishes the same letters as Unicode's case folding, except that `ı` becomes `i`.
/// JavaScript has these mappings but no case folding.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text
            .bytes()
            .map(|byte| char::from(fold_ascii(byte)))
            .collect();
    }
    text.nfd()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .map(|character| {
            if character.is_whitespace() {
                ' '
            } else {
                character
            }
        })
        .nfc()
        .collect()
}

fn fold_ascii(byte: u8) -> u8 {
    match byte {
        b'\t'..=b'\r' => b' ',
        byte => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn texts_fold_as_the_shared_examples_say() {
        let shared: Json =
            serde_json::from_str(include_str!("../../../tests/search.json")).unwrap();
        for example in shared["folds"].as_array().unwrap() {
            let [text, folded] = ["text", "folded"].map(|key| example[key].as_str().unwrap());
            assert_eq!(fold(text), folded, "{example}");
        }
    }

    #[test]
    fn an_iota_below_a_letter_folds_to_one_spelling() {
        let text = "\u{1f80}\u{1e026}";
        let decomposed: String = text.nfd().collect();
        for other in [
            decomposed.to_uppercase(),
            decomposed.to_lowercase(),
            decomposed,
        ] {
            assert_eq!(fold(&other), fold(text));
        }
    }

    proptest! {
        #[test]
        fn a_text_contains_another_if_its_folded_form_does(text in "[\\PC\\s]{0,12}", part in "[a-zA-Z \\t\\né]{0,3}") {
            let wanted = FoldedText::of(&part);
            prop_assert_eq!(wanted.is_in(&text), fold(&text).contains(wanted.as_str()));
        }

        #[test]
        fn folding_is_stable_and_blind_to_case_and_spelling(text in "\\PC{0,12}") {
            let folded = fold(&text);
            prop_assert_eq!(&fold(&folded), &folded);
            // The text is decomposed first (Unicode, section 3.13, D145). The upper case of an iota
            // subscript is a separate letter, and any mark after it would then attach to that letter.
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(&fold(&decomposed), &folded);
            prop_assert_eq!(&fold(&decomposed.to_uppercase()), &folded);
            prop_assert_eq!(&fold(&decomposed.to_lowercase()), &folded);
            prop_assert!(FoldedText::of(&text).is_in(&text));
        }
    }
}
