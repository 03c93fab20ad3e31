//! Progress bars, on standard error and only on a terminal.

use crate::output::note;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "{msg} [{bar:30}] {human_pos}/{human_len}  {per_sec}  {elapsed} elapsed, {eta} to go";

/// A bar up to `total`; hidden where standard error is no terminal.
pub(crate) fn bar(total: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(doing);
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Says something above a bar.
pub(crate) fn say(bar: &ProgressBar, text: &str) {
    bar.suspend(|| note(&format!("esl: {text}")));
}
