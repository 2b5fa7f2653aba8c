// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a check finds, and how it is shown: the source, with the place underlined.

use crate::dts::{Place, Sources};
use crate::terminal::{plain_line, plain_source};
use anyhow::Result;
use bulkhead_plan::error::Problem;
use codespan_reporting::diagnostic::{Diagnostic, Label, LabelStyle, Severity};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term::{self, Config, Styles, StylesWriter, termcolor};
use std::io::{IsTerminal, stderr};

/// Something to say of a configuration.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in one sentence without its full stop.
    pub message: String,
    /// The places, the most important first.
    pub marks: Vec<Mark>,
    /// What else there is to say, and the hypervisor does not.
    pub notes: Vec<String>,
    /// What the hypervisor says of it at boot, if it is one of the hypervisor's own.
    pub problem: Option<Problem>,
}

/// A place, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The place.
    pub place: Place,
    /// What stands beside it; may be empty.
    pub text: String,
    style: LabelStyle,
}

impl Mark {
    /// The place that is to blame.
    pub fn primary(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into(), style: LabelStyle::Primary }
    }

    /// A place that explains.
    pub fn secondary(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into(), style: LabelStyle::Secondary }
    }
}

impl Finding {
    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        let (marks, notes) = (Vec::new(), Vec::new());
        Self { severity: Severity::Error, message: message.into(), marks, notes, problem: None }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// What the planner says, at `marks`.
    #[must_use]
    pub fn of(problem: &Problem, marks: Vec<Mark>, severity: Severity) -> Self {
        // Beside its place a value need not be repeated.
        let message = if marks.is_empty() {
            problem.to_string().trim_end_matches('.').to_owned()
        } else {
            problem.rule.to_string()
        };
        Self { severity, message, marks, notes: Vec::new(), problem: Some(problem.clone()) }
    }

    /// Adds a place.
    #[must_use]
    pub fn mark(mut self, mark: Mark) -> Self {
        self.marks.push(mark);
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether it keeps the configuration from booting.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity >= Severity::Error
    }

    fn diagnostic(&self) -> Diagnostic<usize> {
        let label = |mark: &Mark| {
            Label::new(mark.style, mark.place.file.0, mark.place.span.clone())
                .with_message(plain_line(&mark.text))
        };
        let placed = self.problem.iter().filter(|_| !self.marks.is_empty());
        let notes = placed.flat_map(beside_place).chain(self.notes.clone());
        Diagnostic::new(self.severity)
            .with_message(plain_line(&self.message))
            .with_labels(self.marks.iter().map(label).collect())
            .with_notes(notes.map(|note| plain_line(&note)).collect())
    }
}

/// What of a problem its place does not show.
fn beside_place(problem: &Problem) -> Vec<String> {
    let help = |advice: &str| format!("help: {advice}{}", if advice.ends_with('?') { "" } else { "." });
    let node = match (&problem.property, &problem.value) {
        (Some(property), Some(value)) => format!("in {}: {property} = {value}", problem.node),
        (Some(property), None) => format!("in {}: {property}", problem.node),
        (None, _) => format!("in {}", problem.node),
    };
    problem.advice.as_deref().map(help).into_iter().chain([node]).collect()
}

fn files(sources: &Sources) -> SimpleFiles<String, String> {
    let mut files = SimpleFiles::new();
    for file in sources.files() {
        files.add(plain_line(&file.path.display().to_string()), plain_source(&file.text));
    }
    files
}

/// Shows findings on standard error, in colours if it is a terminal and the user has not set NO_COLOR.
///
/// # Errors
/// When standard error cannot be written to.
pub fn print(sources: &Sources, findings: &[Finding]) -> Result<()> {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = stderr().is_terminal() && !refused;
    let choice = if colour { termcolor::ColorChoice::Always } else { termcolor::ColorChoice::Never };
    let (files, styles) = (files(sources), Styles::default());
    let stream = termcolor::StandardStream::stderr(choice);
    let mut writer = StylesWriter::new(stream.lock(), &styles);
    for finding in findings {
        term::emit_to_write_style(&mut writer, &Config::default(), &files, &finding.diagnostic())?;
    }
    Ok(())
}

/// Findings as they are shown where there is no terminal.
///
/// # Errors
/// When a place is not in its file.
pub fn text(sources: &Sources, findings: &[Finding]) -> Result<String> {
    let (files, mut text) = (files(sources), String::new());
    for finding in findings {
        text += &term::emit_into_string(&Config::default(), &files, &finding.diagnostic())?;
    }
    Ok(text)
}
