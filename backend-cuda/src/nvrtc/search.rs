//! The paths at which an NVRTC library may be: in NVIDIA's toolkit, a distribution's package or a Python wheel.

use super::python;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names for the loader's own search. Folders are listed instead, which also finds versions that are not named here.
const NAMES: &[&str] = if cfg!(windows) {
    &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
} else if cfg!(target_os = "linux") {
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
} else {
    &[]
};

/// The folders of libraries within a toolkit.
const TOOLKIT: &[&str] = if cfg!(windows) {
    &["bin", "bin/x64"]
} else {
    &["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
};

/// The folders of libraries within a wheel.
const WHEEL: &[&str] = if cfg!(windows) { &["bin", "bin/x86_64"] } else { &["lib"] };

/// The time limit for the Python on PATH. A cold start from a network file system takes seconds.
const PYTHON_TIMEOUT: Duration = Duration::from_secs(5);

/// The environment that the search depends on, as a parameter for tests.
pub(super) struct Environment<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// `/usr/local`.
    pub(super) local: &'a Path,
}

/// The candidates of a search.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Files in the order of preference; a bare name is for the loader's own search.
    pub(super) candidates: Vec<PathBuf>,
    /// The places that were searched, for the error message.
    pub(super) places: Vec<String>,
    /// The user has chosen the library: no other is tried, and its version is not checked.
    pub(super) chosen: bool,
    /// The Python on PATH. It is queried if no candidate works, since starting it takes longer than listing folders.
    pub(super) interpreter: Option<PathBuf>,
}

impl Search {
    pub(super) fn new(environment: &Environment<'_>) -> Self {
        let mut search = Search::default();
        let path = |name: &str| (environment.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(chosen) = path("MINITORCH_NVRTC") {
            search.chosen = true;
            search.places.push(format!("MINITORCH_NVRTC={}", chosen.display()));
            match chosen.is_dir() {
                true => search.folder(&chosen),
                // A bare name is for the loader's search.
                false if chosen.components().count() > 1 => {
                    search.candidates.push(chosen.canonicalize().unwrap_or(chosen));
                }
                false => search.candidates.push(chosen),
            }
            return search;
        }
        if !NAMES.is_empty() {
            search.candidates.extend(NAMES.iter().map(PathBuf::from));
            search.places.push(format!("the system's libraries ({})", NAMES.join(", ")));
        }
        for name in ["CUDA_PATH", "CUDA_HOME"] {
            search.places.push(name.to_owned());
            path(name).into_iter().for_each(|root| search.folders(&root, TOOLKIT));
        }
        search.places.push(format!("{}/cuda*", environment.local.display()));
        for root in entries(environment.local, "cuda") {
            search.folders(&root, TOOLKIT);
        }
        for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            search.places.push(name.to_owned());
            if let Some(root) = path(name) {
                search.python(&root);
                search.folders(&root, TOOLKIT); // conda's own package
            }
        }
        // pip's folders without a virtual environment: of the user and of the system.
        let user = path("HOME").map(|home| home.join(".local"));
        for root in user.iter().map(PathBuf::as_path).chain([environment.local]) {
            search.places.push(format!("{}/lib/python3*", root.display()));
            search.python(root);
        }
        search.interpreter = path("PATH").and_then(|path| python::on_path(path.as_os_str()));
        search
    }

    /// Queries the Python on PATH for its packages, and adds the libraries that are no candidates yet. An error is noted in the
    /// places.
    pub(super) fn query_python(&mut self) {
        let Some(interpreter) = self.interpreter.take() else { return };
        let answer = python::packages(&interpreter, PYTHON_TIMEOUT);
        let note = answer.as_ref().err().map(|why| format!(" ({why})")).unwrap_or_default();
        self.places.push(format!("the packages of {}{note}", interpreter.display()));
        answer.unwrap_or_default().iter().for_each(|packages| self.wheels(packages));
    }

