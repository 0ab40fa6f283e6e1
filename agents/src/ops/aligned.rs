//! Numbers for vector registers.

use bytemuck::{Pod, Zeroable};
use std::ops::{Deref, DerefMut};

/// Numbers that begin with a cache line, as a `Vec` of them does by chance: a register's load from anywhere else takes two lines, which
/// cost updates 5 to 13 % (`agents/benches/README.md`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

/// A cache line, and a register of AVX-512.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers of a cache line: what begins at a multiple of it begins with one.
pub(crate) const LINE: usize = 16;

impl Aligned {
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![Line::zeroed(); len.div_ceil(LINE)], len }
    }

    /// These.
    pub fn of(numbers: &[f32]) -> Self {
        let mut aligned = Self::zeros(numbers.len());
        aligned.copy_from_slice(numbers);
        aligned
    }

    /// `len` zeros, where these numbers are.
    pub fn reset(&mut self, len: usize) {
        self.lines.clear();
        self.lines.resize(len.div_ceil(LINE), Line::zeroed());
        self.len = len;
    }

    /// No fewer numbers than `len`; those that were there stay, or are 0 if there were fewer.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            self.lines.resize(len.div_ceil(LINE), Line::zeroed());
            self.len = len;
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_with_a_line_and_stay_when_there_are_more() {
        let mut numbers = Aligned::of(&[1.0, 2.0, 3.0]);
        for len in [2, 3, 16, 17, 1000] {
            numbers.grow(len);
            assert_eq!((numbers.len(), numbers.as_ptr() as usize % 64), (len.max(3), 0));
            assert!(numbers[..3] == [1.0, 2.0, 3.0] && numbers[3..].iter().all(|x| *x == 0.0));
        }
        numbers.reset(20);
        assert_eq!(numbers[..], [0.0; 20]);
        assert!(Aligned::default().is_empty() && Aligned::zeros(0).is_empty());
    }
}
