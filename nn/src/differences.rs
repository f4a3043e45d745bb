//! How the names and shapes of a file differ from those of a model, and why they may.

use crate::text::{count, shown, shown_shape};
use std::collections::HashSet;

/// Differences that a message names.
const MOST_SHOWN: usize = 5;

/// Names with their shapes; names of the file are as they are there, not fit to be shown.
#[derive(Default)]
pub(crate) struct Differences {
    /// In the model, not in the file; the reason, if the file has it but it was not read.
    pub(crate) missing: Vec<(String, Vec<usize>, Option<String>)>,
    /// In the file, not in the model.
    pub(crate) unexpected: Vec<(String, Vec<usize>)>,
    /// In both, with the shapes in the file and in the model.
    pub(crate) misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// In both, with a content that is not accepted: sentences.
    pub(crate) refused: Vec<String>,
    /// Names in both.
    pub(crate) common: usize,
    /// The last parameter of the model.
    pub(crate) last: Option<String>,
}

impl Differences {
    /// One line with the number of differences, the first five, and a likely cause; `None` if there are none.
    pub(crate) fn describe(&self) -> Option<String> {
        let texts = [self.missing(), self.unexpected(), self.misshaped(), self.refused.clone()];
        let total: usize = texts.iter().map(Vec::len).sum();
        if total == 0 {
            return None;
        }
        let shown = allot(texts.each_ref().map(Vec::len));
        let labels = ["missing", "unexpected", "mis-shaped", "refused"];
        let part = |(i, texts): (usize, &Vec<String>)| {
            let (head, rest) = texts.split_at(shown[i]);
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            (!head.is_empty()).then(|| format!("{}: {}{more}", labels[i], head.join(", ")))
        };
        let parts: Vec<String> = texts.iter().enumerate().filter_map(part).collect();
        let cause = self.cause().map_or(String::new(), |cause| format!("; {cause}"));
        Some(format!("{}: {}{cause}", count(total, "difference"), parts.join("; ")))
    }

    fn missing(&self) -> Vec<String> {
        let text = |(name, shape, why): &(String, Vec<usize>, Option<String>)| match why {
            Some(why) => format!("{name} {} ({why})", shown_shape(shape)),
            None => format!("{name} {}", shown_shape(shape)),
        };
        self.missing.iter().map(text).collect()
    }

    fn unexpected(&self) -> Vec<String> {
        self.unexpected.iter().map(|(name, shape)| format!("{} {}", shown(name), shown_shape(shape))).collect()
    }

    fn misshaped(&self) -> Vec<String> {
        let text = |(name, file, model): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name} ({} in the file, {} in the model)", shown_shape(file), shown_shape(model))
        };
        self.misshaped.iter().map(text).collect()
    }

    fn cause(&self) -> Option<String> {
        let missing: Vec<&str> = self.missing.iter().map(|(name, ..)| name.as_str()).collect();
        let unexpected: Vec<&str> = self.unexpected.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(prefix) = prefix(&missing, &unexpected) {
            let prefix = shown(prefix);
            return Some(format!(
                "the file's names begin with {prefix}, which StateDict::strip_prefix or StateDict::subset removes"
            ));
        }
        if let Some(prefix) = prefix(&unexpected, &missing) {
            let prefix = shown(prefix);
            return Some(format!("the model's names begin with {prefix}, which StateDict::add_prefix adds"));
        }
        if missing.is_empty() && unexpected.is_empty() {
            return self.classes().or_else(|| self.transposed());
        }
        (self.common == 0).then(|| match self.unexpected.is_empty() {
            true => "the file has none of the model's names".into(),
            false => "file and model have no name in common".into(),
        })
    }

    /// Another number of classes: only the rows of the last layer differ.
    fn classes(&self) -> Option<String> {
        let (last, ..) = self.misshaped.iter().find(|(name, ..)| Some(name) == self.last.as_ref())?;
        let layer = last.rsplit_once('.').map_or("", |(layer, _)| layer);
        let rows = |(name, file, model): &(String, Vec<usize>, Vec<usize>)| {
            let same_layer = name.rsplit_once('.').map_or("", |(layer, _)| layer) == layer;
            match (&file[..], &model[..]) {
                ([file, a @ ..], [model, b @ ..]) if same_layer && a == b => Some((*file, *model)),
                _ => None,
            }
        };
        let (file, model) = rows(self.misshaped.first()?)?;
        self.misshaped.iter().all(|entry| rows(entry) == Some((file, model))).then(|| {
            format!(
                "only the rows of the last layer differ: the file has {file} classes, the model {model}; remove the \
                 layer's names from the StateDict and load the rest with Strict::No"
            )
        })
    }

    fn transposed(&self) -> Option<String> {
        let transposed = |(_, file, model): &(String, Vec<usize>, Vec<usize>)| match (&file[..], &model[..]) {
            ([a, b], [c, d]) => a == d && b == c,
            _ => false,
        };
        let all = !self.misshaped.is_empty() && self.misshaped.iter().all(transposed);
        all.then(|| "the file has it transposed: the weight of a Linear is [outputs, inputs]".into())
    }
}

/// How many of each list to show: in turn one of each, up to the limit.
fn allot(lengths: [usize; 4]) -> [usize; 4] {
    let mut shown = [0; 4];
    for _ in 0..MOST_SHOWN {
        for i in 0..4 {
            if shown[i] < lengths[i] && shown.iter().sum::<usize>() < MOST_SHOWN {
                shown[i] += 1;
            }
        }
    }
    shown
}

