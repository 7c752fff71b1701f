//! A plain map of points, questions to ask, and a place for segments.

pub mod bucket;
pub mod model;
pub mod question;
