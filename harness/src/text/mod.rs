//! Numbers, dates and words as people read them, below everything else: figures in their units, the
//! near match of a misspelled word, a list in quotes, a paragraph in lines. Not on the data path.

use std::fmt::Write;

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

/// Text that means itself in a table cell, a list or a paragraph of Markdown.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A line end would end the cell.
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// `text` with a capital first letter.
pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

/// `text` with lines broken at spaces, each after `indent`.
pub(crate) fn paragraph(out: &mut String, width: u16, indent: &str, text: &str) {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        let begun = line.len() > indent.len();
        let length = line.chars().count() + usize::from(begun) + word.chars().count();
        if begun && length > usize::from(width) {
            let _ = writeln!(out, "{line}");
            indent.clone_into(&mut line);
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
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
