//! `pushbench report` from outside: formats, files, splicing, and what it says of bad input, after
//! which everything is as it was.

use std::path::PathBuf;
use std::process::{Command, Output};

use pushbench::record::Record;

use crate::support::{Runs, TINY, answer, complaint, only, output, pushbench, read, text};

struct Bench {
    runs: Runs,
    run: PathBuf,
}

impl Bench {
    /// One run of two transports, where it lies by default.
    fn new() -> Self {
        let runs = Runs::of(TINY);
        let output = output(&mut runs.command("run tiny.toml --transports sse,websocket --quiet"));
        let status = output.status.code();
        assert!(matches!(status, Some(0 | 1)), "{status:?}");
        let run = only(&runs.folder().join("results/local")).expect("a run");
        Self { runs, run }
    }

    fn command(&self, line: &str) -> Command {
        self.runs.command(&format!("report {line}"))
    }

    fn report(&self, line: &str) -> Output {
        output(&mut self.command(line))
    }

    fn good(&self, line: &str) -> String {
        answer(&mut self.command(line))
    }

    /// The one line of complaint, with the folder's name taken out.
    fn bad(&self, line: &str) -> String {
        let folder = format!("{}/", self.runs.folder().display());
        complaint(&mut self.command(line)).replace(&folder, "")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.runs.folder().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }
}

#[test]
fn a_run_is_drawn_in_every_format_by_folder_by_file_and_by_default() {
    let bench = Bench::new();
    let json = read(&bench.run.join("run.json"));
    let folder = bench.run.display().to_string();
    let file = format!("{folder}/run.json");
    for run in [&*folder, &file, ""] {
        assert_eq!(bench.good(&format!("{run} --format json")), json);
    }
    let page = read(&bench.run.join("report.html"));
    assert_eq!(bench.good("--format html"), page, "as the run wrote it");
    assert!(page.contains("<h1>tiny "));
    assert!(bench.good("").starts_with("tiny: 40 clients, 4 channels,"));
    assert!(
        bench
            .good("--format md")
            .starts_with("# tiny\n\n40 clients on 4 channels, for tests\n")
    );
    let csv = bench.good("--format csv");
    assert_eq!(csv.lines().count(), 3, "a head and two trials");
    let hgrm = bench.good("--format hgrm");
    assert_eq!(
        hgrm.matches("Total count    =          800]").count(),
        2,
        "{hgrm}"
    );

    // What a file's name says is its format.
    bench.good("--out a.csv");
    assert_eq!(read(&bench.runs.folder().join("a.csv")), csv);
    bench.good("--format hgrm --out curves");
    for name in ["sse-tuned.hgrm", "sse-tuned-1.hgrm", "websocket-tuned.hgrm"] {
        let curve = read(&bench.runs.folder().join("curves").join(name));
        assert!(curve.starts_with("       Value     Percentile"), "{curve}");
    }
}

#[test]
fn a_page_without_its_logs_says_that_it_is_drawn_from_the_record_alone() {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.run.join("latency")).expect("there");
    let page = bench.good("--format html");
    assert!(
        page.contains("Drawn from the record&#39;s quantiles alone")
            || page.contains("Drawn from the record's quantiles alone")
    );
    let told = bench.bad("--format hgrm");
    assert!(
        told.contains("latency/sse-tuned-1.hlog': no such file or directory"),
        "{told}"
    );
}

