//! The right factor of a product, packed if that is worth its while.

use super::panels::{Left, Panels, factors};
use crate::config::Precision;
use crate::ops::matrix::{self, Matrix};
use std::mem::MaybeUninit;

/// As it lies in memory, or packed.
pub(crate) enum Right<'a> {
    Plain(Matrix<'a>),
    Packed(Panels, Precision),
}

impl<'a> Right<'a> {
    /// For a left factor of `rows` rows, or several of as many.
    pub fn new(matrix: Matrix<'a>, rows: usize, precision: Precision) -> Self {
        let [terms, columns] = matrix.sizes();
        match factors(precision, [rows, terms, columns]) {
            Some(precision) => Self::Packed(Panels::of(matrix, precision), precision),
            None => Self::Plain(matrix),
        }
    }

    /// Writes left·self over `out` and returns it initialised.
    pub fn multiply<'o>(&self, left: Matrix, out: &'o mut [MaybeUninit<f32>]) -> &'o mut [f32] {
        match self {
            Self::Plain(matrix) => matrix::multiply(left, *matrix, out),
            Self::Packed(panels, precision) => panels.multiply(&Left::of(left, *precision), 0, out),
        }
    }
}
