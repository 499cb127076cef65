//! What reads bytes of others, on its corpus and on a few thousand seeded changes of it: the functions
//! that the targets of `cargo fuzz` call.

#[path = "../../fuzz/decoders.rs"]
mod decoders;

use std::fs;
use std::path::Path;

use pushbench_protocol::payload::SplitMix64;

use decoders::DECODERS;

/// Changes of each file.
const CHANGES: u64 = 2_000;

/// Bytes that mean something to one or the other.
const WORDS: [&[u8]; 12] = [
    b"\r\n",
    b"\n\n",
    b"\r",
    b":",
    b"-",
    b"0",
    b"18446744073709551615",
    b"\xff",
    b"\0",
    b"\xc5\xbc",
    b"\x80",
    b" ",
];

/// Some bytes less, more, other or twice.
fn changed(bytes: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let begin = random.below(bytes.len() as u64 + 1) as usize;
        // Mostly short.
        let most = 1 + random.below(20);
        let length = random.below(most) as usize;
        let end = bytes.len().min(begin + length);
        let instead = match random.below(5) {
            0 => Vec::new(),
            1 => WORDS[random.below(WORDS.len() as u64) as usize].to_vec(),
            2 => bytes[begin..end].repeat(2),
            3 => bytes[begin..end]
                .iter()
                .map(|byte| byte ^ 1 << random.below(8))
                .collect(),
            _ => (0..length).map(|_| random.below(256) as u8).collect(),
        };
        bytes.splice(begin..end, instead);
    }
    bytes
}

#[test]
fn nothing_that_reads_bytes_of_others_panics_or_depends_on_where_they_are_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut random = SplitMix64::new(7);
    for (name, decode) in DECODERS {
        let corpus = match name {
            "scenario" => "../../scenarios".to_owned(),
            _ => format!("corpus/{name}"),
        };
        let mut files: Vec<_> = fs::read_dir(folder.join(corpus))
            .expect("a corpus")
            .map(|entry| entry.expect("readable").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        // The same number for each, however many files it has; a record takes some ms to read.
        let slower = if name == "record" { 10 } else { 1 };
        let changes = CHANGES / slower / files.len() as u64;
        for file in files {
            let bytes = fs::read(file).expect("readable");
            decode(&bytes);
            for _ in 0..changes {
                let changed = changed(&bytes, &mut random);
                let outcome = std::panic::catch_unwind(|| decode(&changed));
                assert!(outcome.is_ok(), "{name}: {}", changed.escape_ascii());
            }
        }
    }
}
