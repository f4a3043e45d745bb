//! The geometric means by group as an SVG bar chart on a logarithmic axis.

use crate::results::Results;
use crate::rows::Group;
use crate::table::{PEERS, group_mean, total_mean};
use std::fmt::Write;

const WIDTH: f64 = 820.0;
/// x of 1x, where minitorch is.
const ONE: f64 = 140.0;
/// x of the longest bar's end: its label follows.
const END: f64 = 690.0;
const BAR: f64 = 15.0;
const GAP: f64 = 12.0;
const TOP: f64 = 72.0;
/// Distinct in hue and in lightness.
const COLOURS: [&str; 4] = ["#d1495b", "#00798c", "#edae49", "#6b7280"];

pub fn chart(results: &Results) -> String {
    let bars = |mean: &dyn Fn(&str) -> Option<f64>| {
        let bars = PEERS.iter().zip(COLOURS).filter_map(|(&(peer, name), colour)| Some((name, colour, mean(peer)?)));
        bars.collect::<Vec<_>>()
    };
    let mut groups: Vec<_> =
        Group::ALL.iter().map(|&group| (group.name(), bars(&|peer| group_mean(results, group, peer)))).collect();
    groups.push(("all groups", bars(&|peer| total_mean(results, peer))));
    groups.retain(|(_, bars)| !bars.is_empty());
    let longest = groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.2).fold(2.0, f64::max);
    let x = |ratio: f64| ONE + (END - ONE) * ratio.ln() / longest.ln();
    let rows: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let bottom = TOP + rows as f64 * BAR + groups.len() as f64 * GAP;
    let height = bottom + 46.0;

    let mut svg = String::new();
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="12" fill="#1f2328">
<title>Time per call as a multiple of minitorch's</title>
<rect x="0.5" y="0.5" width="{}" height="{}" rx="6" fill="#ffffff" stroke="#d0d7de"/>
<text x="20" y="30" font-size="16" font-weight="bold">Time per call as a multiple of minitorch's</text>
<text x="20" y="50" fill="#57606a">geometric mean per group of rows, logarithmic axis; right of 1x is slower than minitorch</text>
"##,
        WIDTH - 1.0,
        height - 1.0
    );
    for tick in [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        if tick > longest {
            break;
        }
        let (at, colour) = (x(tick), if tick == 1.0 { "#1f2328" } else { "#d0d7de" });
        let _ = writeln!(svg, r#"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}" stroke="{colour}"/>"#);
        let _ = writeln!(
            svg,
            r##"<text x="{at:.1}" y="{}" text-anchor="middle" fill="#57606a">{tick}x</text>"##,
            bottom + 14.0
        );
    }
    let mut y = TOP + GAP / 2.0;
    for (name, bars) in &groups {
        let weight = if *name == "all groups" { r#" font-weight="bold""# } else { "" };
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        let _ = writeln!(svg, r#"<text x="{}" y="{middle:.1}" text-anchor="end"{weight}>{name}</text>"#, ONE - 12.0);
        for (peer, colour, ratio) in bars {
            let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
            let _ = writeln!(
                svg,
                r#"<rect x="{from:.1}" y="{:.1}" width="{:.1}" height="{}" fill="{colour}"/>"#,
                y + 1.0,
                (to - from).max(1.0),
                BAR - 2.0
            );
            let _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{:.1}" font-size="11">{peer} {ratio:.1}x</text>"#,
                to + 5.0,
                y + 11.5
            );
            y += BAR;
        }
        y += GAP;
    }
    let _ = writeln!(
        svg,
        r##"<text x="20" y="{}" font-size="11" fill="#57606a">{}, f32, {} at commit {}</text>"##,
        height - 12.0,
        results.machine,
        results.method.date,
        results.method.commit
    );
    svg + "</svg>\n"
}