    /// The wheels of a Python installation.
    fn python(&mut self, root: &Path) {
        let mut packages = vec![root.join("Lib/site-packages")];
        for python in entries(&root.join("lib"), "python3") {
            packages.extend(["site-packages", "dist-packages"].map(|name| python.join(name)));
        }
        packages.iter().for_each(|packages| self.wheels(packages));
    }

    /// The wheels in a folder of packages: `nvidia/cu13`, and `nvidia/cuda_nvrtc` before CUDA 13.
    fn wheels(&mut self, packages: &Path) {
        for wheel in entries(&packages.join("nvidia"), "cu") {
            self.folders(&wheel, WHEEL);
        }
    }

    fn folders(&mut self, root: &Path, below: &[&str]) {
        below.iter().for_each(|below| self.folder(&root.join(below)));
    }

    /// Every NVRTC in a folder, in descending order of names; a file with several names is added once.
    fn folder(&mut self, folder: &Path) {
        for path in entries(folder, if cfg!(windows) { "nvrtc64_" } else { "libnvrtc.so" }) {
            let real = path.canonicalize().unwrap_or(path);
            if unusable(&real).is_none() && !self.candidates.contains(&real) {
                self.candidates.push(real);
            }
        }
    }
}

/// Why a file must not be loaded, by its path.
pub(super) fn unusable(file: &Path) -> Option<&'static str> {
    let is = |name: &str| name.eq_ignore_ascii_case("stubs");
    if file.parent().and_then(Path::file_name).is_some_and(|folder| is(&folder.to_string_lossy())) {
        return Some("is a stub, which is there for linkers and does not compile");
    }
    let name = file.file_name()?.to_string_lossy();
    name.contains(".alt.")
        .then_some("is the alternative build of the library beside it, which is meant for other programs")
}

