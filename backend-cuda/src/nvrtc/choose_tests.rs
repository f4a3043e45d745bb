//! Which library is chosen among the real one and fakes, which are small C libraries.

use super::*;
use crate::nvrtc::tests::{nvrtc, required};
use std::process::Command;

/// The source of a fake, which compiles any program to four bytes.
const FAKE: &str = r#"
static const int known[] = {ARCHITECTURES};
int nvrtcVersion(int *major, int *minor) { *major = MAJOR, *minor = MINOR; return STATUS; }
const char *nvrtcGetErrorString(int status) { return "a fake's error"; }
int nvrtcGetNumSupportedArchs(int *n) { *n = sizeof known / sizeof *known; return 0; }
int nvrtcGetSupportedArchs(int *to) {
  for (unsigned i = 0; i < sizeof known / sizeof *known; i++) to[i] = known[i];
  return 0;
}
int nvrtcCreateProgram(void **p, const char *s, const char *f, int n, const char **t, const char **h) { return 0; }
int nvrtcCompileProgram(void *p, int n, const char **options) { return COMPILES ? 0 : 6; }
int nvrtcGetProgramLogSize(void *p, unsigned long *n) { *n = 0; return 0; }
int nvrtcGetProgramLog(void *p, char *to) { return 0; }
int nvrtcGetCUBINSize(void *p, unsigned long *n) { *n = 4; return 0; }
int nvrtcGetCUBIN(void *p, char *to) { for (int i = 0; i < 4; i++) to[i] = "fake"[i]; return 0; }
int nvrtcDestroyProgram(void **p) { return 0; }
"#;

/// What a fake returns.
#[derive(Clone, Copy)]
struct Fake {
    version: (u32, u32),
    architectures: &'static str,
    status: u32,
    compiles: bool,
}

const FAKE_12: Fake = Fake { version: (12, 2), architectures: "80, 86, 90", status: 0, compiles: true };

/// The file of a fake; `None` with a note without a C compiler.
fn fake(folder: &Path, name: &str, fake: Fake) -> Option<PathBuf> {
    let (source, file) = (folder.join("fake.c"), folder.join(name));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&source, FAKE).unwrap();
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-w"]).arg("-o").args([&file, &source]);
    command.arg(format!("-DMAJOR={}", fake.version.0)).arg(format!("-DMINOR={}", fake.version.1));
    command.arg(format!("-DARCHITECTURES={}", fake.architectures));
    command.arg(format!("-DSTATUS={}", fake.status)).arg(format!("-DCOMPILES={}", fake.compiles as u32));
    match command.status() {
        Ok(status) => {
            assert!(status.success(), "the fake does not compile");
            Some(file)
        }
        Err(why) => {
            assert!(!required(), "MINITORCH_REQUIRE: tests of the search need a C compiler: {why}");
            eprintln!("not checked: cc: {why}");
            None
        }
    }
}

fn of(candidates: &[&Path]) -> Search {
    let candidates = candidates.iter().map(|path| path.to_path_buf()).collect();
    Search { candidates, places: vec!["a test".into()], ..Search::default() }
}

fn requirements(driver: Option<(u32, u32)>, capability: (u32, u32)) -> Requirements {
    Requirements { driver, capability: Some(capability) }
}

