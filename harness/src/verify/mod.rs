//! Whether pushbench itself can be believed: trials whose results are known in advance.
//!
//! Around the data path. In: deliberate faults. Out: expected against found.

pub mod known_answers;
