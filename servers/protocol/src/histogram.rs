//! Histograms as they travel: HdrHistogram's V2 form in base64.
//!
//! On the data path: next to it. In: a histogram. Out: text that fits into JSON, and back.

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};

/// A histogram in HdrHistogram's V2 form, base64, as it travels over the control protocol.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to memory does not fail, and the counts are below 2^63");
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The opposite of [`encode`].
///
/// # Errors
/// A text that says what is wrong with it.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|e| format!("a histogram must be base64: {e}"))?;
    hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("a histogram must be in HdrHistogram's V2 form: {e}"))
}