#[test]
fn a_library_that_does_not_support_the_gpu_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let Some(old) = fake(folder.path(), "old.so", FAKE_12) else { return };
    let new = Fake { version: (13, 1), architectures: "75, 90, 100, 120", ..FAKE_12 };
    let new = fake(folder.path(), "new.so", new).unwrap();
    let found = |driver, capability| Nvrtc::search(of(&[&old, &new]), requirements(driver, capability)).unwrap();
    // The driver's own version is preferred, unless only the other supports the GPU.
    assert_eq!(found(Some((12, 8)), (9, 0)).path(), old);
    assert_eq!(found(Some((13, 0)), (9, 0)).path(), new);
    assert_eq!(found(None, (9, 0)).path(), old);
    assert_eq!(found(None, (12, 0)).path(), new);
    assert_eq!(found(Some((13, 0)), (8, 6)).path(), old, "an older version than the driver's serves");
    // Of two older ones the newer is chosen, whichever is found first.
    for order in [[&*old, &*new], [&*new, &*old]] {
        assert_eq!(Nvrtc::search(of(&order), requirements(Some((14, 0)), (9, 0))).unwrap().path(), new);
    }
    assert_eq!(found(None, (12, 1)).architecture((12, 1)), Ok(Architecture::new(120)));
    assert_eq!(found(Some((12, 8)), (8, 9)).architecture((8, 9)), Ok(Architecture::new(86)));
    // If neither is suitable, each is listed with its reason.
    let why = Nvrtc::search(of(&[&old, &new]), requirements(Some((12, 8)), (12, 0))).unwrap_err();
    let reason = |file: &Path, version, why: &str| format!("NVRTC {version} ({}), which {why}", file.display());
    let first = reason(&old, "12.2", "does not know compute capability 12.0 (it knows sm_80, sm_86, sm_90)");
    let second = reason(&new, "13.1", "is newer than the driver's CUDA 12.8");
    assert!(why.ends_with(&format!("; looked at: a test; found: {first}; {second}")), "{why}");
    // The user's choice is not replaced.
    let why = Nvrtc::search(Search { chosen: true, ..of(&[&old]) }, requirements(None, (12, 0))).unwrap_err();
    assert!(why.ends_with(&format!("found: {first}")), "{why}");
}

