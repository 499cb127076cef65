//! Numbers, dates and words as people read them, below everything else: figures in their units, the
//! near match of a misspelled word, a list in quotes, a paragraph in lines. Not on the data path.

use std::borrow::Cow;
use std::fmt::Write;

pub(crate) mod figure;
pub(crate) mod table;
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

/// Whether a character may reach a terminal as it is: no control character but line end and tab, and
/// none that turns the direction of the text around it (Unicode TR 36, section 2.7).
pub(crate) fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || turns)
}

/// `text` with what may not reach a terminal written as JSON escapes it, such as `\u001b`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_printable(c) {
            true => out.push(c),
            false => _ = write!(out, "\\u{:04x}", u32::from(c)),
        }
    }
    out.into()
}

/// A JSON text whose strings hold nothing that may not reach a terminal: an escape of such a character
/// is escaped once more.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    let printed = json.chars().all(|c| is_printable(c) || c == '\r');
    if printed && !json.contains('\\') {
        return json.into();
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let (length, harmless) = match c {
            '\\' => escape(rest),
            c => (c.len_utf8(), is_printable(c) || c == '\r'),
        };
        let (this, after) = rest.split_at(length);
        match harmless {
            true => out.push_str(this),
            false if c == '\\' => _ = write!(out, "\\{this}"),
            false => _ = write!(out, "\\\\u{:04x}", u32::from(c)),
        }
        rest = after;
    }
    out.into()
}

/// Length of the escape that a JSON text begins with, and whether what it stands for is printable.
fn escape(json: &str) -> (usize, bool) {
    let Some(kind) = json[1..].chars().next() else {
        return (1, true);
    };
    if kind == 'u'
        && let Some(code) = json
            .get(2..6)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
    {
        // Half of a surrogate pair is not a character by itself, and no pair is a control character.
        return (6, char::from_u32(code).is_none_or(is_printable));
    }
    (1 + kind.len_utf8(), !matches!(kind, 'b' | 'f'))
}

/// `word` as a POSIX shell takes it for one word that means itself (XCU, section 2.2.2).
pub(crate) fn shell(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

/// Longest run of backticks in `text`.
fn backticks(text: &str) -> usize {
    let runs = text.split(|c| c != '`');
    runs.map(str::len).max().unwrap_or(0)
}

/// `text` as code within a line of Markdown, whatever it holds (CommonMark, section 6.1).
pub(crate) fn code_span(text: &str) -> String {
    // A line end would end a cell or an item.
    let text = text.replace(['\n', '\r'], " ");
    let mark = "`".repeat(backticks(&text) + 1);
    // Next to a mark, a backtick would be a part of it; spaces are stripped again.
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{mark}{space}{text}{space}{mark}")
}

/// `text` as a block of code of Markdown, in a fence that is longer than any in it (section 4.5).
pub(crate) fn code_block(kind: &str, text: &str) -> String {
    let fence = "`".repeat(backticks(text).max(2) + 1);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{kind}\n{text}{end}{fence}\n")
}

/// `text` as a part of a file's name: letters, digits, `.`, `_` and `-`, each other character as `-`.
pub(crate) fn file_name(text: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars()
        .map(|c| if kept(c) { c } else { '-' })
        .collect()
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

    #[test]
    fn what_steers_a_terminal_is_written_as_an_escape() {
        let title = "\x1b]0;owned\x07 a\u{9b}31m \u{202e}gpj.exe\x7f\r\n\tend";
        let printed = printable(title);
        assert!(printed.chars().all(is_printable));
        assert_eq!(
            printed,
            "\\u001b]0;owned\\u0007 a\\u009b31m \\u202egpj.exe\\u007f\\u000d\n\tend"
        );
        assert!(matches!(printable("7 µs × 2 – 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn strings_of_a_json_text_hold_nothing_that_steers_a_terminal() {
        let hostile = "a\x1b[31m \\u001b \u{9b}\u{2066}\x08\x0c\r \"quoted\" \\ é 😀\n\t";
        let json = serde_json::to_string(&[hostile, hostile]).expect("strings");
        // An ASCII encoder escapes everything else too.
        let ascii: String = json
            .chars()
            .flat_map(|c| match c.is_ascii() {
                true => vec![c],
                false => {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    let escaped = units.iter().map(|unit| format!("\\u{unit:04x}"));
                    escaped.collect::<String>().chars().collect()
                }
            })
            .collect();
        for json in [json, ascii] {
            let read: Vec<String> = serde_json::from_str(&printable_json(&json)).expect("JSON");
            for text in read {
                assert!(
                    text.chars().all(|c| is_printable(c) || c == '\r'),
                    "{text:?}"
                );
                assert!(
                    text.starts_with("a\\u001b[31m \\u001b \\u009b\\u2066"),
                    "{text:?}"
                );
                assert!(text.ends_with("\"quoted\" \\ é 😀\n\t"), "{text:?}");
            }
        }
        for cut in ["\\", "\\u", "\\u00", "\"\\u00é\"", "\\é"] {
            printable_json(cut);
        }
    }

    #[test]
    fn a_word_for_a_shell_is_one_word_whatever_it_holds() {
        for (word, quoted) in [
            ("./quick.toml", "./quick.toml"),
            ("", "''"),
            ("a b", "'a b'"),
            ("./$(touch x).toml", "'./$(touch x).toml'"),
            ("it's", r"'it'\''s'"),
            ("`id`;\n\"$HOME\" \\", "'`id`;\n\"$HOME\" \\'"),
        ] {
            assert_eq!(shell(word), quoted);
            let script = format!("printf %s {}", shell(word));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(output.expect("a shell").stdout, word.as_bytes(), "{word}");
        }
    }

    #[test]
    fn code_of_markdown_holds_any_backticks() {
        for (text, span) in [
            ("a", "`a`"),
            ("a`b", "``a`b``"),
            ("`a``", "``` `a`` ```"),
            ("a\n```\nb", "````a ``` b````"),
        ] {
            assert_eq!(code_span(text), span);
        }
        assert_eq!(code_block("", "a"), "```\na\n```\n");
        assert_eq!(code_block("toml", "````\n"), "`````toml\n````\n`````\n");
    }

    #[test]
    fn a_file_is_named_with_characters_that_no_shell_or_folder_minds() {
        assert_eq!(file_name("$(touch x)/../é \u{1b}"), "--touch-x--..-é--");
        assert_eq!(file_name("fanout-10k"), "fanout-10k");
    }
}
