//! The provider that the configuration chose, and the reply it gives.

use std::sync::Arc;

use dsql::{Clock, SystemClock};

use crate::blocks::Blocks;
use crate::config::{
    self, ConfigError, DEFAULT_MAX_TOKENS, Lookup, MODEL_MAX_TOKENS, MODEL_PROVIDER,
};
#[cfg(feature = "echo")]
use crate::echo;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::turn::Turn;

/// Every provider there is, whether or not this build carries it.
const PROVIDERS: [&str; 3] = ["bedrock", "openai", "echo"];

/// One configured provider. Cheap to share; holds no state of a conversation.
#[derive(Debug)]
pub struct Provider {
    backend: Backend,
    models: Vec<String>,
    max_tokens: u32,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Backend {
    #[cfg(feature = "echo")]
    Echo(echo::Echo),
}

impl Provider {
    /// Reads the process environment.
    ///
    /// # Errors
    /// The first variable that is missing or wrong, or a provider this build does not carry.
    #[expect(
        clippy::unused_async,
        reason = "a provider may come to connect here, in Init"
    )]
    pub async fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// Reads variables from a function, so that a test needs no process environment.
    ///
    /// # Errors
    /// The first variable that is missing or wrong, or a provider this build does not carry.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let name = config::text(lookup, MODEL_PROVIDER).ok_or_else(|| {
            ConfigError::new(MODEL_PROVIDER, "is not set: bedrock, openai or echo")
        })?;
        let fallback = (name == "echo").then_some("echo");
        let backend = match name.as_str() {
            #[cfg(feature = "echo")]
            "echo" => Backend::Echo(echo::Echo::from_lookup(lookup)?),
            known if PROVIDERS.contains(&known) => {
                return Err(ConfigError::new(
                    MODEL_PROVIDER,
                    format!("is {name:?}: this build does not carry that provider"),
                ));
            }
            other => {
                return Err(ConfigError::new(
                    MODEL_PROVIDER,
                    format!("is {other:?}: not bedrock, openai or echo"),
                ));
            }
        };
        Ok(Self {
            backend,
            models: config::models(lookup, fallback)?,
            max_tokens: config::number(
                lookup,
                MODEL_MAX_TOKENS,
                1..=1_000_000,
                DEFAULT_MAX_TOKENS,
            )?,
            clock: Arc::new(SystemClock),
        })
    }

    /// Replaces the clock that deadlines are judged by.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The models a caller may name; the first is the default.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// The longest reply, in tokens.
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// Begins a turn. Returns once the provider has accepted it.
    ///
    /// # Errors
    /// A model that is not allowed is [`ErrorKind::Refused`]; no answer before the deadline is
    /// [`ErrorKind::Unavailable`]; else as the provider says.
    pub async fn start(&self, mut turn: Turn) -> Result<Reply, Error> {
        if !self.models.contains(&turn.model) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("model {:?} is not allowed", turn.model),
            ));
        }
        turn.max_tokens = turn.max_tokens.min(self.max_tokens);
        let source = match &self.backend {
            #[cfg(feature = "echo")]
            Backend::Echo(echo) => Source::Echo(echo.start(&turn).await?),
        };
        Ok(Reply {
            source,
            blocks: Blocks::default(),
            ended: false,
        })
    }
}

/// A reply under way. Dropping it abandons the call.
#[derive(Debug)]
pub struct Reply {
    source: Source,
    blocks: Blocks,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    #[cfg(feature = "echo")]
    Echo(echo::EchoReply),
}

/// Whether a source may have more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Closed,
}

impl Reply {
    /// The next event; `None` after [`Event::Finish`] or an error.
    ///
    /// # Errors
    /// A stream that breaks off or ends without saying why is [`ErrorKind::Interrupted`]; else as the provider says.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event: it waits, then takes.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.blocks.pop() {
                self.ended |= matches!(event, Event::Finish { .. });
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            let progress = match &mut self.source {
                #[cfg(feature = "echo")]
                Source::Echo(echo) => echo.advance(&mut self.blocks).await,
            };
            let error = match progress {
                Ok(Progress::More) => continue,
                Ok(Progress::Closed) => Error::new(
                    ErrorKind::Interrupted,
                    "the provider closed the reply without finishing it",
                ),
                Err(error) => error,
            };
            self.ended = true;
            return Some(Err(error));
        }
    }
}
