//! The compiled kernels of some networks, their packed weights, and the buffers and graphs of plans.

use super::layout::Layout;
use super::session::Session;
use super::shape::Shape;
use super::sizes::{Machine, Sizes, Tiles};
use super::{KERNELS, TEAM};
use crate::cuda::{self, ARITHMETIC, CudaError, grid};
use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};
use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED_BYTES;
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, PushKernelArg};
use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

/// Buffers and graphs kept; a run needs one for every horizon and number of environments.
const SESSIONS: usize = 16;

/// Kernels of networks of one shape, with the weights of the last that planned.
pub(super) struct Program {
    pub stream: Arc<CudaStream>,
    pub sizes: Sizes,
    pub machine: Machine,
    context: Arc<CudaContext>,
    header: String,
    kernels: HashMap<Kernel, CudaFunction>,
    raw: CudaSlice<f32>,
    packings: CudaSlice<i32>,
    packed_layers: u32,
    vectors: CudaSlice<f32>,
    weights: CudaSlice<u32>,
    /// Whose weights are here.
    owner: Option<u64>,
    sessions: HashMap<Shape, Session>,
}

/// Its name and the tiles of its blocks.
type Kernel = (&'static str, Tiles);

/// By device and header: compiling takes seconds.
static PROGRAMS: LazyLock<Mutex<Programs>> = LazyLock::new(Default::default);

type Programs = HashMap<(usize, String), Arc<Mutex<Program>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A kernel, allowed as much shared memory as the device has.
fn compile(
    context: &Arc<CudaContext>,
    text: String,
    name: &str,
    shared: usize,
) -> Result<CudaFunction, CudaError> {
    context.bind_to_thread()?;
    let function = cuda::compile(context, text)?.load_function(name)?;
    if !matches!(name, "pack" | "draw" | "score") {
        // what a kernel has declared itself is not free any more
        let bytes = shared - function.shared_size_bytes()? as usize;
        function.set_attribute(SHARED_BYTES, bytes as i32)?;
    }
    Ok(function)
}

impl Program {
    /// The program for networks laid out like this, one a process; `None` on a GPU before Ampere, whose tensor cores know neither
    /// TF32 nor bfloat16, and of networks too wide for its shared memory.
    pub fn of(device: usize, layout: &Layout) -> Result<Option<Arc<Mutex<Self>>>, CudaError> {
        let mut programs = lock(&PROGRAMS);
        let key = (device, layout.header.clone());
        if let Some(program) = programs.get(&key) {
            return Ok(Some(program.clone()));
        }
        let context = CudaContext::new(device)?;
        let shared = context.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize;
        if !cuda::has_tensor_cores(&context)? || layout.sizes.shared_bytes(1) > shared {
            return Ok(None);
        }
        let mut program = Self::new(context, layout)?;
        if program.sizes.fit_in_teams(program.machine) {
            let always = ["propose_together", "refit", "pack", "draw"].map(|name| (name, Tiles::ONE));
            program.prepare(&always.into())?;
        }
        // of eight blocks even GPUs that know clusters may have no room for one: small ones, or slices of large ones
        program.machine.clusters = program.clusters().unwrap_or(0);
        let program = Arc::new(Mutex::new(program));
        programs.insert(key, program.clone());
        Ok(Some(program))
    }

    fn new(context: Arc<CudaContext>, layout: &Layout) -> Result<Self, CudaError> {
        let stream = cuda::stream(&context)?;
        let attribute = |what| context.attribute(what).map(|n| n as usize);
        let packings: Vec<i32> = layout.packings.iter().flat_map(|p| p.numbers()).collect();
        Ok(Self {
            sizes: layout.sizes,
            machine: Machine {
                multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                shared: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
                team: if cuda::has_clusters(&context)? { TEAM } else { 0 },
                clusters: 0,
            },
            header: layout.header.clone(),
            kernels: HashMap::new(),
            raw: stream.alloc_zeros(layout.raw_len)?,
            packings: stream.clone_htod(&packings)?,
            packed_layers: layout.packings.len() as u32,
            vectors: stream.alloc_zeros(layout.vectors_len)?,
            weights: stream.alloc_zeros(4 * layout.packed_len)?,
            owner: None,
            sessions: HashMap::new(),
            stream,
            context,
        })
    }

    /// Clusters that can ask the policy at once, as the driver counts them.
    fn clusters(&mut self) -> Result<usize, CudaError> {
        if !self.sizes.fit_in_teams(self.machine) {
            return Ok(0);
        }
        let function = self.kernel("propose_together", Tiles::ONE)?;
        let bytes = self.sizes.team_bytes(self.machine.shared);
        let one = grid((self.machine.team, 1, 1), 32 * self.sizes.warps, bytes);
        Ok(function.occupancy_max_active_clusters(one, &self.stream)? as usize)
    }

    /// Compiles what there is not yet of these, all at once.
    pub fn prepare(&mut self, wanted: &HashSet<Kernel>) -> Result<(), CudaError> {
        let Self { context, header, sizes, machine, kernels, .. } = &*self;
        let compiled = |(name, tiles): Kernel| {
            let forms = sizes.forms(tiles, *machine);
            let text = format!("{header}{forms}#define ONLY_{name}\n{ARITHMETIC}{KERNELS}");
            move || Ok(((name, tiles), compile(context, text, name, machine.shared)?))
        };
        let missing = wanted.iter().filter(|kernel| !kernels.contains_key(kernel));
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = missing.map(|kernel| scope.spawn(compiled(*kernel))).collect();
            let join =
                |thread: ScopedJoinHandle<_>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).collect::<Result<Vec<_>, CudaError>>()
        })?;
        self.kernels.extend(made);
        Ok(())
    }

    pub fn kernel(&mut self, name: &'static str, tiles: Tiles) -> Result<CudaFunction, CudaError> {
        self.prepare(&HashSet::from([(name, tiles)]))?;
        Ok(self.kernels[&(name, tiles)].clone())
    }

    /// Puts the weights of `owner` in place, if they are not there.
    pub fn load(&mut self, owner: u64, layout: &Layout) -> Result<(), CudaError> {
        if self.owner == Some(owner) {
            return Ok(());
        }
        let (raw, vectors) = layout.read();
        self.stream.memcpy_htod(&raw, &mut self.raw)?;
        self.stream.memcpy_htod(&vectors, &mut self.vectors)?;
        let pack = self.kernel("pack", Tiles::ONE)?;
        let config = grid((32, self.packed_layers as usize, 1), 256, 0);
        let mut launch = self.stream.launch_builder(&pack);
        launch.arg(&self.packings).arg(&self.raw).arg(&mut self.weights);
        // SAFETY: three pointers, as `pack` declares; it writes what `Layout` reserved.
        unsafe { launch.launch(config)? };
        self.owner = Some(owner);
        Ok(())
    }

    /// Buffers and graph of plans of one shape, made at the first; taken out, to be put back.
    pub fn take_session(&mut self, shape: Shape) -> Result<Session, CudaError> {
        match self.sessions.remove(&shape) {
            Some(session) => Ok(session),
            None => Session::new(self, shape),
        }
    }

    pub fn put_session(&mut self, shape: Shape, session: Session) {
        if self.sessions.len() >= SESSIONS {
            self.sessions.clear();
        }
        self.sessions.insert(shape, session);
    }

    /// Addresses of the weights and of the vectors.
    pub fn addresses(&self) -> [u64; 2] {
        [self.weights.device_ptr(&self.stream).0, self.vectors.device_ptr(&self.stream).0]
    }
}
