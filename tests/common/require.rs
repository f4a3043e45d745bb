//! `MINITORCH_REQUIRE=cpu,cuda-emu`: backends whose absence is a failure, so that a CI job that tests nothing fails.

/// Its names.
pub(crate) fn names() -> Vec<String> {
    let list = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A backend is absent, for a reason.
///
/// # Panics
/// If it is required.
pub(crate) fn absent(name: &str, why: &str) {
    let required = names().iter().any(|required| required == name);
    assert!(!required, "MINITORCH_REQUIRE: {name} is required and did not run: {why}");
}
