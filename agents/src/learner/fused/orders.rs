//! What kernels are told: launches of orders, over one array of numbers.

use crate::ops::LINE;
use std::mem::take;

/// The kernels of `kernels/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Products,
    NormTanh,
    NormTanhBack,
    ColumnSums,
    Cells,
    TdTargets,
    Sequences,
    Climb,
    Spectrum,
    SpectrumBack,
    Squares,
    Adam,
    Follow,
    Summary,
}

#[cfg(any(test, feature = "cuda"))]
impl Kernel {
    /// All, in order.
    pub const ALL: [Self; 14] = [
        Self::Products,
        Self::NormTanh,
        Self::NormTanhBack,
        Self::ColumnSums,
        Self::Cells,
        Self::TdTargets,
        Self::Sequences,
        Self::Climb,
        Self::Spectrum,
        Self::SpectrumBack,
        Self::Squares,
        Self::Adam,
        Self::Follow,
        Self::Summary,
    ];

    /// Its name, and the threads of its blocks.
    pub fn entry(self) -> (&'static str, u32) {
        match self {
            Self::Products => ("products", 256),
            Self::NormTanh => ("norm_tanh", 128),
            Self::NormTanhBack => ("norm_tanh_back", 128),
            Self::ColumnSums => ("column_sums", 1024),
            Self::Cells => ("cells", 256),
            Self::TdTargets => ("td_targets", 256),
            Self::Sequences => ("sequences", 128),
            Self::Climb => ("climb", 256),
            Self::Spectrum => ("spectrum", 256),
            Self::SpectrumBack => ("spectrum_back", 256),
            Self::Squares => ("squares", 256),
            Self::Adam => ("adam", 256),
            Self::Follow => ("follow", 256),
            Self::Summary => ("summary", 1024),
        }
    }

    /// Bytes of shared memory that it is given, beside what it declares itself.
    pub fn shared(self) -> usize {
        // four stages of two tiles, as `kernels/products.cu` asserts
        if self == Self::Products { 4 * 2 * 4 * (TILE * 36) } else { 0 }
    }
}

/// A row-major matrix in the array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix {
    pub at: usize,
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl Matrix {
    pub fn rows(self, from: usize, rows: usize) -> Self {
        debug_assert!(from + rows <= self.rows);
        Self { at: self.at + from * self.stride, rows, ..self }
    }

    pub fn columns(self, from: usize, columns: usize) -> Self {
        debug_assert!(from + columns <= self.columns);
        Self { at: self.at + from, columns, ..self }
    }

    pub fn numbers(self) -> usize {
        self.rows * self.columns
    }
}

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Nothing,
    Elu,
    Tanh,
    /// Stores s = tanh(x), and v = u·(1 + s).
    Gate {
        u: Matrix,
        v: Matrix,
    },
    /// Adds λ ⊙ z.
    Turn {
        z: Matrix,
        lambda: usize,
    },
    /// Multiplies by the slope of the ELU that gave these numbers.
    SlopeElu(Matrix),
    /// From the gradient of u·(1 + s) to that of what `tanh` bounded, and of u.
    GateBack {
        s: Matrix,
        u: Matrix,
        du: Matrix,
    },
    /// Adds what is there.
    Add,
    /// Adds what is there, and the complex conjugate of λ times dz.
    AddTurnBack {
        dz: Matrix,
        lambda: usize,
    },
    /// Goes to the rows that it is of, see [`Product::among`]; other rows become zero.
    Scatter,
}

/// How factors lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// a·b
    Plain,
    /// a·bᵀ
    Back,
    /// aᵀ·b, with a last row of column sums of b if c has one more than a has columns.
    Gradient,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub form: Form,
    pub bias: Option<usize>,
    pub after: After,
    /// A list of rows: how many, then which, ascending. A processor keeps gradients of these alone, one behind the other. A GPU, whose blocks
    /// cannot know how many there will be, takes all rows, of which the others' gradients are zero.
    pub among: Option<usize>,
}

