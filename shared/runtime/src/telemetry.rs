//! The log: one JSON object a line, in the form that Lambda's log controls understand. Every line
//! has `timestamp` (RFC 3339), `level` and `message`, the event's fields beside them, and the
//! request's id at the top level however deep the span that the event happened in.

use std::{fmt, sync::Arc, time::SystemTime};

use dsql::Clock;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    env::{AWS_LAMBDA_LOG_LEVEL, ConfigError, Lookup, RUST_LOG},
    lines::{Line, StandardOutput},
};

/// The field that every line of a request has.
pub const REQUEST_ID: &str = "requestId";
/// Span fields that are lifted to the top level of every line inside the span.
const LIFTED: [&str; 2] = [REQUEST_ID, "xrayTraceId"];
/// Targets whose DEBUG lines explain nothing about this project.
const QUIET: [&str; 5] = ["hyper", "hyper_util", "rustls", "h2", "aws_smithy"];

/// Targets that log what they were told by others, word for word: what uses them says what went
/// wrong.
const SILENT: [&str; 1] = ["rmcp"];

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(tracing::Level);

impl Level {
    /// Reads `AWS_LAMBDA_LOG_LEVEL`, then `RUST_LOG`, then assumes `INFO`. `FATAL` is `ERROR`.
    /// `TRACE` is `DEBUG`: the runtime would write out whole events, bodies included.
    ///
    /// # Errors
    /// When the value is no level.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        for variable in [AWS_LAMBDA_LOG_LEVEL, RUST_LOG] {
            if let Some(value) = lookup(variable) {
                return Self::parse(&value).ok_or_else(|| {
                    ConfigError::new(variable, "must be ERROR, WARN, INFO, DEBUG or TRACE")
                });
            }
        }
        Ok(Self(tracing::Level::INFO))
    }

    fn parse(value: &str) -> Option<Self> {
        let level = match value.trim().to_ascii_uppercase().as_str() {
            "FATAL" | "ERROR" => tracing::Level::ERROR,
            "WARN" => tracing::Level::WARN,
            "INFO" => tracing::Level::INFO,
            "DEBUG" | "TRACE" => tracing::Level::DEBUG,
            _ => return None,
        };
        Some(Self(level))
    }

    /// Spans are always kept: they carry the request's id for whatever is logged inside.
    fn wants(self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return true;
        }
        let root = metadata.target().split("::").next().unwrap_or_default();
        if SILENT.contains(&root) {
            return false;
        }
        let limit = if QUIET.contains(&root) {
            self.0.min(tracing::Level::INFO)
        } else {
            self.0
        };
        *metadata.level() <= limit
    }
}

/// Installs the log of this process, on standard output. A panic becomes a line of it, too.
///
/// # Errors
/// When a level variable is wrong, or the process has a log already.
pub fn init(lookup: Lookup<'_>, clock: Arc<dyn Clock>) -> Result<(), ConfigError> {
    let level = Level::from_lookup(lookup)?;
    Registry::default()
        .with(JsonLines::new(level, clock, Arc::new(StandardOutput)))
        .try_init()
        .map_err(|_| {
            ConfigError::new(RUST_LOG, "cannot be applied: the log was installed before")
        })?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Says where; and why, if the words are the program's own: formatted ones may hold what somebody
/// wrote.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map_or_else(String::new, ToString::to_string);
    let why = panic.payload().downcast_ref::<&'static str>();
    let why = why.copied().unwrap_or("its words are withheld");
    tracing::error!(panic.location = place, "a panic at {place}: {why}");
}

/// A tracing layer that writes JSON lines.
#[derive(Debug)]
pub struct JsonLines {
    level: Level,
    clock: Arc<dyn Clock>,
    line: Arc<dyn Line>,
}

impl JsonLines {
    /// Writes events of at least `level` to `line`.
    pub fn new(level: Level, clock: Arc<dyn Clock>, line: Arc<dyn Line>) -> Self {
        Self { level, clock, line }
    }
}

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.level.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.level.wants(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut lifted = Lifted(Fields::default());
            attributes.record(&mut FieldsOf {
                into: &mut lifted.0,
                only: Some(&LIFTED),
            });
            if !lifted.0.0.is_empty() {
                span.extensions_mut().insert(lifted);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut extensions = span.extensions_mut();
            if let Some(lifted) = extensions.get_mut::<Lifted>() {
                values.record(&mut FieldsOf {
                    into: &mut lifted.0,
                    only: Some(&LIFTED),
                });
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields(Vec::with_capacity(12));
        line.set("timestamp", timestamp(self.clock.now()));
        line.set("level", event.metadata().level().as_str());
        line.set("message", Value::Null); // keeps its place in front of the fields
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Lifted(fields)) = span.extensions().get::<Lifted>() {
                for (name, value) in &fields.0 {
                    // The innermost wins.
                    if line.get(name).is_none() {
                        line.set(name, value.clone());
                    }
                }
            }
        }
        event.record(&mut FieldsOf {
            into: &mut line,
            only: None,
        });
        line.set("target", event.metadata().target());
        if let Ok(line) = serde_json::to_string(&line) {
            self.line.write(&line);
        }
    }
}

