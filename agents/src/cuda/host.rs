//! Kernels on this machine's processor, for tests.

use super::ARITHMETIC;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

const HOST: &str = include_str!("host.h");

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Kernels behind their header as a C++ compiler takes them. Functions that call `host::launch` may follow.
pub(crate) fn on_host(header: &str, kernels: &str) -> String {
    // a C++ compiler takes them: an update's kernels had one, and did not compile on the first GPU that saw it
    assert!(!kernels.contains("(auto "), "NVRTC takes no generic lambdas");
    super::nvrtc::check(format!("{header}{ARITHMETIC}{kernels}"));
    let (macros, rest): (Vec<&str>, Vec<&str>) = header.lines().partition(|line| line.starts_with("#define"));
    format!("{}\n{HOST}\n{}\n{ARITHMETIC}{kernels}\n", macros.join("\n"), rest.join("\n"))
}

/// A function of this text, compiled by the C++ compiler that the README asks for (`CXX`, with `CXXFLAGS`; `scripts/kernel_sanitizers.sh` has
/// ThreadSanitizer look at what it does).
pub(crate) fn function(text: &str, name: &CStr) -> *mut c_void {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("td-koopman-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let [source, library] = ["kernels.cpp", "kernels.so"].map(|name| folder.join(name));
    std::fs::write(&source, text).expect("room for temporary files");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let flags = ["-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o"];
    let more = std::env::var("CXXFLAGS").unwrap_or_default();
    let mut command = Command::new(compiler);
    command.args(flags).args([&library, &source]).args(more.split_whitespace()).env_remove("LD_PRELOAD");
    let status = command.status();
    assert!(status.expect("a C++ compiler").success(), "the kernels do not compile as C++");
    let path = CString::new(library.to_str().expect("a path in UTF-8")).expect("a path without zeros");
    let found = symbol(&path, name);
    // a sanitizer reads names and lines in the end
    if !more.contains("-fsanitize") {
        std::fs::remove_dir_all(&folder).expect("our own folder");
    }
    found
}

/// What a library calls by this name; it is loaded, if it is not yet, and never closed.
pub(super) fn symbol(library: &CStr, name: &CStr) -> *mut c_void {
    // SAFETY: libraries of our own and NVRTC, which do nothing when they are loaded; 2 resolves all names now.
    let found = unsafe {
        let handle = dlopen(library.as_ptr(), 2);
        assert!(!handle.is_null(), "the library {library:?} cannot be loaded");
        dlsym(handle, name.as_ptr())
    };
    assert!(!found.is_null(), "there is no {name:?} in {library:?}");
    found
}