/// What the kernels are told of a product, as in `kernels/products.cu`.
pub(super) mod flags {
    pub const TRANSPOSED_A: i32 = 1;
    pub const TRANSPOSED_B: i32 = 2;
    pub const ADD: i32 = 4;
    /// a has a line of ones behind its last.
    pub const ONES: i32 = 8;
    pub const ELU: i32 = 16;
    pub const TANH: i32 = 32;
    pub const SLOPE_ELU: i32 = 64;
    pub const ROTATE: i32 = 128;
    pub const ROTATE_BACK: i32 = 256;
    pub const GATE: i32 = 512;
    pub const GATE_BACK: i32 = 1024;
    /// Means nothing on a GPU.
    pub const SCATTER: i32 = 2048;
}

/// Products on a GPU read four numbers at a time where their factors' rows begin at a multiple of four.
pub(super) const ALIGNED: usize = 4;

/// Side of the square of a result that a block computes.
const TILE: usize = 64;

impl Product {
    /// c from a and b, without a bias, of all rows.
    pub fn new(form: Form, [a, b]: [Matrix; 2], c: Matrix, after: After) -> Self {
        Self { a, b, c, form, bias: None, after, among: None }
    }

    /// Sizes of the result, and how many products are added up.
    fn sizes(&self) -> [usize; 3] {
        let Self { a, b, c, .. } = self;
        let (inner, fits) = match self.form {
            Form::Plain => (a.columns, [a.rows, a.columns, b.columns] == [c.rows, b.rows, c.columns]),
            Form::Back => (a.columns, [a.rows, a.columns, b.rows] == [c.rows, b.columns, c.columns]),
            Form::Gradient => {
                let rows = c.rows == a.columns || c.rows == a.columns + 1;
                (a.rows, rows && [a.rows, b.columns] == [b.rows, c.columns])
            }
        };
        assert!(fits, "{self:?}");
        [c.rows, c.columns, inner]
    }

    fn order(&self) -> (usize, Vec<i32>) {
        let [rows, columns, inner] = self.sizes();
        let across = columns.div_ceil(TILE);
        let none = Matrix { at: 0, rows: 0, columns: 0, stride: 0 };
        let (mut y, mut z, mut u, mut v, mut turn) = (none, none, none, none, [0, 0]);
        let mut told = match self.form {
            Form::Plain => 0,
            Form::Back => flags::TRANSPOSED_B,
            Form::Gradient if rows > self.a.columns => flags::TRANSPOSED_A | flags::ONES,
            Form::Gradient => flags::TRANSPOSED_A,
        };
        told |= match self.after {
            After::Nothing => 0,
            After::Elu => flags::ELU,
            After::Tanh => flags::TANH,
            After::Gate { u: of, v: to } => {
                (u, v) = (of, to);
                flags::TANH | flags::GATE
            }
            After::Turn { z: of, lambda } => {
                (z, turn) = (of, [lambda, columns / 2]);
                flags::ROTATE
            }
            After::SlopeElu(of) => {
                y = of;
                flags::SLOPE_ELU
            }
            After::GateBack { s, u: of, du } => {
                (y, u, v) = (s, of, du);
                flags::GATE_BACK
            }
            After::Add => flags::ADD,
            After::AddTurnBack { dz, lambda } => {
                (z, turn) = (dz, [lambda, columns / 2]);
                flags::ADD | flags::ROTATE_BACK
            }
            After::Scatter => flags::SCATTER,
        };
        let Self { a, b, c, .. } = self;
        let mut order = ints([across, a.at, a.stride, b.at, b.stride, c.at, c.stride, rows, columns, inner]);
        order.extend([told, address(self.bias)]);
        order.extend(ints([y.at, y.stride, z.at, z.stride, turn[0], turn[1]]));
        order.extend(ints([u.at, u.stride, v.at, v.stride]));
        order.push(address(self.among));
        (across * rows.div_ceil(TILE), order)
    }
}

