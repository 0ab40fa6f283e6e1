//! A program on this machine's processor: the launches one after the other, the orders of each on all threads.
//!
//! No sum depends on how many threads there are. What kernels do is written again here: rows and columns fit
//! vector registers, where a GPU has threads.

mod learning;
mod memory;
mod products;
mod rows;
mod told;

use super::Runner;
use super::orders::{Kernel, Launch, Matrix, Program};
use crate::ops::Aligned;
use memory::Memory;
use rayon::prelude::*;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use told::*;

/// An array of numbers, and what updates them.
pub(super) struct Cpu {
    orders: Vec<i32>,
    numbers: Aligned,
    /// Right factors, packed.
    packed: Aligned,
    launches: Vec<Work>,
    input: usize,
    output: Matrix,
}

/// A launch as items that may run at once.
struct Work {
    launch: Launch,
    /// Of products: by order, where its right factor is packed, and whether it is there from an earlier launch.
    packed: Vec<(Range<usize>, bool)>,
    items: Vec<Item>,
    /// Whether packing, and the items, are worth a second thread.
    spread: [bool; 2],
}

#[derive(Clone)]
enum Item {
    /// Some rows, or other numbers, of an order.
    Rows(usize, Range<usize>),
    /// The sums of a line of ones.
    Ones(usize),
}

/// Multiply-adds, or as much else, that another thread is worth calling for.
const WORTH: usize = 1 << 17;

/// What a number costs that is no product's, in multiply-adds.
const NUMBER: usize = 8;

/// Where packed weights are: of a right factor that no step has changed since.
type Known = HashMap<[i32; 6], Range<usize>>;

impl Work {
    fn new(launch: Launch, orders: &[i32], end: &mut usize, known: &mut Known) -> Self {
        let told = &orders[launch.orders..];
        let mut work = Self { launch, packed: vec![], items: vec![], spread: [false; 2] };
        // by order: how many rows, of which so many are an item, and the numbers of a row
        let sizes: Vec<[usize; 3]> = match launch.kernel {
            Kernel::Products => return work.of_products(Product::all(told), end, known),
            Kernel::NormTanh => of(told, |o: &Norm| [o.rows as usize, 64, o.columns as usize]),
            Kernel::NormTanhBack => of(told, |o: &NormBack| [o.rows as usize, 64, o.columns as usize]),
            Kernel::ColumnSums => of(told, |o: &ColumnSums| [1, 1, (o.rows * o.columns) as usize]),
            Kernel::Cells => of(told, |o: &Cells| [o.rows as usize, 256, o.columns as usize]),
            Kernel::TdTargets => of(told, |o: &Targets| [o.rows as usize, 4096, 1]),
            Kernel::Sequences => {
                of(told, |o: &Sequences| [o.batch as usize, 32, (o.horizon * o.latent) as usize])
            }
            Kernel::Climb => of(told, |o: &Climb| [1, 1, o.rows as usize]),
            Kernel::Spectrum => of(told, |o: &Spectrum| [o.modes as usize, 4096, 16]),
            Kernel::SpectrumBack => of(told, |o: &SpectrumBack| [1, 1, (o.rows * o.modes) as usize]),
            Kernel::Squares => of(told, |o: &Squares| [o.blocks as usize, 8, (o.count / o.blocks) as usize]),
            Kernel::Adam => of(told, |o: &Adam| [o.count as usize, 1 << 14, 1]),
            Kernel::Follow => of(told, |o: &Follow| [o.count as usize, 1 << 15, 1]),
            Kernel::Summary => of(told, |_: &Summary| [1, 1, 1]),
        };
        if matches!(launch.kernel, Kernel::Adam | Kernel::Follow) {
            known.clear();
        }
        for (i, &[rows, together, _]) in sizes.iter().enumerate() {
            work.items.extend(in_parts(rows, together).map(|rows| Item::Rows(i, rows)));
        }
        work.spread[1] =
            NUMBER * sizes.iter().map(|[rows, _, numbers]| rows * numbers).sum::<usize>() > WORTH;
        work
    }

    fn of_products(mut self, orders: &[Product], end: &mut usize, known: &mut Known) -> Self {
        let mut unpacked = 0;
        for (i, o) in orders.iter().enumerate() {
            // activations are new in every launch; weights are what other factors on the right are
            let key =
                [o.b, o.b_stride, o.columns, o.inner, o.flags & super::orders::flags::TRANSPOSED_B, o.bias];
            let weights = o.flags & super::orders::flags::TRANSPOSED_A == 0;
            let there = known.get(&key).filter(|_| weights).cloned();
            let (at, there) = match there {
                Some(at) => (at, true),
                None => {
                    let at = *end..*end + products::packed_len(o);
                    (*end, unpacked) = (at.end, unpacked + at.len());
                    if weights {
                        known.insert(key, at.clone());
                    }
                    (at, false)
                }
            };
            self.packed.push((at, there));
            let rows = in_parts(products::rows(o), products::rows_together(o));
            self.items.extend(rows.map(|rows| Item::Rows(i, rows)));
            if products::rows(o) < o.rows as usize {
                self.items.push(Item::Ones(i));
            }
        }
        self.spread = [NUMBER * unpacked > WORTH, orders.iter().map(products::cost).sum::<usize>() > WORTH];
        self
    }