/// A prefix that ends with a dot and, before at least half of the short names, gives a long one.
fn prefix<'n>(short: &[&str], long: &[&'n str]) -> Option<&'n str> {
    let all: HashSet<&str> = long.iter().copied().collect();
    let before = |long: &'n str, short: &str| long.strip_suffix(short).filter(|prefix| prefix.ends_with('.'));
    let candidates = short.iter().take(3).flat_map(|&short| long.iter().filter_map(move |&long| before(long, short)));
    let fits = |prefix: &str| short.iter().filter(|&&short| all.contains(&*format!("{prefix}{short}"))).count();
    candidates.take(8).find(|prefix| 2 * fits(prefix) >= short.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(names: &[&str]) -> Vec<(String, Vec<usize>, Option<String>)> {
        names.iter().map(|name| (name.to_string(), vec![2], None)).collect()
    }

    fn unexpected(names: &[&str]) -> Vec<(String, Vec<usize>)> {
        names.iter().map(|name| (name.to_string(), vec![2])).collect()
    }

    fn misshaped(name: &str, file: &[usize], model: &[usize]) -> (String, Vec<usize>, Vec<usize>) {
        (name.to_string(), file.to_vec(), model.to_vec())
    }

    #[test]
    fn no_difference_is_no_text() {
        assert_eq!(Differences { common: 3, ..Default::default() }.describe(), None);
    }

    #[test]
    fn five_differences_of_all_kinds_are_shown_and_all_counted() {
        let names: Vec<String> = (0..100_000).map(|i| format!("layers.{i}.weight")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let differences = Differences {
            missing: missing(&names),
            unexpected: unexpected(&["a\u{1b}"]),
            misshaped: vec![misshaped("b", &[1; 50], &[])],
            common: 1,
            ..Default::default()
        };
        let text = differences.describe().unwrap();
        let expected = "100002 differences: missing: layers.0.weight [2], layers.1.weight [2], layers.2.weight [2] and \
                        99997 more; unexpected: \"a\\u{1b}\" [2]; mis-shaped: b ([1, 1, 1, 1, 1, 1, 1, 1, ..] of 50 \
                        dimensions in the file, [] in the model)";
        assert_eq!(text, expected);
        let why = vec![("w".to_string(), vec![3], Some("no float8".to_string()))];
        let text = Differences { missing: why, common: 1, ..Default::default() }.describe().unwrap();
        assert_eq!(text, "1 difference: missing: w [3] (no float8)");
    }

    #[test]
    fn likely_causes_are_named() {
        let cause = |differences: Differences| {
            let text = differences.describe().unwrap();
            text.rsplit("; ").next().unwrap().to_string()
        };
        let (plain, parallel) = (["fc.weight", "fc.bias"], ["module.fc.weight", "module.fc.bias"]);
        let differences = || Differences::default();
        let text = cause(Differences { missing: missing(&plain), unexpected: unexpected(&parallel), ..differences() });
        assert_eq!(
            text,
            "the file's names begin with module., which StateDict::strip_prefix or StateDict::subset removes"
        );
        let text = cause(Differences { missing: missing(&parallel), unexpected: unexpected(&plain), ..differences() });
        assert_eq!(text, "the model's names begin with module., which StateDict::add_prefix adds");
        // A checkpoint with other entries, and one new layer in the model.
        let text = cause(Differences {
            missing: missing(&["head.weight", "fc.weight", "fc.bias"]),
            unexpected: unexpected(&["epoch", "model.fc.weight", "model.fc.bias", "ema.fc.weight"]),
            ..differences()
        });
        assert!(text.starts_with("the file's names begin with model., "), "{text}");
        // `xfc.weight` ends with the name, but there is no dot before it.
        let text =
            cause(Differences { missing: missing(&plain), unexpected: unexpected(&["xfc.weight"]), ..differences() });
        assert_eq!(text, "file and model have no name in common");
        let rows = vec![misshaped("head.weight", &[1000, 8], &[10, 8]), misshaped("head.bias", &[1000], &[10])];
        let last = || Some("head.bias".to_string());
        let text = cause(Differences { misshaped: rows.clone(), common: 9, last: last(), ..differences() });
        assert!(text.contains("StateDict and load the rest"), "{text}");
        let all = Differences { misshaped: rows.clone(), common: 9, last: last(), ..differences() }.describe().unwrap();
        assert!(all.contains("the file has 1000 classes, the model 10"), "{all}");
        for (misshaped, last) in [
            (vec![misshaped("head.weight", &[1000, 8], &[10, 9]), rows[1].clone()], last()),
            (rows.clone(), Some("other.bias".to_string())),
            (vec![misshaped("conv.weight", &[1000, 8], &[10, 8]), rows[1].clone()], last()),
        ] {
            let text = Differences { misshaped, common: 9, last, ..differences() }.describe().unwrap();
            assert!(!text.contains("classes"), "{text}");
        }
        let text = cause(Differences {
            misshaped: vec![misshaped("fc.weight", &[2, 3], &[3, 2])],
            common: 2,
            ..differences()
        });
        assert_eq!(text, "the file has it transposed: the weight of a Linear is [outputs, inputs]");
    }
}
