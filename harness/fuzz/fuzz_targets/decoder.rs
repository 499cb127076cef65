//! All of `decoders.rs` in one program, which takes minutes to build: `DECODER` says which.

#![no_main]

use std::sync::LazyLock;

#[path = "../decoders.rs"]
mod decoders;

use decoders::{DECODERS, Decoder};

static CHOSEN: LazyLock<Decoder> = LazyLock::new(|| {
    let name = std::env::var("DECODER").unwrap_or_default();
    let known = DECODERS.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || {
            let names = DECODERS.map(|(name, _)| name).join(", ");
            eprintln!("DECODER is '{name}', expected one of {names}");
            std::process::exit(2)
        },
        |(_, decode)| *decode,
    )
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
