// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a check finds, for machines. docs/binding.md has the members.

use super::{Examined, Finding};
use crate::dts::{Place, Sources};
use codespan_reporting::diagnostic::Severity;
use serde_json::{Value, json};

/// Everything there is to say of a configuration.
#[must_use]
pub fn value(config: &str, examined: &Examined) -> Value {
    let problems = examined.findings.iter().map(|finding| problem(&examined.sources, finding));
    json!({
        "configuration": config,
        "board": examined.board.name,
        "boots": examined.is_good(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

/// What there is to say where there is nothing to check.
#[must_use]
pub fn failure(config: &str, error: &anyhow::Error) -> Value {
    let finding = Finding::error(format!("{error:#}"));
    json!({
        "configuration": config,
        "board": null,
        "boots": false,
        "problems": [problem(&Sources::default(), &finding)],
    })
}

fn problem(sources: &Sources, finding: &Finding) -> Value {
    let problem = finding.problem.as_ref();
    let place = finding.marks.first().map(|mark| &mark.place);
    let (line, column) = place.map(|place| position(sources, place)).unzip();
    json!({
        "severity": if finding.severity >= Severity::Error { "error" } else { "warning" },
        "node": problem.map(|problem| &problem.node),
        "property": problem.and_then(|problem| problem.property.as_deref()),
        "value": problem.and_then(|problem| problem.value.as_ref()),
        "rule": problem.map_or(finding.message.as_str(), |problem| &problem.rule),
        "advice": problem.and_then(|problem| problem.advice.as_deref()),
        "notes": finding.notes,
        "file": place.map(|place| sources.file(place.file).path.display().to_string()),
        "line": line,
        "column": column,
    })
}

/// Line and column, in characters, of a place's beginning; both count from 1.
fn position(sources: &Sources, place: &Place) -> (usize, usize) {
    let before = sources.file(place.file).text.get(..place.span.start).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Mark;
    use crate::check::boards::BoardTree;
    use bulkhead_plan::error::Problem;

    #[test]
    fn what_cannot_be_checked_is_a_problem_as_well() {
        let value = failure("empty", &anyhow::anyhow!("inner").context("empty has no overlay"));
        assert_eq!((&value["board"], &value["boots"]), (&Value::Null, &json!(false)));
        let problem = &value["problems"][0];
        assert_eq!(
            (&problem["severity"], &problem["rule"]),
            (&json!("error"), &json!("empty has no overlay: inner"))
        );
    }

    #[test]
    fn a_problem_tells_node_property_value_rule_and_place() {
        let mut sources = Sources::default();
        let file = sources.add("my.dtso".into(), "/dts-v1/;\n\tcpus = <9>;\n".as_bytes());
        let problem =
            Problem::new("/partitions/a", "the board has no such CPU").property("cpus").value("<0x9>");
        let mark = Mark::primary(Place { file, span: 19..20 }, "");
        let examined = Examined {
            board: BoardTree { name: "qemu-virt".into(), blob: Vec::new(), grows: true },
            planned: None,
            taken: Vec::new(),
            findings: vec![
                Finding::of(&problem, vec![mark], Severity::Error),
                Finding::error("the overlay does not compile").note("help: begin it with /dts-v1/;"),
            ],
            sources,
            bundle: Vec::new(),
        };
        let value = value("my.dtso", &examined);
        assert_eq!((&value["configuration"], &value["boots"]), (&json!("my.dtso"), &json!(false)));
        let planned = json!({
            "severity": "error", "node": "/partitions/a", "property": "cpus", "value": "<0x9>",
            "rule": "the board has no such CPU", "advice": null, "notes": [], "file": "my.dtso", "line": 2, "column": 10,
        });
        assert_eq!(value["problems"][0], planned);
        let compiled = &value["problems"][1];
        assert_eq!(
            (&compiled["rule"], &compiled["node"], &compiled["notes"]),
            (&json!("the overlay does not compile"), &Value::Null, &json!(["help: begin it with /dts-v1/;"]))
        );
    }
}
