//! Schedules against PyTorch 2: each list is what the expression beside it prints, with
//! `o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)` and the rate taken before each `s.step()`.

use super::*;
use crate::state::StateDict;

#[track_caller]
fn assert_rates(schedule: impl Schedule, pytorch: &[f64]) {
    for (step, &want) in pytorch.iter().enumerate() {
        let got = schedule.lr(step);
        assert!((got - want).abs() <= 1e-15 + 1e-12 * want, "step {step}: {got}, not {want}");
    }
}

#[test]
fn step_wise_decay() {
    assert_rates(Constant::new(0.1), &[0.1, 0.1, 0.1]);
    // s = StepLR(o, 3, gamma=0.5)
    assert_rates(StepLr::new(0.1, 3, 0.5), &[0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025]);
    // s = MultiStepLR(o, [2, 5, 5, 7], gamma=0.1)
    assert_rates(MultiStepLr::new(0.1, [7, 2, 5, 5], 0.1), &[0.1, 0.1, 0.01, 0.01, 0.01, 1e-4, 1e-4, 1e-5, 1e-5]);
    // s = ExponentialLR(o, 0.9)
    assert_rates(ExponentialLr::new(0.1, 0.9), &[0.1, 0.09, 0.081, 0.0729, 0.06561, 0.059049]);
    assert_rates(ExponentialLr::new(0.1, 0.0), &[0.1, 0.0, 0.0]);
}

#[test]
fn cosine_annealing() {
    // s = CosineAnnealingLR(o, 5, eta_min=0.01); the last two rates differ from PyTorch's, which rise again
    assert_rates(
        Cosine::new(0.1, 5).eta_min(0.01),
        &[0.1, 0.09140576474687263, 0.06890576474687263, 0.04109423525312736, 0.018594235253127367, 0.01, 0.01, 0.01],
    );
    // s = CosineAnnealingWarmRestarts(o, 2, T_mult=2, eta_min=0.01)
    assert_rates(
        CosineRestarts::new(0.1, 2, 2).eta_min(0.01),
        &[
            0.1,
            0.05500000000000001,
            0.1,
            0.08681980515339464,
            0.05500000000000001,
            0.023180194846605363,
            0.1,
            0.0965745789630079,
            0.08681980515339464,
        ],
    );
    // s = CosineAnnealingWarmRestarts(o, 3)
    assert_rates(CosineRestarts::new(0.1, 3, 1), &[0.1, 0.075, 0.025, 0.1, 0.075, 0.025, 0.1]);
    // s = OneCycleLR(o, max_lr=0.1, total_steps=10, cycle_momentum=False)
    assert_rates(
        OneCycle::new(0.1, 10),
        &[
            0.004,
            0.052,
            0.1,
            0.09504846320134738,
            0.0811745653949763,
            0.06112620219362893,
            0.03887419780637107,
            0.0188258346050237,
            0.004951936798652629,
            4e-07,
        ],
    );
}

#[test]
fn one_cycle_of_a_few_steps() {
    // s = OneCycleLR(o, max_lr=0.3, total_steps=n, cycle_momentum=False) for n = 1, 2, 3, 4
    assert_rates(OneCycle::new(0.3, 1), &[1.2e-6, 1.2e-6]);
    assert_rates(OneCycle::new(0.3, 2), &[0.24352369618492892, 1.2e-6]);
    assert_rates(OneCycle::new(0.3, 3), &[0.29832463063527354, 0.13879113080009253, 1.2e-6]);
    assert_rates(OneCycle::new(0.3, 4), &[0.012, 0.24352369618492892, 0.08491829946260977, 1.2e-6]);
}

#[test]
fn warm_up_before_another_schedule() {
    // s = SequentialLR(o, [LinearLR(o, start_factor=0.25, total_iters=4), StepLR(o, 2, gamma=0.5)], milestones=[4])
    let pytorch = [0.025, 0.04375, 0.0625, 0.08125, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025];
    assert_rates(WarmUp::new(4, 0.25, StepLr::new(0.1, 2, 0.5)), &pytorch);
    let boxed: Box<dyn Schedule> = Box::new(StepLr::new(0.1, 2, 0.5));
    assert_rates(WarmUp::new(4, 0.25, boxed), &pytorch);
    assert_rates(WarmUp::new(0, 0.25, Constant::new(0.1)), &[0.1, 0.1]);
}

#[test]
fn a_plateau_lowers_the_rate() {
    // s = ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=1e-3, cooldown=2, min_lr=0.02); the rates after
    // s.step(loss)
    let mut plateau = Plateau::new(0.1).factor(0.5).patience(1).threshold(1e-3).cooldown(2).min_lr(0.02);
    let losses = [1.0, 0.9, 0.95, 0.9, 0.89995, 0.8, 0.9, f64::NAN];
    let pytorch = [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.02, 0.02, 0.02, 0.02, 0.02];
    for (step, want) in pytorch.into_iter().enumerate() {
        let got = plateau.observe(losses.get(step).copied().unwrap_or(0.9));
        assert!((got - want).abs() < 1e-15, "step {step}: {got}, not {want}");
        assert_eq!(plateau.lr(step), got);
    }
}

#[test]
fn a_resumed_plateau_continues() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plateau");
    let new = || Plateau::new(0.1).factor(0.3).patience(1).cooldown(2).min_lr(1e-5);
    let losses = [f64::NAN, 1.0, 0.9, 0.95, 0.9, 0.9, 0.9, 0.8999, 0.9, 0.9, 0.7, 0.9, 0.9, 0.9, 0.9];
    for at in 0..losses.len() {
        let mut whole = new();
        for &loss in &losses[..at] {
            whole.observe(loss);
        }
        whole.save(&path).unwrap();
        // Into a new one, and into one that has observed something else.
        let mut used = new();
        used.observe(0.1);
        for mut resumed in [new(), used] {
            resumed.load(&path).unwrap();
            assert_eq!(resumed, whole);
            let mut whole = whole;
            for &loss in &losses[at..] {
                assert_eq!(resumed.observe(loss).to_bits(), whole.observe(loss).to_bits());
            }
        }
    }
}

#[test]
fn a_file_that_is_no_plateau_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plateau");
    let mut plateau = Plateau::new(0.1).patience(1);
    plateau.observe(1.0);
    plateau.save(&path).unwrap();
    let saved = StateDict::read(&path).unwrap();
    let before = plateau;
    for (key, value, reason) in [
        ("schedule", Some("Cosine"), "schedule is Cosine"),
        ("lr", Some("-0.1"), "lr is -0.1"),
        ("lr", Some("inf"), "lr is inf"),
        ("lr", None, "lr is missing"),
        ("best", Some("NaN"), "best is NaN"),
        ("num_bad_epochs", Some("1.5"), "num_bad_epochs is 1.5"),
        ("cooldown_counter", Some("\u{1b}[2J"), "cooldown_counter is \"\\u{1b}[2J\""),
    ] {
        let mut file = saved.clone();
        file.metadata.remove(key);
        file.metadata.extend(value.map(|value| (key.to_string(), value.to_string())));
        file.write(&path).unwrap();
        let message = plateau.load(&path).unwrap_err().to_string();
        assert!(message.ends_with(&format!("is not the state of a Plateau: {reason}")), "{message}");
        assert_eq!(plateau, before);
    }
    assert!(plateau.load(folder.path().join("none")).is_err());
}

#[test]
#[should_panic(expected = "CosineRestarts: the first cycle and the factor must be at least 1, not 0 and 2")]
fn bad_settings_say_what_is_wrong() {
    let _ = CosineRestarts::new(0.1, 0, 2);
}
