use super::*;
use crate::record::sample;
use crate::report::tests::rounds;
use tempfile::TempDir;

/// A folder with a record in `reference/quick`, and a file beside it.
fn folder(markdown: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("reference/quick");
    std::fs::create_dir_all(&run).expect("writable");
    sample::record().write(&run).expect("writable");
    let path = folder.path().join("README.md");
    std::fs::write(&path, markdown).expect("writable");
    (folder, path)
}

fn wrong(markdown: &str) -> String {
    let (_folder, path) = folder(markdown);
    let error = renew(&path).expect_err(markdown).to_string();
    let shown = path.display().to_string();
    error.replace(&shown, "README.md")
}

#[test]
fn a_table_is_renewed_between_its_markers_and_nothing_else_is_touched() {
    let text =
        "# Title\n\n<!-- pushbench: reference/quick delivery -->\nold\n<!-- /pushbench -->\n\nend";
    let (_folder, path) = folder(text);
    let found = renew(&path).expect("a good file");
    assert_eq!(
        found.stale,
        [Stale {
            line: 3,
            what: "reference/quick delivery".to_owned()
        }]
    );
    assert!(
        found.text.starts_with(
            "# Title\n\n<!-- pushbench: reference/quick delivery -->\n\n| transport |"
        )
    );
    assert!(found.text.ends_with("|\n\n<!-- /pushbench -->\n\nend"));
    assert!(
        found
            .text
            .contains("| tcp tuned | 1,000 | 300 | 3,000 | 0.0840 |")
    );
    assert!(!found.text.contains("old"));
    // Renewed once, it is not stale any more.
    std::fs::write(&path, &found.text).expect("writable");
    let again = renew(&path).expect("a good file");
    assert_eq!((again.stale, again.text), (Vec::new(), found.text));
}

#[test]
fn every_table_can_be_spliced_and_is_stable() {
    let (folder, path) = folder("");
    rounds()
        .write(&folder.path().join("reference/quick"))
        .expect("writable");
    for table in OF_ONE.iter().chain([&TERMINAL]) {
        let text = format!("<!-- pushbench: reference/quick {table} -->\n<!-- /pushbench -->\n");
        std::fs::write(&path, text).expect("writable");
        let found = renew(&path).expect(table);
        assert!(found.text.lines().count() >= 4, "{table}: {}", found.text);
        std::fs::write(&path, &found.text).expect("writable");
        assert_eq!(renew(&path).expect(table).stale, [], "{table}");
    }
    for table in OF_MANY {
        let text = format!("<!-- pushbench: reference {table} -->\n<!-- /pushbench -->\n");
        std::fs::write(&path, text).expect("writable");
        let found = renew(&path).expect(table);
        assert!(found.text.contains("quick"), "{table}: {}", found.text);
        std::fs::write(&path, &found.text).expect("writable");
        assert_eq!(renew(&path).expect(table).stale, [], "{table}");
    }
}

#[test]
fn markers_in_code_are_text() {
    let text = "```\n<!-- pushbench: nowhere summary -->\n```\n\
                <!-- pushbench: reference index -->\n<!-- /pushbench -->\n";
    let (_folder, path) = folder(text);
    let found = renew(&path).expect("a good file");
    assert_eq!(found.stale.len(), 1);
    assert!(found.text.contains("| [quick](reference/quick/run.json) |"));
}

#[test]
fn a_record_that_speaks_of_markers_and_fences_stays_between_its_own() {
    let (folder, path) = folder("");
    let mut record = rounds();
    let hostile = "a\n```\n<!-- /pushbench -->\n<!-- pushbench: /etc/passwd summary -->\n````\nb";
    record.scenario.name = hostile.to_owned();
    record.scenario.summary = hostile.to_owned();
    record.scenario.purpose = hostile.to_owned();
    record.environment.started_utc = hostile.to_owned();
    record.trials[0].validity.raise(
        crate::record::Verdict::Void,
        crate::record::Reason {
            check: hostile.to_owned(),
            measured: None,
            limit: None,
            remedy: hostile.to_owned(),
            message: hostile.to_owned(),
        },
    );
    let run = folder.path().join("reference/quick");
    record.write(&run).expect("writable");
    for table in OF_ONE.iter().chain([&TERMINAL]).chain(&OF_MANY) {
        let source = if OF_MANY.contains(table) {
            "reference"
        } else {
            "reference/quick"
        };
        let text = format!("<!-- pushbench: {source} {table} -->\n<!-- /pushbench -->\n\nend\n");
        std::fs::write(&path, text).expect("writable");
        let found = renew(&path).expect(table);
        std::fs::write(&path, &found.text).expect("writable");
        let again = renew(&path).expect(table);
        assert_eq!(
            (again.stale, again.text),
            (Vec::new(), found.text),
            "{table}"
        );
    }
}

#[test]
fn a_wrong_marker_is_told_with_its_line() {
    for (text, told) in [
        (
            "no marker\n",
            "README.md:1: there is no marker; expected a line '<!-- pushbench: RECORD TABLE -->'",
        ),
        (
            "\n<!-- pushbench: reference/quick summary -->\n",
            "README.md:2: expected '<!-- /pushbench -->' behind this marker",
        ),
        (
            "<!-- /pushbench -->\n",
            "README.md:1: '<!-- /pushbench -->' ends nothing; take it out",
        ),
        (
            "<!-- pushbench: a summary -->\n<!-- pushbench: b summary -->\n<!-- /pushbench -->\n",
            "README.md:1: another marker begins in line 2 before this one ended; expected '<!-- \
             /pushbench -->' first",
        ),
        (
            "<!-- pushbench: reference/quick sumary -->\n<!-- /pushbench -->\n",
            "README.md:1: 'reference/quick sumary' names no record and table; expected a path and \
             one of 'summary', 'measures', 'delivery', 'cost', 'ledger', 'differences', \
             'verdicts', 'environment', 'answer', 'command', 'terminal', 'index', 'claims'",
        ),
    ] {
        assert_eq!(wrong(text), told);
    }
    let missing = wrong("<!-- pushbench: nowhere summary -->\n<!-- /pushbench -->\n");
    assert!(
        missing.starts_with("README.md:1: cannot read the record '"),
        "{missing}"
    );
    assert!(missing.contains("nowhere': no such file"), "{missing}");
}
