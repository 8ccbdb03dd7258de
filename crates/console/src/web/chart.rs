//! Bars, as SVG without styles or scripts of its own.

use std::fmt::Display;

use maud::{Markup, html};

/// One bar: what stands for it in words, and its parts from the bottom up, each with
/// its class.
pub(super) struct Bar {
    pub label: String,
    pub parts: Vec<(&'static str, i64)>,
}

/// Bars beside each other, the highest as high as the picture.
pub(super) fn bars(label: &dyn Display, bars: &[Bar]) -> Markup {
    const HEIGHT: f64 = 100.0;
    const WIDTH: f64 = 10.0;
    let sum = |bar: &Bar| bar.parts.iter().map(|(_, number)| *number).sum::<i64>();
    let highest = bars.iter().map(sum).max().unwrap_or_default().max(1);
    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    let scaled = |number: i64| HEIGHT * number as f64 / highest as f64;
    let width: f64 = bars.iter().map(|_| WIDTH).sum();
    let mut rects = Vec::new();
    let mut x = 0.0;
    for bar in bars {
        let mut y = HEIGHT;
        for (class, number) in &bar.parts {
            let height = scaled(*number);
            y -= height;
            if *number > 0 {
                rects.push((bar, *class, x, y, height));
            }
        }
        x += WIDTH;
    }
    html! {
        svg class="chart" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
            @for (bar, class, x, y, height) in rects {
                rect class=(class) x=(x + 1.0) y=(format!("{y:.2}")) width=(WIDTH - 2.0) height=(format!("{height:.2}")) {
                    title { (bar.label) }
                }
            }
        }
    }
}
