//! The shaders' text.

macro_rules! shaders {
    ($($name:literal)*) => {
        /// Every file of `shaders/` but common.wgsl.
        #[cfg(test)]
        pub(crate) const FILES: &[&str] = &[$($name),*];

        /// A shader's text, with what it begins with.
        pub(crate) fn text(file: &str, subgroups: bool) -> String {
            let body = match file {
                $($name => include_str!(concat!("../shaders/", $name, ".wgsl")),)*
                other => unreachable!("there is no shader {other}"),
            };
            let mut text = concat!(include_str!("../shaders/common.wgsl"), include_str!("../shaders/math.wgsl")).to_string();
            if matches!(file, "binary" | "compare" | "copy" | "unary") {
                text += include_str!("../shaders/map.wgsl");
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
            text + body
        }
    };
}

/// Whether a file joins the values of a workgroup.
fn joins(file: &str) -> bool {
    matches!(file, "loss" | "norm" | "reduce" | "softmax")
}

shaders!("binary" "compare" "conv" "copy" "index" "loss" "matmul" "norm" "optim" "pool" "product" "random" "reduce" "scan" "softmax" "sort" "unary");

#[cfg(test)]
mod tests {
    use super::*;

    /// What a driver may meet, without a driver: every file parses and is valid WGSL.
    #[test]
    fn every_shader_is_valid() {
        for (&file, subgroups) in FILES.iter().flat_map(|file| [(file, false), (file, true)]) {
            let text = text(file, subgroups);
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("shaders/{file}.wgsl: {}", error.emit_to_string(&text)));
            let offered = match subgroups {
                true => naga::valid::Capabilities::SUBGROUP,
                false => naga::valid::Capabilities::empty(),
            };
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
        let begin = ["common", "fold", "gemm", "join", "join_subgroups", "map", "math"];
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