/// The entries of a folder whose names have a prefix, in descending order; none if there is no such folder.
pub(super) fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = listed.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths.reverse();
    paths
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// A search in a temporary file system; candidates are relative to its root.
    fn search(files: &[&str], variables: &[(&str, &str)]) -> (Vec<String>, Search) {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        for file in files {
            let path = base.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let variable = |name: &str| {
            let value = variables.iter().find(|(key, _)| *key == name)?.1;
            Some(if value.is_empty() { OsString::new() } else { base.join(value).into_os_string() })
        };
        let search = Search::new(&Environment { variable: &variable, local: &base.join("usr/local") });
        let found = search.candidates.iter().map(|path| {
            let relative = path.strip_prefix(&base).unwrap_or(path);
            relative.to_string_lossy().into_owned()
        });
        (found.collect(), search)
    }

    const SYSTEM: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

    #[test]
    fn an_empty_machine_leaves_the_system_names() {
        let (found, search) = search(&[], &[]);
        assert_eq!(found, SYSTEM);
        let places = search.places.join(" ");
        for place in ["libnvrtc.so.13", "CUDA_PATH", "CUDA_HOME", "/cuda*", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            assert!(places.contains(place), "{place}: {places}");
        }
    }

    #[test]
    fn places_are_searched_in_order() {
        let files = [
            "home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "conda/lib/libnvrtc.so.12",
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.alt.so.13",
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc-builtins.so.13.0",
            "venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "usr/local/cuda-12.4/lib64/libnvrtc.so.12",
            "usr/local/lib/python3.12/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "kit/targets/x86_64-linux/lib/libnvrtc.so.14",
        ];
        let (found, _) = search(
            &files,
            &[("CUDA_HOME", "kit"), ("VIRTUAL_ENV", "venv"), ("CONDA_PREFIX", "conda"), ("HOME", "home")],
        );
        let order = [8, 6, 5, 2, 1, 0, 7].map(|index| files[index]);
        assert_eq!(found[..3], SYSTEM);
        assert_eq!(found[3..], order);
    }

    #[test]
    fn the_users_choice_excludes_all_others() {
        let files = ["usr/local/cuda/lib64/libnvrtc.so.12", "mine/libnvrtc.so.13", "mine/libnvrtc-builtins.so.13.0"];
        for (choice, expected) in
            [("mine", "mine/libnvrtc.so.13"), ("mine/libnvrtc.so.13", "mine/libnvrtc.so.13"), ("gone.so", "gone.so")]
        {
            let (found, search) = search(&files, &[("MINITORCH_NVRTC", choice)]);
            assert_eq!(found, [expected]);
            assert!(search.chosen && search.places[0].starts_with("MINITORCH_NVRTC="), "{:?}", search.places);
        }
        let (found, search) = search(&files, &[("MINITORCH_NVRTC", "")]);
        assert!(!search.chosen && found.len() == 4, "an empty variable is an absent one: {found:?}");
    }

    #[test]
    fn stubs_and_alternative_builds_are_left_out() {
        let files = [
            "kit/lib/stubs/libnvrtc.so.13",
            "kit/lib64/libnvrtc.alt.so.13",
            "mine/stubs/libnvrtc.so",
            "usr/local/cuda/lib64/libnvrtc.so.12",
        ];
        let (found, _) = search(&files, &[("CUDA_HOME", "kit")]);
        assert_eq!(found[3..], files[3..]);
        assert!(search(&files, &[("MINITORCH_NVRTC", "mine/stubs")]).0.is_empty());
        // A link to a stub is one.
        let root = tempfile::tempdir().unwrap();
        let stubs = root.path().join("stubs");
        fs::create_dir(&stubs).unwrap();
        fs::write(stubs.join("libnvrtc.so"), "").unwrap();
        std::os::unix::fs::symlink("stubs/libnvrtc.so", root.path().join("libnvrtc.so")).unwrap();
        let mut search = Search::default();
        search.folder(root.path());
        assert!(search.candidates.is_empty(), "{:?}", search.candidates);
    }

    #[test]
    fn the_python_on_the_path_is_queried_for_its_packages() {
        let venv = tempfile::tempdir().unwrap();
        let base = venv.path().canonicalize().unwrap();
        let (packages, library) = (base.join("site-packages"), "site-packages/nvidia/cu13/lib/libnvrtc.so.13");
        let library = base.join(library);
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        fs::write(&library, "").unwrap();
        let (bin, python) = crate::nvrtc::python::tests::python(&format!("echo '{}'", packages.display()));
        let variable = |name: &str| (name == "PATH").then(|| bin.path().as_os_str().to_owned());
        let mut search = Search::new(&Environment { variable: &variable, local: Path::new("/no such folder") });
        assert!(!search.candidates.contains(&library), "before it is queried");
        search.query_python();
        assert_eq!(search.candidates[3..], [&*library]);
        assert!(search.places.contains(&format!("the packages of {}", python.display())), "{:?}", search.places);
        // Another query adds nothing.
        search.query_python();
        search.interpreter = Some(python);
        search.query_python();
        assert_eq!(search.candidates[3..], [library]);
    }

    #[test]
    fn a_python_that_fails_is_a_note() {
        let (_bin, python) = crate::nvrtc::python::tests::python("echo /somewhere; exit 1");
        let mut search = Search { interpreter: Some(python), ..Search::default() };
        search.query_python();
        assert!(search.candidates.is_empty());
        assert!(search.places[0].ends_with("(failed (exit status: 1))"), "{:?}", search.places);
    }

    #[test]
    fn two_names_of_one_file_are_one_candidate() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("libnvrtc.so.13.0.88"), "").unwrap();
        for name in ["libnvrtc.so.13", "libnvrtc.so"] {
            std::os::unix::fs::symlink("libnvrtc.so.13.0.88", root.path().join(name)).unwrap();
        }
        let mut search = Search::default();
        search.folder(root.path());
        assert_eq!(search.candidates.len(), 1, "{:?}", search.candidates);
    }
}
