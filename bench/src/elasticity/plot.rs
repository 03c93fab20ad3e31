//! Load, replicas, backlog and latency over time, one below the other.

use super::record::Sample;
use crate::results::{FONT, use_own_font};
use anyhow::{Result, anyhow};
use plotters::{coord::Shift, prelude::*};
use std::path::Path;

const SIZE: (u32, u32) = (900, 960);
const COLORS: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44)];

/// One line of a panel.
type Line = (String, Vec<(f64, f64)>);

struct Panel {
    title: &'static str,
    lines: Vec<Line>,
}

/// Draws `elasticity.png` and `elasticity.svg`; the time of the step is shaded.
pub(super) fn draw(folder: &Path, samples: &[Sample], step: (f64, f64)) -> Result<()> {
    use_own_font()?;
    let panels = panels(samples);
    let failed = |error: String| anyhow!("drawing the plot: {error}");
    let (png, svg) = (folder.join("elasticity.png"), folder.join("elasticity.svg"));
    draw_on(&BitMapBackend::new(&png, SIZE).into_drawing_area(), &panels, step).map_err(failed)?;
    draw_on(&SVGBackend::new(&svg, SIZE).into_drawing_area(), &panels, step).map_err(failed)
}

fn panels(samples: &[Sample]) -> [Panel; 4] {
    let line = |name: &str, value: &dyn Fn(&Sample) -> Option<f64>| {
        let points = samples.iter().filter_map(|sample| Some((sample.second, value(sample)?)));
        (name.to_owned(), points.collect())
    };
    let roles = samples.first().map(|first| first.replicas.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
    let replicas = |role: &&'static str| line(role, &|sample| sample.replicas.get(role).map(|count| f64::from(*count)));
    [
        Panel { title: "load, tasks/s", lines: vec![line("", &|sample| Some(sample.tasks_per_second.into()))] },
        Panel { title: "replicas", lines: roles.iter().map(replicas).collect() },
        Panel {
            title: "backlog, waiting or in hand",
            lines: vec![
                line("tasks", &|sample| Some(sample.tasks_backlog)),
                line("RPCs", &|sample| Some(sample.rpc_backlog)),
            ],
        },
        Panel { title: "p99, task due to outcome, ms", lines: vec![line("", &|sample| sample.p99_ms)] },
    ]
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, panels: &[Panel], step: (f64, f64)) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(text)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((panels.len(), 1))) {
        draw_panel(&area, panel, step).map_err(text)?;
    }
    area.present().map_err(text)
}

fn draw_panel<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    panel: &Panel,
    step: (f64, f64),
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(1.0, f64::max) * 1.1;
    let mut builder = ChartBuilder::on(area);
    builder.caption(panel.title, (FONT, 16)).margin(8).x_label_area_size(26).y_label_area_size(60);
    let mut chart = builder.build_cartesian_2d(0.0..end, 0.0..top)?;
    let shade = Rectangle::new([(step.0, 0.0), (step.1.min(end), top)], BLUE.mix(0.06).filled());
    chart.draw_series([shade])?;
    chart.configure_mesh().max_light_lines(1).x_desc("s").label_style((FONT, 12)).draw()?;
    for ((name, points), color) in panel.lines.iter().zip(COLORS.iter().cycle()) {
        let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        if !name.is_empty() {
            drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
        }
    }
    if panel.lines.len() > 1 {
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).border_style(BLACK).label_font((FONT, 12)).draw()?;
    }
    Ok(())
}
