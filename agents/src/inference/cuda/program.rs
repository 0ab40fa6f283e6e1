//! The compiled kernels of some networks, their packed weights, and the buffers and graphs of plans.

use super::layout::{Layout, Sizes};
use super::session::Session;
use super::shape::{Machine, Shape};
use super::{KERNELS, TEAM};
use crate::cuda::{self, ARITHMETIC, CudaError, grid};
use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};
use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED_BYTES;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, PushKernelArg,
};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Buffers and graphs kept; a run needs one for every horizon and number of environments.
const SESSIONS: usize = 16;

/// Kernels of networks of one shape, with the weights of the last that planned.
pub(super) struct Program {
    pub stream: Arc<CudaStream>,
    pub sizes: Sizes,
    pub machine: Machine,
    context: Arc<CudaContext>,
    header: String,
    /// By the tiles of their blocks.
    modules: HashMap<usize, Arc<CudaModule>>,
    functions: HashMap<(&'static str, usize), CudaFunction>,
    raw: CudaSlice<f32>,
    packings: CudaSlice<i32>,
    packed_layers: u32,
    vectors: CudaSlice<f32>,
    weights: CudaSlice<u32>,
    /// Whose weights are here.
    owner: Option<u64>,
    sessions: HashMap<Shape, Session>,
}

/// By device and header: compiling takes seconds.
static PROGRAMS: LazyLock<Mutex<Programs>> = LazyLock::new(Default::default);

type Programs = HashMap<(usize, String), Arc<Mutex<Program>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            modules: HashMap::new(),
            functions: HashMap::new(),
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
        let function = self.function("propose_together", 1)?;
        let bytes = self.sizes.team_bytes(self.machine.shared).0;
        let one = grid((self.machine.team, 1, 1), 32 * self.sizes.warps, bytes);
        Ok(function.occupancy_max_active_clusters(one, &self.stream)? as usize)
    }

    /// The kernels with blocks of so many tiles: compiled when first used, since a plan needs one or two of three.
    fn module(&mut self, tiles: usize) -> Result<Arc<CudaModule>, CudaError> {
        if let Some(module) = self.modules.get(&tiles) {
            return Ok(module.clone());
        }
        let source = format!("{}{}{ARITHMETIC}{KERNELS}", self.header, self.sizes.forms(tiles, self.machine));
        let module = cuda::compile(&self.context, source)?;
        self.modules.insert(tiles, module.clone());
        Ok(module)
    }

    /// A kernel, allowed as much shared memory as the device has.
    pub fn function(&mut self, name: &'static str, tiles: usize) -> Result<CudaFunction, CudaError> {
        if let Some(function) = self.functions.get(&(name, tiles)) {
            return Ok(function.clone());
        }
        let function = self.module(tiles)?.load_function(name)?;
        if !matches!(name, "pack" | "draw") {
            // what a kernel has declared itself is not free any more
            let bytes = self.machine.shared - function.shared_size_bytes()? as usize;
            function.set_attribute(SHARED_BYTES, bytes as i32)?;
        }
        self.functions.insert((name, tiles), function.clone());
        Ok(function)
    }

    /// Tiles of 16 rows that a block takes of `rows`: as few as keep all multiprocessors busy, and no more than fit.
    pub fn tiles(&self, rows: usize) -> usize {
        let fits = |tiles: &usize| self.sizes.fit(*tiles, self.machine.shared);
        let wanted = rows.div_ceil(16).div_ceil(self.machine.multiprocessors);
        let largest = [4, 2, 1].into_iter().filter(fits).find(|tiles| *tiles <= wanted.max(1));
        largest.unwrap_or(1)
    }

    /// Puts the weights of `owner` in place, if they are not there.
    pub fn load(&mut self, owner: u64, layout: &Layout) -> Result<(), CudaError> {
        if self.owner == Some(owner) {
            return Ok(());
        }
        let (raw, vectors) = layout.read();
        self.stream.memcpy_htod(&raw, &mut self.raw)?;
        self.stream.memcpy_htod(&vectors, &mut self.vectors)?;
        let pack = self.function("pack", 1)?;
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