    fn run(&self, orders: &[i32], memory: Memory, packed: Memory) {
        let told = &orders[self.launch.orders..];
        if self.launch.kernel == Kernel::Products {
            let products = Product::all(told);
            let pack = |(o, (at, there)): (&Product, &(Range<usize>, bool))| {
                if !there {
                    products::pack(memory, o, packed.write(at.start as i32, at.len()));
                }
            };
            match self.spread[0] {
                true => products.par_iter().zip(&self.packed).with_max_len(1).for_each(pack),
                false => products.iter().zip(&self.packed).for_each(pack),
            }
            return self.each(|item| match item {
                Item::Rows(i, rows) => {
                    let at = &self.packed[*i].0;
                    let packed = packed.read(at.start as i32, at.len());
                    products::multiply(memory, &products[*i], packed, rows.clone());
                }
                Item::Ones(i) => products::ones(memory, &products[*i]),
            });
        }
        match self.launch.kernel {
            Kernel::Products => unreachable!("see above"),
            Kernel::NormTanh => self.all(told, memory, rows::norm_tanh),
            Kernel::NormTanhBack => self.all(told, memory, rows::norm_tanh_back),
            Kernel::ColumnSums => self.all(told, memory, rows::column_sums),
            Kernel::Cells => self.all(told, memory, rows::cells),
            Kernel::TdTargets => self.all(told, memory, learning::td_targets),
            Kernel::Sequences => self.all(told, memory, learning::sequences),
            Kernel::Climb => self.all(told, memory, learning::climb),
            Kernel::Spectrum => self.all(told, memory, learning::spectrum),
            Kernel::SpectrumBack => self.all(told, memory, learning::spectrum_back),
            Kernel::Squares => self.all(told, memory, learning::squares),
            Kernel::Adam => {
                learning::gradient_norm(memory, &Adam::all(told)[0]);
                self.all(told, memory, learning::adam);
            }
            Kernel::Follow => self.all(told, memory, learning::follow),
            Kernel::Summary => self.all(told, memory, learning::summary),
        }
    }

    /// A kernel on all items.
    fn all<O: Order + Sync>(&self, told: &[i32], memory: Memory, kernel: fn(Memory, &O, Range<usize>)) {
        let orders = O::all(told);
        self.each(|item| match item {
            Item::Rows(i, rows) => kernel(memory, &orders[*i], rows.clone()),
            Item::Ones(_) => unreachable!("only products have ones"),
        });
    }

    fn each(&self, run: impl Fn(&Item) + Send + Sync) {
        match self.spread[1] && self.items.len() > 1 {
            true => self.items.par_iter().with_max_len(1).for_each(run),
            false => self.items.iter().for_each(run),
        }
    }
}

fn of<O: Order>(told: &[i32], sizes: fn(&O) -> [usize; 3]) -> Vec<[usize; 3]> {
    O::all(told).iter().map(sizes).collect()
}

/// 0 … `count` in parts of `together`.
fn in_parts(count: usize, together: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(together).map(move |from| from..(from + together).min(count))
}

impl Runner for Cpu {
    type Error = Infallible;
    type Place = ();

    fn new((): &(), program: &Program, input: usize, output: Matrix) -> Result<Self, Infallible> {
        let (mut end, mut known) = (0, Known::new());
        let work = |launch: &Launch| Work::new(*launch, &program.orders, &mut end, &mut known);
        let launches = program.launches.iter().map(work).collect();
        let (orders, numbers) = (program.orders.clone(), Aligned::zeros(program.numbers));
        Ok(Self { orders, numbers, packed: Aligned::zeros(end), launches, input, output })
    }

    fn write(&mut self, at: usize, numbers: &[f32]) -> Result<(), Infallible> {
        self.numbers[at..at + numbers.len()].copy_from_slice(numbers);
        Ok(())
    }

    fn read(&self, at: usize, count: usize) -> Result<Vec<f32>, Infallible> {
        Ok(self.numbers[at..at + count].to_vec())
    }

    fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, Infallible> {
        fill(&mut self.numbers[..self.input]);
        let (memory, packed) = (Memory::new(&mut self.numbers), Memory::new(&mut self.packed));
        self.launches.iter().for_each(|work| work.run(&self.orders, memory, packed));
        self.read(self.output.at, self.output.numbers())
    }
}
