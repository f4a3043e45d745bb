//! With the feature `emulator`: compiles the kernels and their scheduler for the CPU. Without it: does nothing.
//!
//! A kernel file goes through the preprocessor, `emulator/rewrite.rs` and the compiler. A table of its kernels is appended to it.

#[cfg(feature = "emulator")]
#[path = "emulator/rewrite.rs"]
mod rewrite;

#[cfg(not(feature = "emulator"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "emulator")]
fn main() {
    if let Err(message) = emulator::build() {
        // Cargo takes one line.
        println!("cargo::error={}", message.replace('\n', " "));
        std::process::exit(1);
    }
}

#[cfg(feature = "emulator")]
mod emulator {
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    use crate::rewrite::{Kernel, rewrite, twice};

    /// The sanitizers to compile with, such as `address,undefined`; see scripts/emulator-sanitize.
    const SANITIZE: &str = "MINITORCH_EMULATOR_SANITIZE";

    pub(crate) fn build() -> Result<(), String> {
        for changed in ["build.rs", "emulator", "kernels"] {
            println!("cargo::rerun-if-changed={changed}");
        }
        println!("cargo::rerun-if-env-changed={SANITIZE}");
        let set = |name: &str| env::var(name).map_err(|_| format!("cargo has not set {name}"));
        let (arch, family) = (set("CARGO_CFG_TARGET_ARCH")?, set("CARGO_CFG_TARGET_FAMILY")?);
        if arch != "x86_64" || family != "unix" {
            return Err(format!(
                "the feature `emulator` needs x86-64 and Unix: it switches stacks in assembly; not {arch}"
            ));
        }
        let native = set("HOST")? == set("TARGET")?;
        let sanitize = env::var(SANITIZE).unwrap_or_default();
        println!("cargo::rustc-check-cfg=cfg(sanitized)");
        if !sanitize.is_empty() {
            println!("cargo::rustc-cfg=sanitized");
        }
        let out = PathBuf::from(set("OUT_DIR")?);

        let mut library = compiler(native, &sanitize);
        library.file("emulator/emulator.cpp");
        let (mut tables, mut kernels) = (Vec::new(), Vec::new());
        for path in kernel_files()? {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_string();
            if !stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || tables.contains(&stem) {
                return Err(format!("{}: its name is not letters, digits and _, or not the only one", path.display()));
            }
            let wrapped = out.join(format!("{stem}.cpp"));
            let (text, found) = translate(&path, &stem, &wrapped, compiler(native, &sanitize))?;
            write(&wrapped, &text)?;
            library.file(wrapped);
            for kernel in found {
                if let Some(other) = kernels.iter().find(|k: &&Kernel| k.name == kernel.name) {
                    return Err(twice(other, &kernel));
                }
                kernels.push(kernel);
            }
            tables.push(stem);
        }
        let list = out.join("tables.cpp");
        write(&list, &list_of(&tables))?;
        library.file(list);
        library
            .try_compile("minitorch_emulator")
            .map_err(|e| format!("the kernels do not compile for the emulator: {e}"))?;
        println!("cargo::rustc-link-lib=m");
        link_sanitizers(&library, &sanitize)
    }

    fn compiler(native: bool, sanitize: &str) -> cc::Build {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++20").opt_level(2).debug(false).warnings(false);
        build.include("emulator").include("kernels");
        // No implicit contraction; float4 loads alias other types, as in CUDA; and kernels neither set errno nor throw.
        let flags = ["-ffp-contract=off", "-fno-strict-aliasing", "-fno-math-errno", "-fno-exceptions", "-fno-rtti"];
        for flag in flags.into_iter().chain(["-Wno-unknown-pragmas"]) {
            build.flag(flag);
        }
        #[cfg(target_arch = "x86_64")]
        if native && std::is_x86_feature_detected!("fma") {
            build.flag("-mfma");
        }
        if !sanitize.is_empty() {
            build.flag(format!("-fsanitize={sanitize}")).flag("-fno-sanitize-recover=all");
            build.flag("-g").flag("-fno-omit-frame-pointer");
        }
        build
    }

    /// The project's kernels, and the emulator's own tests.
    fn kernel_files() -> Result<Vec<PathBuf>, String> {
        let entries = fs::read_dir("kernels").map_err(|e| format!("the folder kernels: {e}"))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // Cargo does not watch a folder through a symbolic link.
        for file in &files {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        files.retain(|file| file.extension().is_some_and(|e| e == "cu"));
        files.sort();
        files.push("emulator/tests.cu".into());
        Ok(files)
    }

    /// C++ of a kernel file, with a table of its kernels at the end.
    fn translate(
        path: &Path,
        stem: &str,
        wrapped: &Path,
        mut build: cc::Build,
    ) -> Result<(String, Vec<Kernel>), String> {
        // Files may define types and functions with equal names, so each is in an anonymous namespace.
        let file = path.display();
        write(wrapped, &format!("#include \"emulator.h\"\nnamespace {{\n#include \"{file}\"\n}}\n"))?;
        let expanded =
            build.include(".").file(wrapped).try_expand().map_err(|e| {
                format!("the feature `emulator` needs a C++20 compiler, and one that takes {file}: {e}")
            })?;
        // Messages name files relative to the crate.
        let (mut text, kernels) = rewrite(&String::from_utf8_lossy(&expanded).replace("\"./", "\""))?;
        let table = format!("extern const emulator::Kernel emulator_kernels_{stem}[]");
        text += &format!("# 1 \"table of {file}\"\n{table};\n{table} = {{\n");
        for kernel in &kernels {
            text += &format!("  {{\"{0}\", emulator::Thunk<&{0}>::call}},\n", kernel.name);
        }
        text += "  {nullptr, nullptr}};\n";
        Ok((text, kernels))
    }

    /// C++ of the list of all tables, which ends with a null.
    fn list_of(tables: &[String]) -> String {
        let mut text = "#include \"runtime.h\"\n".to_string();
        for table in tables {
            text += &format!("extern const emulator::Kernel emulator_kernels_{table}[];\n");
        }
        text += "extern \"C\" const emulator::Kernel* const emulator_tables[];\n";
        text += "extern \"C\" const emulator::Kernel* const emulator_tables[] = {\n";
        for table in tables {
            text += &format!("  emulator_kernels_{table},\n");
        }
        text + "  nullptr};\n"
    }

    /// Links the sanitizers' libraries, which rustc does not know of.
    fn link_sanitizers(build: &cc::Build, sanitize: &str) -> Result<(), String> {
        for sanitizer in sanitize.split(',').filter(|s| !s.is_empty()) {
            let library = match sanitizer {
                "address" => "asan",
                "undefined" => "ubsan",
                _ => return Err(format!("{SANITIZE} is a list of address and undefined, not {sanitizer}")),
            };
            let found = build.get_compiler().to_command().arg(format!("-print-file-name=lib{library}.so")).output();
            let path = found.map_err(|e| format!("where lib{library}.so is: {e}"))?.stdout;
            if let Some(folder) = Path::new(String::from_utf8_lossy(&path).trim()).parent() {
                println!("cargo::rustc-link-search=native={}", folder.display());
            }
            println!("cargo::rustc-link-lib=dylib={library}");
        }
        Ok(())
    }

    fn write(path: &Path, text: &str) -> Result<(), String> {
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
    }
}
