//! Throughput over time as a picture.

use std::fmt::Write;

use crate::scenario::Report;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 30.0;
/// Milliseconds of one step of the line.
const STEP: u64 = 500;

/// Jobs a second, and what struck when.
pub fn draw(report: &Report) -> String {
    let (Some(first), Some(last)) = (report.ends.first(), report.ends.last()) else {
        return String::new();
    };
    let steps = ((last - first) / STEP + 1) as usize;
    let mut counts = vec![0_u32; steps];
    for end in &report.ends {
        counts[((end - first) / STEP) as usize] += 1;
    }
    let per_second = |count: u32| f64::from(count) * 1000.0 / STEP as f64;
    let most = per_second(counts.iter().copied().max().unwrap_or(1));
    let x = |at: u64| LEFT + (at as f64 - *first as f64) / (last - first).max(1) as f64 * WIDTH;
    let y = |rate: f64| TOP + HEIGHT * (1.0 - rate / most);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{}: jobs a second</text>\n",
        LEFT + WIDTH + 20.0,
        TOP + HEIGHT + 40.0,
        report.name,
    );
    for (at, fault) in &report.struck {
        let (x, is_rare) = (x(*at), fault.contains("primary"));
        let (colour, width) = if is_rare {
            ("crimson", 2)
        } else {
            ("lightgrey", 1)
        };
        let bottom = TOP + HEIGHT;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{colour}\" stroke-width=\"{width}\"><title>{fault}</title></line>"
        );
        if is_rare {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" fill=\"{colour}\">{fault}</text>",
                x + 5.0,
                TOP + 12.0
            );
        }
    }
    let points: Vec<_> = counts
        .iter()
        .enumerate()
        .map(|(n, count)| {
            let at = first + n as u64 * STEP;
            format!("{:.1},{:.1}", x(at), y(per_second(*count)))
        })
        .collect();
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"steelblue\" stroke-width=\"1.5\" points=\"{}\"/>",
        points.join(" ")
    );
    for rate in [0.0, most / 2.0, most] {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{rate:.0}</text>",
            LEFT - 5.0,
            y(rate) + 4.0
        );
    }
    for second in (0..=(last - first) / 1000).step_by(5) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{second} s</text>",
            x(first + second * 1000),
            TOP + HEIGHT + 18.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
