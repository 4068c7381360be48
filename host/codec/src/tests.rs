//! Tests with real components, written by hand in the text format.
