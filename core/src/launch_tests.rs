//! Scopes, and which reports are logged.

use super::{Extent, Launch, is_listening, launches, report};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn ran(kernel: &'static str) {
    report(|| Launch::on_threads(kernel, 2, 8));
}

fn names(launches: &[Launch]) -> Vec<&str> {
    launches.iter().map(|launch| &*launch.kernel).collect()
}

#[test]
fn a_report_outside_of_a_scope_builds_no_record() {
    let built = Cell::new(0);
    let count = || {
        report(|| {
            built.set(built.get() + 1);
            Launch::on_threads("a", 1, 1)
        });
    };
    count();
    assert_eq!((built.get(), is_listening()), (0, false));
    let ((), seen) = launches(count);
    assert_eq!((built.get(), names(&seen)), (1, vec!["a"]));
    count();
    assert_eq!((built.get(), is_listening()), (1, false));
    assert!(launches(|| ()).1.is_empty(), "what ran before a scope is not in it");
}

#[test]
fn scopes_nest() {
    let (inner, outer) = launches(|| {
        ran("a");
        let ((), first) = launches(|| ran("b"));
        ran("c");
        let ((), second) = launches(|| {
            ran("d");
            ran("e");
        });
        (first, second)
    });
    assert_eq!(names(&inner.0), ["b"]);
    assert_eq!(names(&inner.1), ["d", "e"]);
    assert_eq!(names(&outer), ["a", "b", "c", "d", "e"]);
}

#[test]
fn other_threads_are_not_logged() {
    let ((), seen) = launches(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!is_listening());
                ran("elsewhere");
                assert_eq!(names(&launches(|| ran("its own")).1), ["its own"]);
            });
        });
        ran("here");
    });
    assert_eq!(names(&seen), ["here"]);
}

#[test]
fn a_panic_restores_the_state_of_the_thread() {
    let fails = || {
        launches(|| {
            let _launch = report(|| Launch::on_threads("a", 1, 1));
            panic!("on purpose");
        })
    };
    assert!(catch_unwind(fails).is_err());
    assert!(!is_listening());
    ran("outside");
    assert_eq!(names(&launches(|| ran("b")).1), ["b"], "nothing of the scope that panicked is left");

    let ((), seen) = launches(|| {
        ran("before");
        let inner = || {
            launches(|| {
                ran("within");
                panic!("on purpose");
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(inner)).is_err());
        assert!(is_listening(), "the outer scope goes on");
        ran("after");
    });
    assert_eq!(names(&seen), ["before", "within", "after"]);
}

#[test]
fn a_composed_launch_is_logged_alone() {
    let ((), seen) = launches(|| {
        let whole = report(|| Launch::on_threads("whole", 2, 4).path("batch"));
        ran("part");
        {
            let _inner = report(|| Launch::on_threads("inner", 1, 1));
            ran("part of a part");
        }
        ran("part");
        assert_eq!(names(&launches(|| ran("asked for")).1), ["asked for"]);
        drop(whole);
        ran("next");
    });
    assert_eq!(names(&seen), ["whole", "next"]);
}

#[test]
fn a_launch_that_outlives_its_scope_has_no_effect() {
    let (whole, seen) = launches(|| report(|| Launch::on_threads("a", 1, 1)));
    assert_eq!(names(&seen), ["a"]);
    drop(whole);
    assert!(!is_listening());
}

#[test]
fn a_record_that_starts_kernels_is_logged_once() {
    let ((), seen) = launches(|| {
        report(|| {
            ran("within the record");
            Launch::on_threads("a", 1, 1)
        });
    });
    assert_eq!(names(&seen), ["a"]);
}

#[test]
fn a_launch_displays_as_one_line() {
    let lines = [
        (Launch::on_threads("copy_f32", 8, 1), "copy_f32 | 1 thread"),
        (Launch::on_threads("copy_f32", 8, 0), "copy_f32 | 1 thread"),
        (Launch::on_threads("map2_f32", 8, 3).path("row broadcast"), "map2_f32 | row broadcast | 3 threads, 3 chunks"),
        (Launch::on_threads("gemm_f32", 1, 64).path("packed"), "gemm_f32 | packed | 1 thread, 64 chunks"),
        (Launch::on_threads("gemm_f32", 2, 64).tile([12, 32]), "gemm_f32 | 2 threads, 64 chunks | tile 12 x 32"),
        (Launch::on_grid("unary_relu_f32", [4, 1, 1], [256, 1, 1], 0), "unary_relu_f32 | grid 4 x block 256"),
        (
            Launch::on_grid("conv_f32", [4, 1, 2], [16, 16, 1], 4096),
            "conv_f32 | grid 4,1,2 x block 16,16, 4096 B shared",
        ),
    ];
    for (launch, line) in lines {
        assert_eq!(launch.to_string(), line);
    }
    assert_eq!(Launch::on_threads("a", 0, 5).extent, Extent::Threads { threads: 1, chunks: 5 });
}
