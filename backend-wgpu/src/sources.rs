//! The shaders' text: a file, what it begins with, and what WGSL cannot leave open until a pipeline is made.

use crate::shader::Form;

macro_rules! shaders {
    ($($name:literal)*) => {
        /// Every file of `shaders/` but common.wgsl.
        #[cfg(test)]
        pub(crate) const FILES: &[&str] = &[$($name),*];

        /// A shader's text. Values of a workgroup are joined by subgroups or not; parameters are immediates or a uniform.
        pub(crate) fn text(file: &str, form: Form, subgroups: bool, immediates: bool) -> String {
            let body = match file {
                $($name => include_str!(concat!("../shaders/", $name, ".wgsl")),)*
                other => unreachable!("there is no shader {other}"),
            };
            let mut text = String::new();
            if form.read_halves || form.write_halves {
                text += "enable f16;\n";
            }
            text += concat!(include_str!("../shaders/common.wgsl"), include_str!("../shaders/math.wgsl"));
            if converts(file) || by_fours(file) {
                text += match form.read_halves {
                    true => include_str!("../shaders/read_halves.wgsl"),
                    false => include_str!("../shaders/read_words.wgsl"),
                };
                text += match form.write_halves {
                    true => include_str!("../shaders/write_halves.wgsl"),
                    false => include_str!("../shaders/write_words.wgsl"),
                };
            }
            if by_fours(file) {
                text += match form.quads {
                    true => include_str!("../shaders/quads.wgsl"),
                    false => include_str!("../shaders/singles.wgsl"),
                };
            }
            if is_map(file) || file == "transpose" {
                text += include_str!("../shaders/map.wgsl");
            }
            if matches!(file, "binary" | "unary") {
                text += include_str!("../shaders/remainder.wgsl");
            }
            if matches!(file, "conv" | "matmul") {
                text += include_str!("../shaders/gemm.wgsl");
            }
            if joins(file) {
                text += include_str!("../shaders/fold.wgsl");
                text += match subgroups {
                    true => include_str!("../shaders/join_subgroups.wgsl"),
                    false => include_str!("../shaders/join.wgsl"),
                };
            }
            if let Some((states, slots)) = form.slots {
                text += &slot_functions(states, slots);
            }
            text += body;
            match immediates {
                true => text.replace("@group(0) @binding(0) var<uniform>", "var<immediate>"),
                false => text,
            }
        }
    };
}

/// The bindings of optim.wgsl from 2 on, and the functions that reach them: WGSL has no array of buffers.
fn slot_functions(states: usize, slots: usize) -> String {
    let slot = |slot: usize| {
        let states = (0..states).map(move |k| (format!("state_{slot}_{k}"), "read_write"));
        [(format!("param_{slot}"), "read_write"), (format!("grad_{slot}"), "read")].into_iter().chain(states)
    };
    let mut text: String = (0..slots)
        .flat_map(slot)
        .enumerate()
        .map(|(i, (name, access))| {
            format!("@group(0) @binding({}) var<storage, {access}> {name}: array<f32>;\n", i + 2)
        })
        .collect();
    let params: Vec<_> = (0..slots).map(|slot| (slot, format!("param_{slot}"))).collect();
    let grads: Vec<_> = (0..slots).map(|slot| (slot, format!("grad_{slot}"))).collect();
    // Three states at most: an entry that asks for more than there are is not one of this rule's.
    let states: Vec<_> =
        (0..slots).flat_map(|slot| (0..states).map(move |k| (slot * 3 + k, format!("state_{slot}_{k}")))).collect();
    for (name, takes, which, buffers) in [
        ("param", "slot: u32, ", "slot", params),
        ("grad", "slot: u32, ", "slot", grads),
        ("state", "slot: u32, k: u32, ", "slot * 3u + k", states),
    ] {
        let cases = |then: &dyn Fn(&str) -> String| -> String {
            buffers.iter().map(|(case, buffer)| format!("        case {case}u: {{ {} }}\n", then(buffer))).collect()
        };
        let read = cases(&|buffer| format!("return {buffer}[i];"));
        text += &format!(
            "fn {name}({takes}i: u32) -> f32 {{\n    switch ({which}) {{\n{read}        default: {{ return 0.0; }}\n    }}\n}}\n"
        );
        if name != "grad" {
            let write = cases(&|buffer| format!("{buffer}[i] = value;"));
            text += &format!(
                "fn set_{name}({takes}i: u32, value: f32) {{\n    switch ({which}) {{\n{write}        default: {{}}\n    }}\n}}\n"
            );
        }
    }
    text
}

