//! Small helps for messages: the near match of a misspelled word, a list in quotes. Not on the data
//! path; nothing is measured here.

pub(crate) mod figure;
pub mod utc;

/// Why an operation on a file failed.
pub(crate) use pushbench_os::sys::reason as io_reason;

/// The candidate that `word` is most likely a misspelling of; `None` where none is near.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters may differ, and always one: 'qick' is quick, 'x' is nothing.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| {
            distance <= allowed || word.len() >= 3 && candidate.starts_with(word)
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean 'quick'?`, or nothing where no candidate is near.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, candidates) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => String::new(),
    }
}

/// `'a', 'b', 'c'`.
pub(crate) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words
        .into_iter()
        .map(|word| format!("'{word}'"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        let words = ["quick", "dashboard", "fanout-10k"];
        assert_eq!(nearest("qiuck", words), Some("quick"));
        assert_eq!(nearest("fanout", words), Some("fanout-10k"));
        assert_eq!(nearest("chat", words), None);
        assert_eq!(nearest("", words), None);
    }
}
