//! Records as they are written and read.

use super::*;
use crate::record::{Status, sample};
use std::time::{Duration, UNIX_EPOCH};

#[test]
fn what_is_written_is_read_again() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let time = UNIX_EPOCH + Duration::from_secs(1_795_343_400);
    let nested = out.path().join("a/b");
    let folder = create_folder(&nested, time, "quick").expect("writable");
    assert_eq!(folder, nested.join("20261122T103000Z-quick"));
    let second = create_folder(&nested, time, "quick").expect("writable");
    assert_eq!(second, nested.join("20261122T103000Z-quick-2"));

    let mut record = sample::record();
    record.write(&folder).expect("writable");
    record.status = Status::Interrupted;
    record.write(&folder).expect("written over");
    assert_eq!(Record::read(&folder).expect("by folder"), record);
    assert_eq!(
        Record::read(&folder.join(RECORD_FILE)).expect("by file"),
        record
    );
    let files: Vec<_> = std::fs::read_dir(&folder).expect("a folder").collect();
    assert_eq!(files.len(), 1, "no temporary file is left");

    let file = folder.join(RECORD_FILE);
    let json = std::fs::read_to_string(&file).expect("a record");
    std::fs::write(&file, format!("\u{feff}{json}")).expect("writable");
    assert_eq!(Record::read(&file).expect("with a mark"), record);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_the_option() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let file = out.path().join("file");
    std::fs::write(&file, "").expect("writable");
    let error = create_folder(&file.join("x"), UNIX_EPOCH, "quick").expect_err("below a file");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write the record to '{}': not a directory; choose another folder with '--out'",
            file.join("x").display()
        )
    );
    let error = sample::record()
        .write(&out.path().join("gone"))
        .expect_err("not there");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write the record to '{}': no such file or directory; choose another folder \
             with '--out'",
            out.path().join("gone").display()
        )
    );
    let denied = RecordError::Write {
        path: "x".into(),
        source: std::io::Error::from_raw_os_error(libc::EACCES),
    };
    assert_eq!(
        denied.to_string(),
        "cannot write the record to 'x': permission denied; choose another folder with '--out'"
    );
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    assert_eq!(
        Record::read(Path::new("no/such/record"))
            .expect_err("not there")
            .to_string(),
        "cannot read the record 'no/such/record': no such file or directory; expected the folder \
         of a run, or the 'run.json' in it"
    );
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("run.json");
    let shown = path.display();
    for (json, expected) in [
        (
            "{\"schema_version\": 3}",
            format!(
                "'{shown}': 'schema_version' is 3, but this pushbench reads versions 1 to 2; a newer \
                 pushbench wrote it: read it with that one"
            ),
        ),
        (
            "{\"schema_version\": 0}",
            format!(
                "'{shown}': 'schema_version' is 0, but this pushbench reads versions 1 to 2; no \
                 pushbench wrote that version; take the record anew from where it came from"
            ),
        ),
        (
            "{\"schema_version\": 2, \"seed\": -4}",
            format!(
                "'{shown}' holds no record of pushbench: in 'seed', invalid value: integer `-4`, \
                 expected u64 at line 1 column 32; 'results/run.schema.json' says what one holds"
            ),
        ),
        (
            "{\"schema_version\": 1}",
            format!(
                "'{shown}' holds no record of pushbench: missing field `tool` at line 1 column 21; \
                 'results/run.schema.json' says what one holds"
            ),
        ),
        (
            "{",
            format!(
                "'{shown}' is cut off in line 1: it ends where a record goes on; take it anew from \
                 where it came from"
            ),
        ),
    ] {
        std::fs::write(&path, json).expect("writable");
        assert_eq!(Record::read(&path).expect_err(json).to_string(), expected);
    }
}

#[test]
fn a_record_that_ends_in_a_number_is_cut_off() {
    let path = Path::new("cut.json");
    for number in ["1", "-", "1.", "1.5", "1e", "1e-"] {
        let json = format!("{{\"schema_version\": {SCHEMA_VERSION}, \"trials\": [{number}");
        let error = Record::from_json(path, &json).expect_err("it has no end");
        assert!(matches!(error, RecordError::Truncated { .. }), "{error}");
    }
}
