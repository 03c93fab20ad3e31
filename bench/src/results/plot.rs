//! Plots of runs, each as PNG and as SVG.

use super::Series;
use crate::run::{Latencies, Run, Target};
use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const SIZE: (u32, u32) = (900, 420);
pub(crate) const FONT: &str = "sans-serif";

/// A plot that was drawn.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    /// Its files' name, without extension.
    pub(super) file: String,
}

/// Plots look the same wherever they are drawn, and need no font of the system.
pub(crate) fn use_own_font() -> Result<()> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| anyhow!("the font can't be read"))
}

/// Draws a histogram of each series, and how systems grow, into this folder.
pub(super) fn draw_all(folder: &Path, all: &[Series]) -> Result<Vec<Plot>> {
    use_own_font()?;
    let mut plots = Vec::new();
    for series in all {
        let title = format!("{}: how long RPCs took", series.name);
        let plot = Plot { title, file: format!("{}-rpc", series.name) };
        let figure = Figure::histogram(&series.runs.iter().map(|run| &run.measured.communication).collect::<Vec<_>>());
        draw(folder, &plot, &figure)?;
        plots.push(plot);
    }
    for (what, file, figure) in SCALING {
        let plot = Plot { title: format!("{what} by replicas of each router"), file: file.to_owned() };
        let figure = Figure::scaling(all, what, figure);
        if figure.is_worth_drawing() {
            draw(folder, &plot, &figure)?;
            plots.push(plot);
        }
    }
    Ok(plots)
}

type Scaling = (&'static str, &'static str, fn(&Run) -> f64);
const SCALING: [Scaling; 2] = [
    ("RPC/s", "scaling-rate", |run| run.measured.rpcs_per_second),
    ("RPC p99 in ms", "scaling-p99", |run| run.measured.communication.p99_ms),
];

/// What is drawn: lines over a logarithmic axis.
#[derive(Debug)]
struct Figure {
    x: &'static str,
    y: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
    filled: bool,
}

impl Figure {
    /// Of each class of latencies its share in percent, over all runs, as steps.
    fn histogram(all: &[&Latencies]) -> Self {
        let mut classes: BTreeMap<u64, u64> = BTreeMap::new();
        for latencies in all {
            for (upper_ms, count) in &latencies.classes {
                *classes.entry((upper_ms * 1e3) as u64).or_default() += count;
            }
        }
        let total = classes.values().sum::<u64>().max(1) as f64;
        let points = classes.iter().map(|(upper_us, count)| (*upper_us as f64 / 1e3, *count as f64 / total * 100.0));
        let lines = vec![(String::new(), points.collect())];
        Self { x: "ms", y: "% of RPCs".to_owned(), lines, filled: true }
    }

    /// One line for each design and number of tasks.
    fn scaling(all: &[Series], what: &str, figure: fn(&Run) -> f64) -> Self {
        let mut lines: BTreeMap<(Target, u32), Vec<(f64, f64)>> = BTreeMap::new();
        for series in all {
            let of = &series.runs[0].parameters;
            let tasks = of.published.map_or(of.tasks, |published| published.tasks);
            let point = (f64::from(of.replicas), series.median(figure));
            lines.entry((of.target, tasks)).or_default().push(point);
        }
        let named = |((target, tasks), mut points): ((Target, u32), Vec<(f64, f64)>)| {
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            (format!("{}, {tasks} tasks", target.name()), points)
        };
        Self { x: "replicas", y: what.to_owned(), lines: lines.into_iter().map(named).collect(), filled: false }
    }

    /// One size tells nothing about growth.
    fn is_worth_drawing(&self) -> bool {
        let sizes: BTreeSet<u64> = self.lines.iter().flat_map(|(_, points)| points).map(|(x, _)| *x as u64).collect();
        sizes.len() > 1
    }

    /// From where to where the axes go.
    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let least = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let most = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let from = if least.is_finite() { least * 0.8 } else { 0.1 };
        (from..(most * 1.25).max(from * 2.0), 0.0..(top * 1.1).max(1e-3))
    }
}

fn draw(folder: &Path, plot: &Plot, figure: &Figure) -> Result<()> {
    let path = |extension| folder.join(format!("{}.{extension}", plot.file));
    let failed = |error: String| anyhow!("drawing {}: {error}", plot.file);
    let (png, svg) = (path("png"), path("svg"));
    draw_on(&BitMapBackend::new(&png, SIZE).into_drawing_area(), plot, figure).map_err(failed)?;
    draw_on(&SVGBackend::new(&svg, SIZE).into_drawing_area(), plot, figure).map_err(failed)
}

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, plot: &Plot, figure: &Figure) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(text)?;
    let (x, y) = figure.ranges();
    let mut builder = ChartBuilder::on(area);
    builder.caption(&plot.title, (FONT, 18)).margin(12).x_label_area_size(40).y_label_area_size(70);
    let mut chart = builder.build_cartesian_2d(x.log_scale(), y).map_err(text)?;
    chart.configure_mesh().x_desc(figure.x).y_desc(&figure.y).label_style((FONT, 13)).draw().map_err(text)?;
    for (number, (name, points)) in figure.lines.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        if figure.filled {
            let bars = points.iter().map(|(x, y)| Rectangle::new([(x / 1.15, 0.0), (*x, *y)], color.filled()));
            chart.draw_series(bars).map_err(text)?;
            continue;
        }
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(4);
        let drawn = chart.draw_series(line).map_err(text)?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    if !figure.filled {
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).border_style(BLACK).label_font((FONT, 13)).draw().map_err(text)?;
    }
    area.present().map_err(text)
}
