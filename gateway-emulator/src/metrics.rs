//! What is counted.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// How a command fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Fared {
    /// It was taken up.
    Taken,
    /// It could not be read.
    Malformed,
    /// By a fault, nothing was done.
    Silenced,
    /// There was no room for it.
    Dropped,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answered {
    /// It was carried out.
    Ack,
    /// It was refused.
    Nack,
    /// By a fault, a second time.
    Duplicate,
    /// By a fault, nothing.
    Lost,
    /// What nobody had asked for.
    Forged,
    /// There was no room for the answer.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    fared: Fared,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    kind: Answered,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    action: &'static str,
}

/// All metrics of the emulator.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    commands: Family<CommandLabels, Counter>,
    answers: Family<AnswerLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    /// Commands that the broker had retained: none should ever be.
    pub retained_commands: Counter,
    /// Report messages.
    pub reports: Counter,
    /// Labels in report messages.
    pub sightings: Counter,
}

impl Metrics {
    /// Registers them all.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("commands", "Commands from the backbone, by how they fared", metrics.commands.clone());
        registry.register("answers", "Answers to commands, by kind", metrics.answers.clone());
        registry.register("writes", "Commands carried out at a label, by action", metrics.writes.clone());
        registry.register("retained_commands", "Commands that were retained", metrics.retained_commands.clone());
        registry.register("reports", "Report messages", metrics.reports.clone());
        registry.register("sightings", "Labels in report messages", metrics.sightings.clone());
        metrics
    }

    /// Counts a command.
    pub fn command(&self, fared: Fared) {
        self.commands.get_or_create(&CommandLabels { fared }).inc();
    }

    /// Counts an answer.
    pub fn answer(&self, kind: Answered) {
        self.answers.get_or_create(&AnswerLabels { kind }).inc();
    }

    /// Counts a command that was carried out.
    pub fn write(&self, action: protocol::Action) {
        self.writes.get_or_create(&WriteLabels { action: action.as_str() }).inc();
    }
}