/// What becomes of numbers at the same place of matrices.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    /// to = a
    Copy(Matrix),
    /// to = clamp(a + b)
    Act(Matrix, Matrix),
    /// to = (a + b)·(1 − c²)
    ActBack([Matrix; 3]),
    /// to += a + b + c
    Join([Matrix; 3]),
}

/// Some blocks of one kernel, which may all run at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    pub kernel: Kernel,
    #[cfg_attr(not(any(test, feature = "cuda")), expect(dead_code))] // processors have none
    pub blocks: u32,
    /// Where its orders begin.
    pub orders: usize,
}

/// Launches, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// How many numbers the array has.
    pub numbers: usize,
    pub orders: Vec<i32>,
    pub launches: Vec<Launch>,
    /// Orders that the next launch will have.
    pending: Vec<(usize, Vec<i32>)>,
    kernel: Option<Kernel>,
}

/// Numbers as the kernels read them, which count to 2^31: who has more may not run.
pub(super) fn ints<const N: usize>(numbers: [usize; N]) -> Vec<i32> {
    numbers.iter().map(|&n| n as i32).collect()
}

/// A place that there may be none of.
pub(super) fn address(at: Option<usize>) -> i32 {
    at.map_or(-1, |at| at as i32)
}

/// The bits of an f32.
pub(super) fn bits(x: f64) -> i32 {
    (x as f32).to_bits() as i32
}

impl Program {
    /// Room for a matrix that begins with a cache line, one row behind the other.
    pub fn room(&mut self, rows: usize, columns: usize) -> Matrix {
        self.room_of(rows, columns, columns)
    }

    /// Room for a matrix whose rows begin where products like them to.
    pub fn aligned_room(&mut self, rows: usize, columns: usize) -> Matrix {
        self.room_of(rows, columns, columns.next_multiple_of(ALIGNED))
    }

    fn room_of(&mut self, rows: usize, columns: usize, stride: usize) -> Matrix {
        let at = self.numbers;
        self.numbers += (rows * stride).next_multiple_of(LINE);
        Matrix { at, rows, columns, stride }
    }

    /// An order to the kernel of the next launch.
    pub fn order(&mut self, kernel: Kernel, blocks: usize, order: Vec<i32>) {
        debug_assert!(self.kernel.is_none_or(|k| k == kernel), "a launch has one kernel");
        self.kernel = Some(kernel);
        self.pending.push((blocks, order));
    }

    pub fn product(&mut self, product: Product) {
        let (blocks, order) = product.order();
        self.order(Kernel::Products, blocks, order);
    }

    pub fn cells(&mut self, to: Matrix, cell: Cell) {
        let (what, [a, b, c]) = match cell {
            Cell::Copy(a) => (0, [a, a, a]),
            Cell::Act(a, b) => (1, [a, b, a]),
            Cell::ActBack(of) => (2, of),
            Cell::Join(of) => (3, of),
        };
        let mut order = ints([what, to.rows, to.columns, to.at, to.stride]);
        for of in [a, b, c] {
            assert_eq!([of.rows, of.columns], [to.rows, to.columns], "{cell:?}");
            order.extend(ints([of.at, of.stride]));
        }
        self.order(Kernel::Cells, to.numbers().div_ceil(256), order);
    }

    /// Lets the orders run.
    pub fn launch(&mut self) {
        let Some(kernel) = self.kernel.take() else { return };
        let pending = take(&mut self.pending);
        let launch = Launch {
            kernel,
            blocks: pending.iter().map(|(blocks, _)| *blocks as u32).sum(),
            orders: self.orders.len(),
        };
        self.orders.push(pending.len() as i32);
        let mut first = 0;
        for (blocks, order) in pending {
            self.orders.push(first);
            self.orders.extend(order);
            first += blocks as i32;
        }
        self.launches.push(launch);
    }
}