#[test]
fn a_bad_record_is_told_with_file_and_field_and_nothing_is_overwritten() {
    let bench = Bench::new();
    let json = read(&bench.run.join("run.json"));
    bench.write("kept.html", "kept");
    let cut = &json[..json.len() / 2];
    for (text, told) in [
        (cut.to_owned(), "'bad.json' is cut off in line "),
        (
            json.replace("\"schema_version\": 2", "\"schema_version\": 9"),
            "'bad.json': 'schema_version' is 9, but this pushbench reads versions 1 to 2; a newer pushbench wrote it",
        ),
        (
            json.replace("\"schema_version\": 2", "\"schema_version\": 0"),
            "'bad.json': 'schema_version' is 0, but this pushbench reads versions 1 to 2; no pushbench wrote that version",
        ),
        (
            json.replacen("\"expected\": 800", "\"expected\": \"all\"", 1),
            "'bad.json' holds no record of pushbench: in 'trials[0].deliveries.expected', invalid type",
        ),
        (
            json.replacen("\"received\": 800,", "", 1),
            "'bad.json' holds no record of pushbench: in 'trials[0].deliveries', missing field `received`",
        ),
        ("[]".to_owned(), "'bad.json' holds no record of pushbench: "),
    ] {
        assert_ne!(text, json);
        bench.write("bad.json", &text);
        let found = bench.bad("bad.json --out kept.html");
        assert!(found.starts_with(told), "{told}\n{found}");
    }
    let found = bench.bad("nowhere --out kept.html");
    assert!(
        found.starts_with("cannot read the record 'nowhere': no such file"),
        "{found}"
    );
    let found = bench.bad("--out kept");
    assert!(
        found.starts_with("'--out' is 'kept', whose name does not show the format"),
        "{found}"
    );
    let found = bench.bad("--format html --out no/such/folder.html");
    assert!(
        found.starts_with("cannot write 'no/such/folder.html': no such file"),
        "{found}"
    );
    let record = bench.run.join("run.json").display().to_string();
    let found = bench.bad(&format!("--format json --out {record}"));
    assert!(
        found.ends_with("which is the record itself; choose another file"),
        "{found}"
    );
    assert_eq!(read(&bench.run.join("run.json")), json);
    assert_eq!(read(&bench.runs.folder().join("kept.html")), "kept");
    let left = std::fs::read_dir(bench.runs.folder())
        .expect("readable")
        .flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".tmp")),
        "{left:?}"
    );

    let empty = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(
        complaint(pushbench("report").current_dir(empty.path())),
        "no run in 'results/local': name the folder of one, or make one with \
         'pushbench run'"
    );
}

#[test]
fn text_of_a_scenario_is_text_on_the_page() {
    let bench = Bench::new();
    let mut record = Record::read(&bench.run).expect("a record");
    record.scenario.name = "<script>alert(1)</script>".to_owned();
    record.scenario.purpose = "<script>alert(2)</script>".to_owned();
    let other = bench.runs.folder().join("other");
    std::fs::create_dir(&other).expect("writable");
    record.write(&other).expect("writable");
    let page = bench.good("other --format html");
    assert!(!page.contains("<script>alert"));
    assert!(page.contains("&lt;script&gt;alert(2)&lt;/script&gt;"));
}

#[test]
fn tables_are_spliced_checked_and_left_alone_where_anything_is_wrong() {
    let bench = Bench::new();
    let run = bench
        .run
        .strip_prefix(bench.runs.folder())
        .expect("below")
        .display();
    let good = bench.write(
        "good.md",
        &format!("# A\n\n<!-- pushbench: {run} summary -->\n<!-- /pushbench -->\n"),
    );
    let bad = bench.write(
        "bad.md",
        "<!-- pushbench: nowhere summary -->\n<!-- /pushbench -->\n",
    );
    let before = read(&good);
    let found = bench.bad("--splice good.md bad.md");
    assert!(
        found.starts_with("bad.md:1: cannot read the record 'nowhere': no such file"),
        "{found}"
    );
    assert_eq!(read(&good), before, "all files or none");

    let stale = bench.report("--splice good.md --check");
    assert_eq!(stale.status.code(), Some(1));
    assert!(text(&stale.stderr).starts_with("pushbench: good.md:3: this is not '"));
    assert_eq!(read(&good), before, "a check changes nothing");

    let renewed = bench.report("--splice good.md");
    assert_eq!(
        (renewed.status.code(), text(&renewed.stderr)),
        (Some(0), "good.md: 1 renewed\n")
    );
    assert!(read(&good).contains("| sse tuned | 40 |"));
    bench.good("--splice good.md --check");
    assert!(bad.is_file());
    let found = bench.bad("--check");
    assert!(found.contains("--splice"), "{found}");
}
