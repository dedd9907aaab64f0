//! The provider that the configuration chose, and the reply it gives.

use std::pin::Pin;
use std::time::SystemTime;

use tokio::time::error::Elapsed;

#[cfg(feature = "bedrock")]
use crate::bedrock;
use crate::blocks::Blocks;
use crate::config::{
    self, ConfigError, DEFAULT_MAX_TOKENS, Lookup, MODEL_ID, MODEL_MAX_TOKENS, MODEL_PROVIDER,
};
#[cfg(feature = "echo")]
use crate::echo;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
#[cfg(feature = "openai")]
use crate::openai;
use crate::progress::Progress;
use crate::time::Now;
use crate::turn::Turn;

/// Every provider there is, whether or not this build carries it.
const PROVIDERS: [&str; 3] = ["bedrock", "openai", "echo"];

/// One configured provider. Cheap to share; holds no state of a conversation.
#[derive(Debug)]
pub struct Provider {
    backend: Backend,
    models: Vec<String>,
    max_tokens: u32,
    now: Now,
}

#[derive(Debug)]
enum Backend {
    #[cfg(feature = "bedrock")]
    Bedrock(Box<bedrock::Bedrock>),
    #[cfg(feature = "openai")]
    OpenAi(openai::OpenAi),
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
        let now = Now::default();
        let backend = match name.as_str() {
            #[cfg(feature = "bedrock")]
            "bedrock" => Backend::Bedrock(Box::new(bedrock::Bedrock::from_lookup(
                lookup,
                now.clone(),
            )?)),
            #[cfg(feature = "openai")]
            "openai" => Backend::OpenAi(openai::OpenAi::from_lookup(lookup)?),
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
        let models = config::models(lookup)?;
        if models.is_empty() {
            return Err(ConfigError::new(
                MODEL_ID,
                "is not set: the model that answers",
            ));
        }
        Ok(Self {
            backend,
            models,
            max_tokens: config::number(
                lookup,
                MODEL_MAX_TOKENS,
                1..=1_000_000,
                DEFAULT_MAX_TOKENS,
            )?,
            now,
        })
    }

    /// Replaces the clock that deadlines are judged by.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.now = Now::new(now);
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
        // Boxed: the SDK's futures are large, and their types too deep for the caller's compiler.
        let accept: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(self.accept(&turn));
        let Ok(source) = timeout(&self.now, turn.deadline, accept).await else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the provider did not accept before the deadline",
            ));
        };
        Ok(Reply {
            source: source?,
            blocks: Blocks::new(!turn.tools.is_empty()),
            failed: None,
            ended: false,
            deadline: turn.deadline,
            now: self.now.clone(),
        })
    }

    async fn accept(&self, turn: &Turn) -> Result<Source, Error> {
        match &self.backend {
            #[cfg(feature = "bedrock")]
            Backend::Bedrock(bedrock) => bedrock
                .start(turn)
                .await
                .map(|reply| Source::Bedrock(Box::new(reply))),
            #[cfg(feature = "openai")]
            Backend::OpenAi(openai) => openai
                .start(turn)
                .await
                .map(|reply| Source::OpenAi(Box::new(reply))),
            #[cfg(feature = "echo")]
            Backend::Echo(echo) => echo.start(turn).await.map(Source::Echo),
        }
    }
}

/// A reply under way. Dropping it abandons the call.
#[derive(Debug)]
pub struct Reply {
    source: Source,
    blocks: Blocks,
    failed: Option<Error>,
    ended: bool,
    deadline: SystemTime,
    now: Now,
}

#[derive(Debug)]
enum Source {
    #[cfg(feature = "bedrock")]
    Bedrock(Box<bedrock::BedrockReply>),
    #[cfg(feature = "openai")]
    OpenAi(Box<openai::OpenAiReply>),
    #[cfg(feature = "echo")]
    Echo(echo::EchoReply),
}

impl Reply {
    /// The next event; `None` after [`Event::Finish`] or an error.
    ///
    /// # Errors
    /// A stream that breaks off or ends without saying why is [`ErrorKind::Interrupted`]; else as
    /// the provider says.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event: it waits, then takes.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.blocks.pop() {
                self.ended |= matches!(event, Event::Finish { .. });
                return Some(Ok(event));
            }
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Some(Err(error));
            }
            if self.ended {
                return None;
            }
            let advance = self.source.advance(&mut self.blocks);
            // What a provider said before it failed still comes first.
            self.failed = match timeout(&self.now, self.deadline, advance).await {
                Ok(Ok(Progress::More)) => None,
                Ok(Ok(Progress::Closed)) => Some(Error::new(
                    ErrorKind::Interrupted,
                    "the provider closed the reply without finishing it",
                )),
                Ok(Err(error)) => Some(error),
                Err(_) => Some(Error::new(
                    ErrorKind::Interrupted,
                    "the reply was not complete at the deadline",
                )),
            };
        }
    }
}

impl Source {
    async fn advance(&mut self, blocks: &mut Blocks) -> Result<Progress, Error> {
        match self {
            #[cfg(feature = "bedrock")]
            Self::Bedrock(reply) => reply.advance(blocks).await,
            #[cfg(feature = "openai")]
            Self::OpenAi(reply) => reply.advance(blocks).await,
            #[cfg(feature = "echo")]
            Self::Echo(reply) => reply.advance(blocks).await,
        }
    }
}

/// Gives up at `deadline`.
async fn timeout<T>(
    now: &Now,
    deadline: SystemTime,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let left = deadline.duration_since(now.get()).unwrap_or_default();
    tokio::time::timeout(left, work).await
}