#[test]
fn every_library_that_is_there_is_listed_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Some(ancient) = fake(folder.path(), "ancient.so", Fake { version: (11, 8), ..FAKE_12 }) else { return };
    let broken = fake(folder.path(), "broken.so", Fake { compiles: false, ..FAKE_12 }).unwrap();
    let mute = fake(folder.path(), "mute.so", Fake { status: 7, ..FAKE_12 }).unwrap();
    let stub = fake(folder.path(), "stubs/libnvrtc.so", FAKE_12).unwrap();
    let other = fake(folder.path(), "libnvrtc.alt.so.13", FAKE_12).unwrap();
    std::fs::write(path("text.so"), "not a library").unwrap();
    let gone = path("gone.so"); // a user's choice
    let list = [&ancient, &broken, &mute, &stub, &other, &path("text.so"), &gone, Path::new("no-such-nvrtc.so")];
    let why = Nvrtc::search(of(&list), requirements(None, (9, 0))).unwrap_err();
    assert_eq!(why.lines().count(), 1, "{why}");
    let reasons: Vec<&str> = why.split_once("found: ").unwrap().1.split("; ").collect();
    let expected = [
        (&ancient, "is older than 12.0"),
        (&broken, "does not work: nvrtcCompileProgram: a fake's error (status 6 of NVRTC 12.2"),
        (&mute, "nvrtcVersion: status 7"),
        (&stub, "is a stub"),
        (&other, "is the alternative build"),
        (&path("text.so"), ": file too short"),
        (&gone, ": cannot open shared object file"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{why}");
    for (reason, (file, words)) in reasons.iter().zip(expected) {
        assert!(reason.contains(words) && reason.contains(&file.display().to_string()), "{reason}: {words}");
    }
    // Even if the user chooses a stub, it is refused.
    let why = Nvrtc::search(Search { chosen: true, ..of(&[&stub]) }, requirements(None, (9, 0))).unwrap_err();
    assert!(why.contains("is a stub"), "{why}");
}

#[test]
fn python_is_queried_only_if_no_other_candidate_works() {
    let folder = tempfile::tempdir().unwrap();
    let packages = folder.path().canonicalize().unwrap();
    let Some(old) = fake(&packages, "old.so", FAKE_12) else { return };
    let new = Fake { version: (13, 1), architectures: "120", ..FAKE_12 };
    let new = fake(&packages, "nvidia/cu13/lib/libnvrtc.so.13", new).unwrap();
    let note = packages.join("asked");
    let script = format!("echo asked >>'{}'; echo '{}'", note.display(), packages.display());
    let (_bin, python) = crate::nvrtc::python::tests::python(&script);
    let search = |candidates: &[&Path]| Search { interpreter: Some(python.clone()), ..of(candidates) };
    assert_eq!(Nvrtc::search(search(&[&old]), requirements(None, (9, 0))).unwrap().path(), old);
    assert!(!note.exists());
    assert_eq!(Nvrtc::search(search(&[&old]), requirements(None, (12, 0))).unwrap().path(), new);
    assert_eq!(Nvrtc::search(search(&[]), requirements(None, (12, 0))).unwrap().path(), new);
    let why = Nvrtc::search(search(&[&old]), requirements(None, (10, 0))).unwrap_err();
    let (old, new) = (format!("({}), which does not", old.display()), format!("({}), which does not", new.display()));
    assert!(why.contains(&old) && why.contains(&new) && why.contains("a test, the packages of "), "{why}");
    assert_eq!(std::fs::read_to_string(note).unwrap().lines().count(), 3);
}

#[test]
fn a_gpu_gets_the_nearest_code_of_its_generation() {
    let Some(nvrtc) = nvrtc() else { return };
    assert_eq!(nvrtc.architecture((8, 0)), Ok(Architecture::new(80)));
    assert_eq!(nvrtc.architecture((9, 9)), Ok(Architecture::new(90)));
    let why = nvrtc.architecture((5, 0)).unwrap_err();
    assert!(why.contains("does not know compute capability 5.0 (it knows sm_") && why.lines().count() == 1, "{why}");
    assert!(why.starts_with("NVRTC "), "{why}");
}

#[test]
fn code_for_one_architecture_alone_can_be_asked_for() {
    let Some(nvrtc) = nvrtc() else { return };
    let options = nvrtc.options("sm_90a".parse().unwrap());
    assert_eq!(options[0], "--gpu-architecture=sm_90a");
    // setmaxnreg is one of the instructions that sm_90 lacks.
    let source = "extern \"C\" __global__ void try_own() { asm volatile(\"setmaxnreg.inc.sync.aligned.u32 40;\"); }";
    let compile = |options: &[String]| nvrtc.compile("try.cu", source, &[], options);
    assert!(compile(&options).unwrap().cubin.starts_with(b"\x7fELF"));
    assert!(compile(&nvrtc.options(Architecture::new(90))).is_err());
}

#[test]
fn a_missing_library_says_where_it_was_sought_and_how_to_get_it() {
    let search = || Search { places: vec!["CUDA_PATH".into()], ..of(&[Path::new("no-such-nvrtc")]) };
    let why = Nvrtc::search(search(), Requirements { driver: Some((13, 0)), capability: None }).unwrap_err();
    assert!(why.ends_with("; looked at: CUDA_PATH; found: nothing"), "{why}");
    assert!(why.contains("`pip install nvidia-cuda-nvrtc`"), "{why}");
    let why = Nvrtc::search(search(), Requirements { driver: Some((12, 4)), capability: None }).unwrap_err();
    assert!(why.contains("`pip install nvidia-cuda-nvrtc-cu12`"), "{why}");
}

#[test]
fn a_compiler_newer_than_the_driver_is_refused_unless_it_was_chosen() {
    let Some(found) = nvrtc() else { return };
    let search = |chosen, major, minor| {
        let wanted = Requirements { driver: Some((major, minor)), capability: None };
        Nvrtc::search(Search { chosen, ..of(&[found.path()]) }, wanted)
    };
    let (major, minor) = found.version();
    assert!(search(false, major, minor).is_ok());
    assert!(search(false, major + 1, 0).is_ok());
    let why = search(false, major - 1, 9).unwrap_err();
    assert!(why.contains("is newer than the driver's CUDA"), "{why}");
    assert!(search(true, major - 1, 9).is_ok());
}
