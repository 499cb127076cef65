//! Every dependency may be passed on with the program: its licence is one that `deny.toml` allows.

use std::process::Command;

use serde_json::Value;

const DENY: &str = include_str!("../../../deny.toml");

fn allowed() -> Vec<String> {
    let deny: toml::Table = toml::from_str(DENY).expect("TOML");
    let allowed = deny["licenses"]["allow"].as_array().expect("a list");
    let words = allowed.iter().map(|word| word.as_str().expect("a name"));
    words.map(str::to_owned).collect()
}

/// Whether an SPDX expression is met by the licences allowed. `AND` binds before `OR`; `/` is the
/// `OR` of old manifests.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let spaced = spaced.replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words, allowed);
    assert!(
        rest.is_empty(),
        "'{expression}' is not a licence expression"
    );
    met
}

fn either<'a>(words: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = both(words, allowed);
    while let Some((&"OR", more)) = rest.split_first() {
        let (next, after) = both(more, allowed);
        (met, rest) = (met || next, after);
    }
    (met, rest)
}

fn both<'a>(words: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let Some((&"AND", more)) = rest.split_first() {
        let (next, after) = one(more, allowed);
        (met, rest) = (met && next, after);
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = either(inner, allowed);
            assert_eq!(rest.first(), Some(&")"), "a parenthesis is not closed");
            (met, &rest[1..])
        }
        // An exception only ever allows more, but is a name of its own in `deny.toml`.
        [name, "WITH", exception, rest @ ..] => {
            let whole = format!("{name} WITH {exception}");
            (allowed.contains(&whole), rest)
        }
        [name, rest @ ..] => (allowed.iter().any(|word| word == name), rest),
        [] => panic!("an operand is missing"),
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        // Others are not part of any build of ours, and need not even be downloaded.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs this test, too");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    assert!(packages.len() > 100, "the whole tree");
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| {
            let licence = package["license"].as_str();
            !licence.is_some_and(|licence| is_met(licence, &allowed))
        })
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    assert_eq!(refused, [""; 0], "not allowed by deny.toml");
}

#[test]
fn a_licence_expression_is_read_as_spdx_says() {
    let allowed = ["MIT", "Zlib", "Unicode-3.0"].map(str::to_owned);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("(MIT OR GPL-3.0) AND ISC", false),
        ("MIT AND ISC OR Zlib", true),
        ("MIT WITH Some-exception", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
