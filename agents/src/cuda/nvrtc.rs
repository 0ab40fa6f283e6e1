//! What CUDA's compiler says of kernels, without a GPU, for tests.

use super::host::symbol;
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{LazyLock, Mutex, PoisonError};

type Create = unsafe extern "C" fn(
    *mut *mut c_void,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
type LogSize = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
type Log = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut *mut c_void) -> c_int;

/// GPUs, real ones, so that assembling is part of it: from Ampere on, and of texts with clusters from Hopper on.
const AMPERE: &CStr = c"--gpu-architecture=sm_80";
const HOPPER: &CStr = c"--gpu-architecture=sm_90";

/// Texts that were compiled in this process.
static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Default::default);

/// Has NVRTC compile a text, where `NVRTC` names its library (`scripts/kernel_compile.sh`).
pub(crate) fn check(text: String) {
    let Ok(library) = std::env::var("NVRTC") else { return };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains(&text) {
        return;
    }
    let clusters = text.lines().any(|line| line.starts_with("#define TEAM ") && line != "#define TEAM 0");
    for architecture in if clusters { &[HOPPER][..] } else { &[AMPERE, HOPPER] } {
        if let Err(log) = compile(&library, &text, architecture) {
            panic!("NVRTC for {architecture:?}:\n{log}");
        }
    }
    seen.insert(text);
    println!("NVRTC compiled {} texts", seen.len());
}

/// Else what it complains of.
fn compile(library: &str, text: &str, architecture: &CStr) -> Result<(), String> {
    let library = CString::new(library).expect("a path without zeros");
    let text = CString::new(text).expect("a text without zeros");
    // those of `gpu.rs`
    let options = [c"--std=c++17".as_ptr(), c"--fmad=false".as_ptr(), architecture.as_ptr()];
    // SAFETY: the functions of NVRTC have these types; what they are given lives until they return.
    unsafe {
        let find = |name| symbol(&library, name);
        let create: Create = std::mem::transmute(find(c"nvrtcCreateProgram"));
        let compile: Compile = std::mem::transmute(find(c"nvrtcCompileProgram"));
        let log_size: LogSize = std::mem::transmute(find(c"nvrtcGetProgramLogSize"));
        let log: Log = std::mem::transmute(find(c"nvrtcGetProgramLog"));
        let destroy: Destroy = std::mem::transmute(find(c"nvrtcDestroyProgram"));
        let mut program = null_mut();
        assert_eq!(create(&mut program, text.as_ptr(), c"kernels.cu".as_ptr(), 0, null(), null()), 0);
        let status = compile(program, options.len() as c_int, options.as_ptr());
        let mut size = 0;
        assert_eq!(log_size(program, &mut size), 0);
        let mut said = vec![0u8; size];
        assert_eq!(log(program, said.as_mut_ptr().cast()), 0);
        assert_eq!(destroy(&mut program), 0);
        let said = String::from_utf8_lossy(&said);
        if status == 0 { Ok(()) } else { Err(format!("status {status}: {said}")) }
    }
}
