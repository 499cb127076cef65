//! What the HTTP clients share: an answer's head, put together however it is cut.

use pushbench_protocol::framing::http1::{self, ResponseHead};

use super::ClientError;

/// Collects the head of an answer. Holds a buffer only while a head is half read.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    partial: Vec<u8>,
}

impl HeadReader {
    /// Takes what arrived. Once the head is complete: the head, and how many bytes at the front of
    /// `bytes` belonged to it.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(ResponseHead, usize)>, ClientError> {
        if self.partial.is_empty() {
            if let Some(found) = http1::parse_head(bytes)? {
                return Ok(Some(found));
            }
            self.partial = bytes.to_vec();
            return Ok(None);
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some((head, length)) = http1::parse_head(&self.partial)? else {
            return Ok(None);
        };
        self.partial = Vec::new();
        Ok(Some((head, length - before)))
    }

    /// Whether nothing of a head has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }
}
