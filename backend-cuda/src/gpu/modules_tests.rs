//! Which machine code is loaded, and what happens when the driver refuses it. NVRTC is the real one.

use super::*;
use crate::cache::Cache;
use crate::nvrtc::Architecture;
use crate::nvrtc::tests::nvrtc;
use crate::sources::HEADERS;
use std::collections::VecDeque;
use std::sync::Arc;

/// A fake driver that logs calls and returns scripted results.
#[derive(Debug, Default)]
struct Script {
    /// The results of the next calls of `load` and `function`; later calls succeed.
    loads: VecDeque<Answer>,
    functions: VecDeque<Answer>,
    /// "load 1", "function one_k of 1", ...
    log: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Success,
    Refused,
    Lost,
    NoMemory,
}

impl Answer {
    fn result(answer: Option<Answer>) -> Result<(), Refusal> {
        let other = |why: &str| Failure::Other(why.to_owned());
        match answer {
            None | Some(Answer::Success) => Ok(()),
            Some(Answer::Refused) => Err(Refusal { failure: other("image is invalid"), code: true }),
            Some(Answer::Lost) => Err(Refusal { failure: other("the device is lost"), code: false }),
            Some(Answer::NoMemory) => Err(Refusal { failure: Failure::OutOfMemory, code: false }),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Calls for Fake {
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal> {
        assert!(cubin.starts_with(b"\x7fELF"));
        let mut script = self.0.lock().unwrap();
        let number = 1 + script.log.iter().filter(|line| line.starts_with("load")).count();
        script.log.push(format!("load {number}"));
        Answer::result(script.loads.pop_front()).map(|()| number as CUmodule)
    }

    fn unload(&self, module: CUmodule) {
        self.0.lock().unwrap().log.push(format!("unload {}", module as usize));
    }

    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal> {
        let mut script = self.0.lock().unwrap();
        script.log.push(format!("{} of {}", name.to_str().unwrap(), module as usize));
        Answer::result(script.functions.pop_front()).map(|()| (100 + module as usize) as CUfunction)
    }
}

/// Two files, `one.cu` and `bad.cu`, which does not compile.
const SOURCES: &[(&str, &str)] =
    &[("one.cu", "extern \"C\" __global__ void one_k(unsigned *x) { *x = 1; }"), ("bad.cu", "int f() { return x; }")];

/// Modules with a new fake driver and the cache in a folder; `None` without NVRTC.
fn modules(folder: &std::path::Path, loads: &[Answer], functions: &[Answer]) -> Option<(Modules<Fake>, Fake)> {
    let compiler = Compiler::new(nvrtc()?, Cache::at(folder), Architecture::new(90), SOURCES, HEADERS);
    let fake = Fake::default();
    fake.0.lock().unwrap().loads.extend(loads);
    fake.0.lock().unwrap().functions.extend(functions);
    Some((Modules::new(fake.clone(), compiler), fake))
}

impl Fake {
    fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }
}

/// The number of files in the cache.
fn cached(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

fn why(failure: Failure) -> String {
    let Failure::Other(why) = failure else { panic!("out of memory") };
    assert_eq!(why.lines().count(), 1, "{why}");
    why
}

#[test]
fn a_kernel_belongs_to_the_longest_stem() {
    let stems = ["conv", "conv_grad", "convert"];
    let of = |name| owner(stems.into_iter(), name).map(|index| stems[index]);
    assert_eq!(of("conv_forward"), Some("conv"));
    assert_eq!(of("conv_grad_input"), Some("conv_grad"));
    assert_eq!(of("convert_f32"), Some("convert"));
    assert_eq!(of("conv"), None);
    assert_eq!(of("reduce_sum"), None);
}

#[test]
fn a_file_is_loaded_at_the_first_launch_only() {
    let folder = tempfile::tempdir().unwrap();
    let Some((modules, fake)) = modules(folder.path(), &[], &[]) else { return };
    assert_eq!((fake.log().len(), cached(folder.path())), (0, 0));
    assert_eq!(modules.known("one_k"), None);
    let function = modules.prepare("one_k").unwrap();
    assert_eq!(fake.log(), ["load 1", "one_k of 1"]);
    assert_eq!(modules.known("one_k"), Some(function));
    drop(modules);
    assert_eq!(fake.log(), ["load 1", "one_k of 1", "unload 1"]);
}

#[test]
fn refused_cached_code_is_recompiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = |loads: &[Answer]| modules(folder.path(), loads, &[]);
    let Some((first, _)) = fresh(&[]) else { return };
    first.prepare("one_k").unwrap();
    let (modules, fake) = fresh(&[Answer::Refused]).unwrap();
    assert_eq!(modules.prepare("one_k").unwrap() as usize, 102);
    assert_eq!((fake.log(), cached(folder.path())), (vec!["load 1".into(), "load 2".into(), "one_k of 2".into()], 1));
    // The second refusal is final, and the new code is removed from the cache.
    let (modules, fake) = fresh(&[Answer::Refused, Answer::Refused]).unwrap();
    let failure = why(modules.prepare("one_k").unwrap_err());
    assert!(failure.starts_with("kernels/one.cu, compiled for sm_90 by NVRTC "), "{failure}");
    assert!(failure.ends_with(": image is invalid"), "{failure}");
    assert_eq!((fake.log().len(), cached(folder.path())), (2, 0));
    // New code is not recompiled.
    let (modules, fake) = fresh(&[Answer::Refused]).unwrap();
    assert!(why(modules.prepare("one_k").unwrap_err()).ends_with(": image is invalid"));
    assert_eq!((fake.log().len(), cached(folder.path())), (1, 0));
}

#[test]
fn a_kernel_missing_from_cached_code_is_looked_up_in_recompiled_code() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = |functions: &[Answer]| modules(folder.path(), &[], functions);
    let Some((first, _)) = fresh(&[]) else { return };
    first.prepare("one_k").unwrap();
    let (modules, fake) = fresh(&[Answer::Success, Answer::Refused]).unwrap();
    let known = modules.prepare("one_k").unwrap();
    assert_eq!(modules.prepare("one_j").unwrap() as usize, 102);
    assert_eq!(modules.known("one_k"), Some(known), "its module stays");
    // The code is new, so it is not recompiled.
    fake.0.lock().unwrap().functions.push_back(Answer::Refused);
    let failure = why(modules.prepare("one_i").unwrap_err());
    assert!(failure.starts_with("kernels/one.cu, compiled for sm_90 by NVRTC "), "{failure}");
    assert!(failure.ends_with(": image is invalid"), "{failure}");
    drop(modules);
    let log = ["load 1", "one_k of 1", "one_j of 1", "load 2", "one_j of 2", "one_i of 2", "unload 1", "unload 2"];
    assert_eq!(fake.log(), log);
}

#[test]
fn device_and_memory_failures_leave_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = |loads: &[Answer], functions: &[Answer]| modules(folder.path(), loads, functions);
    let Some((first, _)) = fresh(&[], &[]) else { return };
    first.prepare("one_k").unwrap();
    let (modules, fake) = fresh(&[Answer::Lost, Answer::NoMemory], &[Answer::Lost]).unwrap();
    assert!(why(modules.prepare("one_k").unwrap_err()).ends_with(": the device is lost"));
    assert_eq!(modules.prepare("one_k"), Err(Failure::OutOfMemory));
    assert!(why(modules.prepare("one_k").unwrap_err()).ends_with(": the device is lost"));
    // Later there may be memory.
    assert!(modules.prepare("one_k").is_ok());
    assert_eq!((fake.log().len(), cached(folder.path())), (5, 1));
}

#[test]
fn a_file_that_does_not_compile_is_compiled_once_and_fails_at_every_launch() {
    let folder = tempfile::tempdir().unwrap();
    let Some((modules, fake)) = modules(folder.path(), &[], &[]) else { return };
    let failure = why(modules.prepare("bad_k").unwrap_err());
    assert!(failure.starts_with("kernels/bad.cu does not compile for sm_90 by NVRTC "), "{failure}");
    assert_eq!(modules.files[1].lock().unwrap().error.as_ref(), Some(&failure));
    assert_eq!(why(modules.prepare("bad_k").unwrap_err()), failure);
    let failure = why(modules.prepare("none_k").unwrap_err());
    assert_eq!(failure, "no kernel file has a name that none_k begins with");
    assert!(fake.log().is_empty());
    assert!(modules.prepare("one_k").is_ok(), "other files work");
}
