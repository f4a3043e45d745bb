//! Word ids.

use std::collections::HashMap;

/// A mapping between words and ids: 0 is padding, 1 is every unknown word, and the words have the ids from 2 on.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::{Vocabulary, tokenize};
///
/// let vocabulary = Vocabulary::new(tokenize("a film about a film"));
/// assert_eq!((vocabulary.len(), vocabulary.words()), (5, &["a", "film", "about"].map(String::from)[..]));
/// assert_eq!(vocabulary.encode(&tokenize("A good film!")), [2, 1, 3, 1]);
/// assert_eq!((vocabulary.id("film"), vocabulary.word(3)), (Some(3), Some("film")));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, i32>,
}

impl Vocabulary {
    /// The id that pads sentences to the length of their batch.
    pub const PADDING: i32 = 0;
    /// The id of every word that is not in the vocabulary.
    pub const UNKNOWN: i32 = 1;
    /// The id of the first word.
    const FIRST: i32 = 2;

    /// The distinct words, in the order of their first occurrence.
    ///
    /// # Panics
    /// If there are more than 2^31 - 3 distinct words, more than there are ids.
    #[track_caller]
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut vocabulary = Vocabulary::default();
        for word in words {
            vocabulary.insert(word.into());
        }
        vocabulary
    }

    /// Adds a word; returns whether it is new.
    #[track_caller]
    pub(super) fn insert(&mut self, word: String) -> bool {
        if self.ids.contains_key(&word) {
            return false;
        }
        assert!(self.len() < i32::MAX as usize, "Vocabulary: more words than ids");
        self.ids.insert(word.clone(), self.len() as i32);
        self.words.push(word);
        true
    }

    /// The number of ids, two more than there are words: the number of rows of an embedding.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.words.len() + Self::FIRST as usize
    }

    /// The words; `words()[i]` has the id `i + 2`.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The word of an id; `None` for padding, unknown and unused ids.
    pub fn word(&self, id: i32) -> Option<&str> {
        let index = usize::try_from(id.checked_sub(Self::FIRST)?).ok()?;
        self.words.get(index).map(String::as_str)
    }

    /// The id of a word; `None` if it is not in the vocabulary.
    pub fn id(&self, word: &str) -> Option<i32> {
        self.ids.get(word).copied()
    }

    /// The ids of words, [`UNKNOWN`](Vocabulary::UNKNOWN) for those that are not in the vocabulary.
    pub fn encode(&self, tokens: &[String]) -> Vec<i32> {
        tokens.iter().map(|token| self.id(token).unwrap_or(Self::UNKNOWN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_first_occurrence() {
        let vocabulary = Vocabulary::new(["b", "a", "b", ""]);
        assert_eq!((vocabulary.words(), vocabulary.len()), (&["b", "a", ""].map(String::from)[..], 5));
        for (i, word) in vocabulary.words().iter().enumerate() {
            assert_eq!(vocabulary.id(word), Some(i as i32 + 2));
            assert_eq!(vocabulary.word(i as i32 + 2), Some(word.as_str()));
        }
        for id in [Vocabulary::PADDING, Vocabulary::UNKNOWN, 5, -1, i32::MIN, i32::MAX] {
            assert_eq!(vocabulary.word(id), None, "{id}");
        }
        assert_eq!(vocabulary.encode(&["a", "c", "b"].map(String::from)), [3, Vocabulary::UNKNOWN, 2]);
        let empty = Vocabulary::new([""; 0]);
        assert_eq!((empty.len(), empty.encode(&["a".into()])), (2, vec![1]));
        assert!(empty.encode(&[]).is_empty());
    }
}
