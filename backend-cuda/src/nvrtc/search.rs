//! Where an NVRTC library may lie: in NVIDIA's toolkit, in a distribution's package or in a Python wheel.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Names for the system's own search. A folder is listed instead, so that it may hold a version not known here.
const NAMES: &[&str] = if cfg!(windows) {
    &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
} else if cfg!(target_os = "linux") {
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
} else {
    &[]
};

/// Where the toolkit keeps its libraries, below its own folder.
const TOOLKIT: &[&str] = if cfg!(windows) {
    &["bin", "bin/x64"]
} else {
    &["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
};

/// Where a wheel keeps its libraries, below its own folder.
const WHEEL: &[&str] = if cfg!(windows) { &["bin", "bin/x86_64"] } else { &["lib"] };

/// What the search depends on, so that a test can invent it.
pub(super) struct Environment<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// `/usr/local`.
    pub(super) local: &'a Path,
}

/// What is to be tried.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Files in the order of preference; one without a folder is for the system's own search.
    pub(super) candidates: Vec<PathBuf>,
    /// Where they were sought, in words.
    pub(super) places: Vec<String>,
    /// The user said which one, so no other will do and its version is not questioned.
    pub(super) chosen: bool,
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
        // What pip does without a virtual environment: for the user, or for all.
        let user = path("HOME").map(|home| home.join(".local"));
        for root in user.iter().map(PathBuf::as_path).chain([environment.local]) {
            search.places.push(format!("{}/lib/python3*", root.display()));
            search.python(root);
        }
        search
    }

    /// The wheels of a Python installation: `nvidia/cu13`, and `nvidia/cuda_nvrtc` before CUDA 13.
    fn python(&mut self, root: &Path) {
        let mut packages = vec![root.join("Lib/site-packages")];
        for python in entries(&root.join("lib"), "python3") {
            packages.extend(["site-packages", "dist-packages"].map(|name| python.join(name)));
        }
        for wheel in packages.iter().flat_map(|packages| entries(&packages.join("nvidia"), "cu")) {
            self.folders(&wheel, WHEEL);
        }
    }

    fn folders(&mut self, root: &Path, below: &[&str]) {
        below.iter().for_each(|below| self.folder(&root.join(below)));
    }

    /// Every NVRTC in a folder, the newest name first, each file once whatever its names.
    fn folder(&mut self, folder: &Path) {
        for path in entries(folder, if cfg!(windows) { "nvrtc64_" } else { "libnvrtc.so" }) {
            let real = path.canonicalize().unwrap_or(path);
            // On Windows the compiler's parts share its prefix.
            let part = real.file_name().is_some_and(|name| name.to_string_lossy().contains(".alt."));
            if !part && !self.candidates.contains(&real) {
                self.candidates.push(real);
            }
        }
    }
}

/// The entries of a folder whose names begin so, backwards by name; none if there is no such folder.
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

    /// A search in an invented file system; what it finds is given relative to the root.
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
    fn every_place_is_looked_at_in_order() {
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
