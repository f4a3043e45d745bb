//! Which shader is run: a file in one of its forms, an entry point, and the values of constants.

use crate::sources;
use minitorch_core::DType;
use minitorch_core::launch::Launch;

/// What a file's text depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Form {
    /// Whether elements that are read, and those that are written, are f16.
    pub(crate) read_halves: bool,
    pub(crate) write_halves: bool,
    /// Whether elements are read and written by fours; of the files that say how (quads.wgsl, singles.wgsl).
    pub(crate) quads: bool,
    /// Of optim.wgsl: the state tensors of a parameter, and how many parameters a dispatch takes.
    pub(crate) slots: Option<(usize, usize)>,
}

impl Form {
    /// Elements are read as one dtype and written as another.
    pub(crate) fn of(read: DType, write: DType) -> Self {
        Form { read_halves: read == DType::F16, write_halves: write == DType::F16, ..Form::default() }
    }
}

/// A shader to run: file, entry point, and the values of its `override` constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Shader {
    /// The file's stem.
    pub(crate) file: &'static str,
    pub(crate) entry: &'static str,
    /// The value of `OP`, if the file has it.
    pub(crate) op: Option<u32>,
    pub(crate) form: Form,
}

impl Shader {
    pub(crate) fn new(file: &'static str, entry: &'static str) -> Self {
        Shader { file, entry, op: None, form: Form::default() }
    }

    pub(crate) fn op(self, op: u32) -> Self {
        Shader { op: Some(op), ..self }
    }

    pub(crate) fn form(self, form: Form) -> Self {
        Shader { form, ..self }
    }

    /// What a dispatch of it in so many workgroups reports.
    pub(crate) fn launch(self, groups: [u32; 3]) -> Launch {
        let Form { read_halves, write_halves, quads, slots } = self.form;
        let parts = [
            self.op.map(|op| format!("OP {op}")),
            quads.then(|| "by fours".to_string()),
            (read_halves || write_halves).then(|| "f16".to_string()),
            slots.map(|(_, slots)| if slots == 1 { "1 parameter".to_string() } else { format!("{slots} parameters") }),
        ];
        let path = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let block = sources::workgroup_size(self.file, self.form, self.entry);
        Launch::on_grid(format!("{}/{}", self.file, self.entry), groups, [block, 1, 1], 0).path(path)
    }
}
