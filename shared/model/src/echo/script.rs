//! The directives of a message: what it asks of its reply.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::event::FinishReason;

/// How a reply breaks off.
#[derive(Debug, Clone, Copy)]
pub(super) enum Break {
    Fail,
    Throttle,
    Eof,
    Hang,
}

/// What a message asks for, in its directives.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) text: String,
    pub(super) directives: Vec<(String, Option<String>)>,
}

impl Script {
    /// Takes well-formed directives out of a text; anything else stays.
    pub(super) fn parse(text: &str) -> Self {
        let mut script = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("[[") {
            script.text.push_str(before);
            if let Some((inside, after)) = after.split_once("]]") {
                let (name, value) = match inside.trim().split_once(' ') {
                    Some((name, value)) => (name, Some(value.trim().to_owned())),
                    None => (inside.trim(), None),
                };
                script.directives.push((name.to_owned(), value));
                rest = after;
            } else {
                script.text.push_str("[[");
                rest = after;
            }
        }
        script.text.push_str(rest);
        script
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.directives.iter().any(|(known, _)| known == name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.directives
            .iter()
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_deref())
    }

    /// The tools to call, each with its input.
    pub(super) fn calls(&self) -> Vec<(&str, Value)> {
        let values = self.directives.iter().filter(|(name, _)| name == "tool");
        values
            .filter_map(|(_, value)| value.as_deref())
            .map(|value| match value.split_once(' ') {
                Some((name, input)) => (name, serde_json::from_str(input).unwrap_or_default()),
                None => (value, Value::Null),
            })
            .collect()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    pub(super) fn refusal(&self) -> Option<Error> {
        let (what, seconds) = match self.value("refuse")?.split_once(' ') {
            Some((what, seconds)) => (what, seconds.parse().ok()),
            None => (self.value("refuse")?, None),
        };
        let kind = match what {
            "throttled" => ErrorKind::Throttled {
                retry_after: seconds.map(Duration::from_secs),
            },
            "invalid" => ErrorKind::Refused,
            _ => ErrorKind::Unavailable,
        };
        Some(Error::new(kind, format!("echo refuses as told: {what}")))
    }

    pub(super) fn breaks(&self) -> Option<(usize, Break)> {
        [
            ("fail", Break::Fail),
            ("throttle", Break::Throttle),
            ("eof", Break::Eof),
            ("hang", Break::Hang),
        ]
        .into_iter()
        .find_map(|(name, how)| {
            let after = usize::try_from(self.number(name)?).ok()?;
            Some((after, how))
        })
    }

    pub(super) fn reason(&self) -> FinishReason {
        [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ContentFilter,
            FinishReason::ToolCalls,
            FinishReason::Error,
            FinishReason::Other,
        ]
        .into_iter()
        .find(|reason| self.value("finish") == Some(reason.as_str()))
        .unwrap_or(FinishReason::Stop)
    }
}
