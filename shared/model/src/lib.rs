//! Model providers as one stream of events. [`Provider::from_env`] chooses one, [`Provider::start`]
//! begins a [`Turn`], and [`Reply::next`] yields [`Event`]s until [`Event::Finish`].
//!
//! 1. `start` returns `Ok` only once the provider has accepted the turn, so a refusal can still
//!    become a status code.
//! 2. Every block of text or reasoning that starts also ends before `Finish`; ids are never used
//!    twice in a reply.
//! 3. A reply never ends silently: the last item is `Finish` or an error. A provider that closes
//!    its stream without saying why is [`ErrorKind::Interrupted`].
//! 4. Nothing is retried here: a model call costs money, and only the caller knows how much time is
//!    left.

#[cfg(not(any(feature = "bedrock", feature = "openai", feature = "echo")))]
compile_error!("choose at least one provider: bedrock, openai, echo");

#[cfg(feature = "bedrock")]
mod bedrock;
mod blocks;
mod config;
#[cfg(feature = "echo")]
mod echo;
mod error;
mod event;
#[cfg(feature = "openai")]
mod openai;
mod progress;
mod provider;
#[cfg(feature = "openai")]
mod think;
mod time;
mod turn;

#[cfg(feature = "bedrock")]
pub use bedrock::{AWS_ENDPOINT_URL_BEDROCK_RUNTIME, BEDROCK_REGION};
pub use config::{
    ConfigError, DEFAULT_MAX_TOKENS, Lookup, MODEL_ALLOWED, MODEL_ID, MODEL_MAX_TOKENS,
    MODEL_NAMES, MODEL_PROVIDER, display_name, models,
};
#[cfg(feature = "echo")]
pub use echo::{ECHO_DELAY_MS, ECHO_DIRECTIVES, ECHO_REASONING};
pub use error::{Error, ErrorKind};
pub use event::{Event, FinishReason, Usage};
#[cfg(feature = "openai")]
pub use openai::{OPENAI_API_KEY, OPENAI_BASE_URL};
pub use provider::{Provider, Reply};
pub use turn::{MAX_TOOL_NAME_CHARS, Message, Part, Role, Tool, Turn};
