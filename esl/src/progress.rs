//! Progress bars, on standard error and only on a terminal.

use crate::output::note;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::{fmt::Write, time::Duration};

const TICK: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "{msg} [{bar:30}] {human_pos}/{human_len}  {rate}/s  {elapsed} elapsed, {eta} to go";

/// A bar up to `total`; hidden where standard error is no terminal.
pub(crate) fn bar(total: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(doing);
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        let rate = |state: &ProgressState, text: &mut dyn Write| {
            // A rate that can't be written is only not shown.
            let _ = write!(text, "{:.0}", state.per_sec());
        };
        bar.set_style(style.progress_chars("=> ").with_key("rate", rate));
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Says something above a bar.
pub(crate) fn say(bar: &ProgressBar, text: &str) {
    bar.suspend(|| note(&format!("esl: {text}")));
}
