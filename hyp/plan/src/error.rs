// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with a configuration, said so that its author can put it right.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One thing that is wrong. One pointer, as nearly everything that plans may return it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem(Box<Details>);

/// Where, what was found, the rule that it breaks, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Details {
    /// Path of the node, or what stands in its place (`"bundle"`).
    pub node: String,
    /// The property of that node, if one is to blame.
    pub property: Option<Cow<'static, str>>,
    /// The offending value, as it would be written in source.
    pub value: Option<String>,
    /// The rule that is broken, without a full stop.
    pub rule: Cow<'static, str>,
    /// What to do about it, without a full stop; or a question.
    pub advice: Option<Cow<'static, str>>,
}

impl Problem {
    /// A problem with `node`: `rule` says what is not as it must be.
    #[must_use]
    pub fn new(node: impl Into<String>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self::of(node.into(), rule.into())
    }

    #[inline(never)]
    fn of(node: String, rule: Cow<'static, str>) -> Self {
        Self(Box::new(Details { node, property: None, value: None, rule, advice: None }))
    }

    /// Blames another node.
    #[must_use]
    #[inline(never)]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.0.node = node.into();
        self
    }

    /// Names another rule.
    #[must_use]
    #[inline(never)]
    pub fn rule(mut self, rule: impl Into<Cow<'static, str>>) -> Self {
        self.0.rule = rule.into();
        self
    }

    /// Names the property.
    #[must_use]
    #[inline(never)]
    pub fn property(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.0.property = Some(name.into());
        self
    }

    /// Shows the value.
    #[must_use]
    #[inline(never)]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.0.value = Some(value.into());
        self
    }

    /// Says what to do.
    #[must_use]
    #[inline(never)]
    pub fn advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Says which of `names` the `word` was probably meant to be; where none is near, `there_is` and all of them.
    #[must_use]
    #[inline(never)]
    pub fn or_near(self, word: &str, names: &[&str], there_is: &str) -> Self {
        let quote = if self.value.is_some() { "\"" } else { "" };
        let advice = match nearest(word, names) {
            Some(near) => alloc::format!("Did you mean {quote}{near}{quote}?"),
            None => alloc::format!("{there_is} {}", listed(names)),
        };
        self.advice(advice)
    }
}

impl core::ops::Deref for Problem {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.node)?;
        match (&self.property, &self.value) {
            (Some(property), Some(value)) => write!(f, "{property} = {value}: ")?,
            (Some(property), None) => write!(f, "{property}: ")?,
            (None, Some(value)) => write!(f, "{value}: ")?,
            (None, None) => {}
        }
        write!(f, "{}.", self.rule)?;
        if let Some(advice) = &self.advice {
            write!(f, " {advice}{}", if advice.ends_with('?') { "" } else { "." })?;
        }
        Ok(())
    }
}

impl core::error::Error for Problem {}

/// All that is wrong, in the order in which it was found. Never empty when returned as an error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Errors(pub Vec<Problem>);

impl Errors {
    /// No errors yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one, unless the last one says the same.
    #[inline(never)]
    pub fn push(&mut self, problem: Problem) {
        if self.0.last() != Some(&problem) {
            self.0.push(problem);
        }
    }

    /// Keeps a success, notes a failure.
    pub fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.push(problem)).ok()
    }

    /// Keeps a success, notes every failure.
    pub fn note_all<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result.map_err(|errors| self.0.extend(errors.0)).ok()
    }

    /// `value` if nothing is wrong, otherwise the errors.
    ///
    /// # Errors
    /// When any problem has been noted.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self(alloc::vec![problem])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Errors {}

/// Lists names as prose: `a, b and c`. Of more than anybody reads, the first few and how many more.
pub(crate) fn listed<T: fmt::Display>(items: &[T]) -> String {
    const MOST: usize = 32;
    const SHOWN: usize = 8;
    let shown = if items.len() > MOST { SHOWN } else { items.len() };
    let mut words: Vec<String> = items.iter().take(shown).map(|item| alloc::format!("{item}")).collect();
    if items.len() > shown {
        words.push(alloc::format!("{} more", items.len().saturating_sub(shown)));
    }
    match words.split_last() {
        None => String::from("none"),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => alloc::format!("{} and {last}", rest.join(", ")),
    }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters differ.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let limit = word.len().div_ceil(3);
    let scored = candidates.iter().map(|candidate| (distance(word, candidate), *candidate));
    scored.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

/// Levenshtein's distance between two short words, in bytes. Words over 64 bytes are far from all.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let substituted = diagonal.saturating_add(usize::from(x != y));
            diagonal = *cell;
            left = substituted.min(diagonal.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kernel", "kernel"), 0);
    }

    #[test]
    fn the_nearest_word_is_offered_only_if_near() {
        assert_eq!(nearest("kernal", &["cpus", "kernel", "memory"]), Some("kernel"));
        assert_eq!(nearest("xyzzy", &["cpus", "kernel", "memory"]), None);
    }

    #[test]
    fn names_are_listed_as_prose() {
        assert_eq!(listed::<u32>(&[]), "none");
        assert_eq!(listed(&[1]), "1");
        assert_eq!(listed(&[1, 2, 3]), "1, 2 and 3");
        assert_eq!(listed(&Vec::from_iter(4..128)), "4, 5, 6, 7, 8, 9, 10, 11 and 116 more");
    }

    #[test]
    fn a_problem_reads_as_a_sentence() {
        let problem = Problem::new("/partitions/a", "the board has no such CPU")
            .property("cpus")
            .value("<7>")
            .advice("Its CPUs are 0 and 1");
        assert_eq!(
            alloc::format!("{problem}"),
            "/partitions/a: cpus = <7>: the board has no such CPU. Its CPUs are 0 and 1."
        );
    }
}
