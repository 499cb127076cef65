//! What pushbench needs of the operating system that no safe library offers.
//!
//! The only crate of the project that contains `unsafe`: [`sys`] for clocks, descriptor tables and
//! socket counters, [`allocator`] for choosing an allocator at start. [`wake`] wakes threads that
//! have descriptor tables of their own.

pub mod allocator;
pub mod sys;
pub mod wake;
