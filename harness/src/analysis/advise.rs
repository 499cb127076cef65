//! What a workload would cost on each transport, predicted from records, and what speaks for which.
//!
//! Place on the data path: after it. In: a [`Workload`] and a folder of records. Out: a
//! [`Prediction`] for each transport and profile that the records know, a recommendation with its
//! reasons, and rules with their sources.
//!
//! - [`observe`]: a trial as a point of the fit;
//! - [`workload`]: what is asked about, and what it comes to in a second;
//! - [`framing`]: bytes of a delivery, from the framings;
//! - [`model`]: memory and CPU, and what is predicted from them; [`fit`]: how they are found;
//! - [`beyond`]: where a prediction leaves its records, and what it cannot know;
//! - [`check`]: prediction against measurement for what was left out of the fit;
//! - [`rules`]: what no measurement here decides, with its specification;
//! - [`recommend`], [`mod@render`]: the answer.
//!
//! A prediction is not a measurement. It reports where it leaves the range of its records, and CPU is that
//! of the machine on which they were made.

pub mod beyond;
pub mod check;
pub mod fit;
pub mod framing;
pub mod model;
pub mod observe;
pub mod recommend;
pub mod render;
pub mod rules;
pub mod workload;

pub use model::{Model, Prediction};
pub use workload::Workload;
