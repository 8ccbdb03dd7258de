//! The picture of what was measured.

use std::path::Path;

use plotters::prelude::*;

/// The rates of one number of processes and finished rows.
pub struct Curve {
    pub finished: usize,
    pub processes: usize,
    /// Threads of each process, and jobs per second.
    pub points: Vec<(usize, f64)>,
}

impl Curve {
    fn name(&self) -> String {
        let processes = match self.processes {
            1 => "1 process".to_owned(),
            n => format!("{n} processes"),
        };
        let finished = match self.finished {
            0 => "no finished rows".to_owned(),
            n => format!("{} million finished rows", n as f64 / 1e6),
        };
        format!("{processes}, {finished}")
    }
}

/// Colours that people who see few of them tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// Draws the curves into this file.
pub fn draw(file: &Path, database: &str, curves: &[Curve]) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (Some(first), Some(last)) = (
        points().map(|point| point.0).min(),
        points().map(|point| point.0).max(),
    ) else {
        return;
    };
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let area = SVGBackend::new(file, (760, 420)).into_drawing_area();
    area.fill(&WHITE).expect("a file that can be written");
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .caption(format!("Jobs per second: {database}"), ("sans-serif", 18))
        .build_cartesian_2d(
            (first as f64..last as f64 * 1.05).log_scale().base(2.0),
            0.0..highest * 1.1,
        )
        .expect("axes");
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("threads of each process")
        .x_label_formatter(&|threads| format!("{threads:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .draw()
        .expect("a grid");
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points = || {
            let points = curve.points.iter();
            points.map(|(threads, rate)| (*threads as f64, *rate))
        };
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
            .expect("a line")
            .label(curve.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart
            .draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))
            .expect("points");
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .expect("a legend");
    area.present().expect("a file that can be written");
}