/// Invocations of a workgroup of an entry point, as its text says.
pub(crate) fn workgroup_size(file: &str, form: Form, entry: &str) -> u32 {
    let text = text(file, form, false, false);
    let before = text.split_once(&format!("\nfn {entry}(")).map(|(before, _)| before);
    let attribute = before.and_then(|before| before.rsplit_once("@workgroup_size("));
    let size = attribute.and_then(|(_, rest)| rest.split_once(')')).map(|(size, _)| size);
    size.and_then(|size| size.parse().ok()).unwrap_or(1)
}

/// Whether a file's elements may be f16.
fn converts(file: &str) -> bool {
    matches!(file, "binary" | "compare" | "copy" | "index" | "matmul" | "product" | "reduce" | "transpose" | "unary")
}

/// Whether a file is of element-wise functions.
fn is_map(file: &str) -> bool {
    matches!(file, "binary" | "compare" | "copy" | "unary")
}

/// Whether a file takes elements by fours, neighbours or not.
fn by_fours(file: &str) -> bool {
    is_map(file) || file == "norm"
}

/// Whether a file joins the values of a workgroup.
fn joins(file: &str) -> bool {
    matches!(file, "loss" | "norm" | "pool" | "reduce" | "softmax")
}

shaders!("binary" "compare" "conv" "copy" "index" "loss" "matmul" "norm" "optim" "pool" "product" "random" "reduce" "scan" "softmax" "sort" "transpose" "unary");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::SLOTS;

    /// What a driver may meet, without a driver: every file parses and is valid WGSL.
    #[test]
    fn every_shader_is_valid() {
        let plain = FILES.iter().filter(|file| **file != "optim").map(|file| (*file, Form::default()));
        let optim = (0..=3).flat_map(|states| {
            [1, 2, SLOTS].map(|slots| ("optim", Form { slots: Some((states, slots)), ..Form::default() }))
        });
        let halves = FILES.iter().filter(|file| converts(file)).flat_map(|file| {
            [(true, true), (true, false), (false, true)]
                .map(|(read_halves, write_halves)| (*file, Form { read_halves, write_halves, ..Form::default() }))
        });
        let forms: Vec<_> = plain.chain(optim).chain(halves).collect();
        let quads =
            forms.iter().filter(|(file, _)| by_fours(file)).map(|&(file, form)| (file, Form { quads: true, ..form }));
        let forms =
            forms.iter().copied().chain(quads).flat_map(|(file, form)| [(file, form, false), (file, form, true)]);
        for (file, form, both) in forms {
            let (subgroups, immediates) = (both, both);
            let text = text(file, form, subgroups, immediates);
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
            for entry in &module.entry_points {
                assert_eq!(
                    [workgroup_size(file, form, &entry.name), 1, 1],
                    entry.workgroup_size,
                    "{file}/{}",
                    entry.name
                );
            }
            let mut offered = naga::valid::Capabilities::empty();
            offered.set(naga::valid::Capabilities::SUBGROUP, subgroups);
            offered.set(naga::valid::Capabilities::IMMEDIATES, immediates);
            offered.set(naga::valid::Capabilities::SHADER_FLOAT16, form.read_halves || form.write_halves);
            let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), offered);
            validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
            validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
        }
    }

    /// Every file of the folder is in the list, but for those that others begin with.
    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders");
        let begin =
            ["common", "fold", "gemm", "join", "join_subgroups", "map", "math", "quads", "remainder", "singles"];
        let begin = [&begin[..], &["read_halves", "read_words", "write_halves", "write_words"]].concat();
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_string()))
            .filter(|name| !begin.contains(&name.as_str()))
            .collect();
        found.sort();
        assert_eq!(found, FILES);
    }
}
