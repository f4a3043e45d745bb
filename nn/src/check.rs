//! Checks of settings that are numbers. A panic names the owner of the setting, the setting and the value.

/// Returns a setting that must be finite and not negative.
#[track_caller]
pub(crate) fn non_negative(owner: &str, setting: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{owner}: {setting} must be a finite number of at least 0, not {value}");
    value
}

/// Returns a setting that must lie in [0, 1), such as a decay rate.
#[track_caller]
pub(crate) fn below_one(owner: &str, setting: &str, value: f64) -> f64 {
    assert!((0.0..1.0).contains(&value), "{owner}: {setting} of {value} is outside [0, 1)");
    value
}