/// A line's fields in their order, few enough to be searched one by one.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn get(&mut self, name: &str) -> Option<&mut Value> {
        let field = self.0.iter_mut().find(|(known, _)| *known == name);
        field.map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.get(name) {
            Some(known) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// What a span lends to the lines inside it.
struct Lifted(Fields);

struct FieldsOf<'a> {
    into: &'a mut Fields,
    only: Option<&'static [&'static str]>,
}

impl FieldsOf<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        if self.only.is_none_or(|names| names.contains(&field.name())) {
            self.into.set(field.name(), value);
        }
    }
}

impl Visit for FieldsOf<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

fn timestamp(now: SystemTime) -> String {
    jiff::Timestamp::try_from(now)
        .and_then(|now| now.round(jiff::Unit::Millisecond))
        .map_or_else(
            |_| "1970-01-01T00:00:00Z".to_owned(),
            |now| format!("{now:.3}"),
        )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use dsql::ManualClock;
    use serde_json::json;

    use super::*;
    use crate::lines::KeptLines;

    fn lines(level: &str, work: impl FnOnce()) -> Vec<Value> {
        let kept = Arc::new(KeptLines::default());
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_millis(1_795_305_600_123));
        let layer = JsonLines::new(Level::parse(level).unwrap(), Arc::new(clock), kept.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        kept.take()
    }

    #[test]
    fn a_line_has_timestamp_level_message_and_its_fields_at_the_top() {
        let lines = lines("INFO", || {
            tracing::info!(chat.id = "c1", n = 3, "deleted chat c1");
        });
        assert_eq!(
            lines,
            [json!({
                "timestamp": "2026-11-22T00:00:00.123Z",
                "level": "INFO",
                "message": "deleted chat c1",
                "chat.id": "c1",
                "n": 3,
                "target": "runtime::telemetry::tests",
            })]
        );
    }

    #[test]
    fn a_panic_is_one_line_without_what_it_was_about() {
        let lines = lines("INFO", || {
            std::panic::set_hook(Box::new(log_panic));
            let word = String::from("private");
            let _ = std::panic::catch_unwind(|| panic!("bad input {word}"));
            let _ = std::panic::catch_unwind(|| panic!("cannot be"));
            let _ = std::panic::take_hook();
        });
        let messages: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["message"].as_str())
            .collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(
            messages[0].ends_with("its words are withheld"),
            "{messages:?}"
        );
        assert!(messages[1].ends_with("cannot be"), "{messages:?}");
    }

    #[test]
    fn the_request_id_stays_at_the_top_inside_inner_spans() {
        let lines = lines("INFO", || {
            let _outer = tracing::info_span!("invoke", requestId = "r-1", other = 1).entered();
            let _inner = tracing::debug_span!("inner", depth = 2).entered();
            tracing::warn!("inside");
        });
        assert_eq!(lines[0]["requestId"], "r-1");
        assert!(lines[0].get("other").is_none());
    }

    #[test]
    fn the_request_id_is_kept_when_only_errors_are_logged() {
        let lines = lines("FATAL", || {
            let _span = tracing::info_span!("invoke", requestId = "r-1").entered();
            tracing::warn!("dropped");
            tracing::error!("kept");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["requestId"], "r-1");
    }

    #[test]
    fn trace_and_the_chatter_of_dependencies_are_never_logged() {
        let lines = lines("TRACE", || {
            tracing::trace!("never");
            tracing::debug!(target: "hyper_util::client", "never");
            tracing::info!(target: "hyper_util::client", "yes");
            tracing::error!(target: "rmcp::service", "never: it quotes a server");
            tracing::debug!("yes");
        });
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn lambda_s_level_is_stronger_than_rust_log() {
        let level = |lambda: Option<&str>, rust: Option<&str>| {
            Level::from_lookup(&|name| {
                let value = if name == RUST_LOG { rust } else { lambda };
                value.map(str::to_owned)
            })
        };
        assert_eq!(
            level(Some("ERROR"), Some("debug")).unwrap().0,
            tracing::Level::ERROR
        );
        assert_eq!(level(None, Some("debug")).unwrap().0, tracing::Level::DEBUG);
        assert_eq!(level(None, None).unwrap().0, tracing::Level::INFO);
        assert_eq!(
            level(Some("loud"), None).unwrap_err().variable(),
            AWS_LAMBDA_LOG_LEVEL
        );
    }
}
