//! The tables of `servers/README.md` are those that the tests ask for.

use crate::{http, patience};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// A cell of Markdown: what is sent, as it is.
fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        _ => format!("`{}`", text.replace('|', "\\|")),
    }
}

fn requests() -> String {
    let mut out = String::new();
    for section in http::sections() {
        out += &format!("\n### {}\n\n", section.title.replace('\'', "`"));
        out += "| of | request | fields | body | status | fields of the answer | connection |\n";
        out += "|---|---|---|---|---|---|---|\n";
        for row in section.rows {
            out += &format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                row.of,
                code(row.request),
                code(row.fields),
                code(row.body),
                row.status,
                code(row.answer),
                row.connection,
            );
        }
    }
    out += "\n`{text*N}` is that text N times, and\n\n";
    for (word, stands_for) in http::WORDS {
        out += &format!("- `{{{word}}}` is `{stands_for}`\n");
    }
    out
}

fn late() -> String {
    let mut out =
        "\n| over | a client that | gets, before the connection ends |\n|---|---|---|\n".to_owned();
    for (over, rows) in [("HTTP", patience::REQUESTS), ("raw TCP", patience::LINES)] {
        for late in rows {
            let answer = late.answer.replace("\r\n", " ").replace('\n', "`, `");
            let answer = match answer.trim() {
                "" => "nothing".to_owned(),
                answer => format!("`{answer}`"),
            };
            out += &format!("| {over} | {} | {answer} |\n", late.what);
        }
    }
    out
}

/// Puts a table between its two marks.
fn splice(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the first mark");
    let (_, after) = rest.split_once(&end).expect("the second mark");
    format!("{before}{begin}{table}\n{end}{after}")
}

#[test]
fn the_page_says_what_the_servers_answer() {
    let page = std::fs::read_to_string(PAGE).expect("servers/README.md");
    let right = splice(&page, "requests", &requests());
    let right = splice(&right, "late", &late());
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(PAGE, right).expect("servers/README.md can be written");
    } else {
        assert!(
            page == right,
            "servers/README.md differs from what the tests ask for; renew it with\nRENEW=1 cargo test -p \
             pushbench-servers --test integration -- readme::"
        );
    }
}
