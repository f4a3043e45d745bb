//! A chart of GFLOP/s over the size as SVG, with logarithmic axes and labelled lines.

/// A line of the chart.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Size and GFLOP/s.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 750.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 490.0;

/// The minimal distance of two labels in pixels.
const LABEL_DISTANCE: f64 = 21.0;

/// Colours that can be told apart with colour blindness and in print.
fn colour(name: &str) -> &'static str {
    match name {
        "cpu" => "#0072b2",
        "cuda" => "#009e73",
        "wgpu" | "wgpu, software" => "#d55e00",
        "cuda-emu" => "#aa4499",
        _ => "#555555",
    }
}

/// The chart of these lines.
pub(crate) fn chart(lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |pick: fn(&(f64, f64)) -> f64, floor: fn(f64) -> f64, ceil: fn(f64) -> f64| {
        let (low, high) = points().map(pick).fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        if low > high { (0.0, 1.0) } else { (floor(low), ceil(high).max(floor(low) + 1.0)) }
    };
    let (x_low, x_high) = range(|p| p.0.log2(), f64::floor, f64::ceil);
    let (y_low, y_high) = range(|p| p.1.log10(), f64::floor, f64::ceil);
    let x = |size: f64| LEFT + (size.log2() - x_low) / (x_high - x_low) * (RIGHT - LEFT);
    let y = |rate: f64| BOTTOM - (rate.log10() - y_low) / (y_high - y_low) * (BOTTOM - TOP);

    let mut svg = String::new();
    let mut put = |line: String| {
        svg += &line;
        svg.push('\n');
    };
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="DejaVu Sans, Arial, sans-serif" font-size="16" fill="{INK}">"#
    ));
    put(format!(r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#));
    put(format!(
        r#"<text x="{LEFT}" y="34" font-size="20">Product of two square F32 matrices: GFLOP/s by size</text>"#
    ));
    for power in y_low as i32..=y_high as i32 {
        let at = y(10f64.powi(power));
        put(format!(r##"<line x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}" stroke="#cccccc"/>"##));
        put(format!(
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 10.0,
            at + 6.0,
            power_of_ten(power)
        ));
        for step in 2..10 {
            let at = y(step as f64 * 10f64.powi(power));
            if power < y_high as i32 {
                put(format!(r##"<line x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}" stroke="#f0f0f0"/>"##));
            }
        }
    }
    for power in x_low as i32..=x_high as i32 {
        let size = 2f64.powi(power);
        let at = x(size);
        put(format!(r##"<line x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{BOTTOM}" stroke="#e4e4e4"/>"##));
        put(format!(r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{size}</text>"#, BOTTOM + 26.0));
    }
    put(format!(
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">rows = columns = k</text>"#,
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 54.0
    ));
    put(format!(
        r#"<text transform="translate(24 {:.1}) rotate(-90)" text-anchor="middle">GFLOP/s</text>"#,
        (TOP + BOTTOM) / 2.0
    ));
    for line in lines {
        let path: Vec<String> =
            line.points.iter().map(|&(size, rate)| format!("{:.1},{:.1}", x(size), y(rate))).collect();
        let dash = if line.name == "naive loop" { r#" stroke-dasharray="7 5""# } else { "" };
        let ink = colour(line.name);
        put(format!(r#"<polyline points="{}" fill="none" stroke="{ink}" stroke-width="2.5"{dash}/>"#, path.join(" ")));
        for point in &path {
            let (cx, cy) = point.split_once(',').unwrap_or_default();
            put(format!(r#"<circle cx="{cx}" cy="{cy}" r="4" fill="{ink}"/>"#));
        }
    }
    // Labels from top to bottom, moved down where two would overlap.
    let mut ends: Vec<(f64, f64, &Line)> =
        lines.iter().filter_map(|line| line.points.last().map(|&(size, rate)| (x(size), y(rate), line))).collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    for i in 1..ends.len() {
        let above = ends[..i].iter().filter(|above| (above.0 - ends[i].0).abs() < 1.0).map(|above| above.1);
        ends[i].1 = above.fold(ends[i].1, |at, above| at.max(above + LABEL_DISTANCE));
    }
    for (at, height, line) in ends {
        let (ink, name) = (colour(line.name), line.name);
        put(format!(
            r#"<text x="{:.1}" y="{:.1}" fill="{ink}" font-weight="bold">{name}</text>"#,
            at + 12.0,
            height + 6.0
        ));
    }
    svg += "</svg>\n";
    svg
}

const INK: &str = "#222222";

fn power_of_ten(power: i32) -> String {
    if power >= 0 { format!("{}", 10f64.powi(power)) } else { format!("{:.*}", -power as usize, 10f64.powi(power)) }
}
