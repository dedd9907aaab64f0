//! Amazon Bedrock through `ConverseStream`, signed with the function's role: no secret of its own.

mod request;

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{
    BehaviorVersion, Config, Region, StalledStreamProtectionConfig,
};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId as _;
use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamError;
use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_sdk_bedrockruntime::types::{
    CitationLocation, CitationsDelta, ContentBlockDelta, ContentBlockStart, ConverseStreamOutput,
    ImageFormat, ImageSource, InferenceConfiguration, ReasoningContentBlockDelta, StopReason,
    SystemContentBlock, TokenUsage,
};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::base64;
use aws_smithy_types::event_stream::RawMessage;
use https::{Client, Connector};

use crate::blocks::{Blocks, Kind, input};
use crate::config::{self, ConfigError, Lookup};
use crate::error::{Error, ErrorKind};
use crate::event::{FinishReason, Usage};
use crate::progress::Progress;
use crate::time::Now;
use crate::turn::Turn;

/// `bedrock`: the region of the models, if it is not the function's own (`AWS_REGION`).
pub const BEDROCK_REGION: &str = "BEDROCK_REGION";
/// `bedrock`: an address to call instead of the region's, for tests and private endpoints.
pub const AWS_ENDPOINT_URL_BEDROCK_RUNTIME: &str = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME";

const AWS_REGION: &str = "AWS_REGION";
const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// The configured service.
#[derive(Debug)]
pub(crate) struct Bedrock {
    client: aws_sdk_bedrockruntime::Client,
}

#[derive(Debug)]
struct SigningTime(Now);

impl TimeSource for SigningTime {
    fn now(&self) -> SystemTime {
        self.0.get()
    }
}

impl Bedrock {
    pub(crate) fn from_lookup(lookup: Lookup<'_>, now: Now) -> Result<Self, ConfigError> {
        let required = |name: &'static str, what: &str| {
            config::text(lookup, name)
                .ok_or_else(|| ConfigError::new(name, format!("is not set: {what}")))
        };
        let region = match config::text(lookup, BEDROCK_REGION) {
            Some(region) => region,
            None => required(AWS_REGION, "the region of the models")?,
        };
        let credentials = Credentials::new(
            required(AWS_ACCESS_KEY_ID, "Lambda sets it from the function's role")?,
            required(
                AWS_SECRET_ACCESS_KEY,
                "Lambda sets it from the function's role",
            )?,
            config::text(lookup, AWS_SESSION_TOKEN),
            None,
            "environment",
        );
        // Retries would cost money and time that only the caller can grant; a silent model is not a
        // stalled stream.
        let mut builder = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(credentials)
            .time_source(SigningTime(now))
            .http_client(Connector::from(Client::new()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = config::text(lookup, AWS_ENDPOINT_URL_BEDROCK_RUNTIME) {
            builder = builder.endpoint_url(endpoint);
        }
        Ok(Self {
            client: aws_sdk_bedrockruntime::Client::from_conf(builder.build()),
        })
    }

    pub(crate) async fn start(&self, turn: &Turn) -> Result<BedrockReply, Error> {
        let max_tokens = i32::try_from(turn.max_tokens).unwrap_or(i32::MAX);
        let output = self
            .client
            .converse_stream()
            .model_id(&turn.model)
            .set_system(
                turn.system
                    .clone()
                    .map(|text| vec![SystemContentBlock::Text(text)]),
            )
            .set_messages(Some(request::messages(turn)?))
            .set_tool_config(request::tools(turn))
            .inference_config(
                InferenceConfiguration::builder()
                    .max_tokens(max_tokens)
                    .build(),
            )
            .send()
            .await
            .map_err(|error| refusal(&error))?;
        Ok(BedrockReply {
            stream: output.stream,
            block: None,
            image: None,
            call: None,
            signature: String::new(),
            reason: None,
            closed: false,
        })
    }
}

/// Why the call was not accepted.
fn refusal(error: &SdkError<ConverseStreamError, HttpResponse>) -> Error {
    let Some(service) = error.as_service_error() else {
        // The SDK's own text names the stage (dispatch, response); its sources may hold more than a
        // log should.
        return Error::new(
            ErrorKind::Unavailable,
            format!("the provider does not answer: {error}"),
        );
    };
    let code = service.code().unwrap_or("an unknown exception");
    let kind = match code {
        "ThrottlingException" | "ServiceQuotaExceededException" => {
            ErrorKind::Throttled { retry_after: None }
        }
        "ValidationException" => ErrorKind::Refused,
        "AccessDeniedException"
        | "ResourceNotFoundException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException" => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    let request_id = error.request_id().unwrap_or("unknown");
    Error::new(
        kind,
        format!("the provider answered {code} (request {request_id})"),
    )
}

/// Why a reply broke off.
fn broken(error: &SdkError<ConverseStreamOutputError, RawMessage>) -> Error {
    use ConverseStreamOutputError as Exception;

    let Some(exception) = error.as_service_error() else {
        return Error::new(
            ErrorKind::Interrupted,
            format!("the reply broke off: {error}"),
        );
    };
    let (kind, name) = match exception {
        Exception::ThrottlingException(_) => (
            ErrorKind::Throttled { retry_after: None },
            "ThrottlingException",
        ),
        Exception::ValidationException(_) => (ErrorKind::Refused, "ValidationException"),
        Exception::ModelStreamErrorException(_) => {
            (ErrorKind::Unavailable, "ModelStreamErrorException")
        }
        Exception::InternalServerException(_) => {
            (ErrorKind::Unavailable, "InternalServerException")
        }
        Exception::ServiceUnavailableException(_) => {
            (ErrorKind::Unavailable, "ServiceUnavailableException")
        }
        _ => (ErrorKind::Unavailable, "an unknown exception"),
    };
    Error::new(kind, format!("the reply broke off with {name}"))
}

/// A reply under way.
#[derive(Debug)]
pub(crate) struct BedrockReply {
    stream: EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>,
    block: Option<i32>,
    /// The format of the image that the block holds.
    image: Option<ImageFormat>,
    /// The call of a tool that the block holds.
    call: Option<Call>,
    /// That of the block's reasoning, so far.
    signature: String,
    reason: Option<FinishReason>,
    closed: bool,
}

/// The call of a tool, as far as it was said.
#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    input: String,
}

impl BedrockReply {
    pub(crate) async fn advance(&mut self, blocks: &mut Blocks) -> Result<Progress, Error> {
        if self.closed {
            return Ok(Progress::Closed);
        }
        match self.stream.recv().await {
            Ok(Some(event)) => self.read(event, blocks),
            // Everything but the count of tokens was said before the stream ended.
            Ok(None) | Err(_) if self.reason.is_some() => self.close(blocks, Usage::default()),
            Ok(None) => return Ok(Progress::Closed),
            Err(error) => return Err(broken(&error)),
        }
        Ok(Progress::More)
    }

    fn read(&mut self, event: ConverseStreamOutput, blocks: &mut Blocks) {
        match event {
            ConverseStreamOutput::ContentBlockDelta(event) => {
                let index = Some(event.content_block_index());
                if self.block != index {
                    blocks.end();
                    self.block = index;
                    self.signature.clear();
                }
                match event.delta {
                    Some(ContentBlockDelta::Text(text)) => blocks.push(Kind::Text, text),
                    Some(ContentBlockDelta::ReasoningContent(
                        ReasoningContentBlockDelta::Text(text),
                    )) => blocks.push(Kind::Reasoning, text),
                    Some(ContentBlockDelta::ReasoningContent(
                        ReasoningContentBlockDelta::Signature(piece),
                    )) => {
                        self.signature.push_str(&piece);
                        blocks.sign(request::PROVIDER, "signature", &self.signature);
                    }
                    Some(ContentBlockDelta::ReasoningContent(
                        ReasoningContentBlockDelta::RedactedContent(hidden),
                    )) => blocks.sign(request::PROVIDER, "redactedData", &base64::encode(hidden)),
                    Some(ContentBlockDelta::Citation(cited)) => cite(&cited, blocks),
                    Some(ContentBlockDelta::Image(image)) => {
                        if let (Some(format), Some(ImageSource::Bytes(bytes))) =
                            (&self.image, image.source)
                        {
                            let media_type = format!("image/{}", format.as_str());
                            blocks.file(&media_type, &base64::encode(bytes));
                        }
                    }
                    Some(ContentBlockDelta::ToolUse(piece)) => {
                        if let Some(call) = &mut self.call {
                            call.input.push_str(&piece.input);
                            blocks.call_delta(&call.id, &piece.input);
                        }
                    }
                    _ => {}
                }
            }
            ConverseStreamOutput::ContentBlockStart(event) => {
                self.end_call(blocks);
                self.image = None;
                match event.start {
                    Some(ContentBlockStart::Image(image)) => self.image = Some(image.format),
                    Some(ContentBlockStart::ToolUse(call)) => {
                        blocks.begin_call(&call.tool_use_id, &call.name);
                        self.call = Some(Call {
                            id: call.tool_use_id,
                            name: call.name,
                            input: String::new(),
                        });
                    }
                    _ => {}
                }
            }
            ConverseStreamOutput::ContentBlockStop(_) => {
                blocks.end();
                self.end_call(blocks);
                self.block = None;
                self.signature.clear();
            }
            ConverseStreamOutput::MessageStop(event) => {
                blocks.end();
                self.end_call(blocks);
                self.reason = Some(finish_reason(&event.stop_reason));
            }
            ConverseStreamOutput::Metadata(event) => {
                let usage = event.usage.as_ref().map(count).unwrap_or_default();
                if self.reason.is_some() {
                    self.close(blocks, usage);
                }
            }
            _ => {}
        }
    }

    /// The call that the block holds is whole.
    fn end_call(&mut self, blocks: &mut Blocks) {
        if let Some(call) = self.call.take() {
            blocks.call(&call.id, &call.name, input(&call.input));
        }
    }

    fn close(&mut self, blocks: &mut Blocks, usage: Usage) {
        self.closed = true;
        blocks.finish(self.reason.unwrap_or(FinishReason::Other), usage);
    }
}

/// A page by its address; else the document by its name.
fn cite(cited: &CitationsDelta, blocks: &mut Blocks) {
    let source = cited.source.as_deref();
    let title = cited.title.as_deref();
    match &cited.location {
        Some(CitationLocation::Web(page)) => {
            if let Some(url) = &page.url {
                blocks.cite(url, title);
            }
        }
        Some(CitationLocation::SearchResultLocation(_))
            if source.is_some_and(|source| source.starts_with("http")) =>
        {
            blocks.cite(source.unwrap_or_default(), title);
        }
        // Of what a visitor attaches only a PDF is sent as a document.
        Some(_) => blocks.cite_document(title.or(source).unwrap_or_default(), "application/pdf"),
        None => {}
    }
}

fn finish_reason(reason: &StopReason) -> FinishReason {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence => FinishReason::Stop,
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => FinishReason::Length,
        StopReason::ToolUse => FinishReason::ToolCalls,
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => {
            FinishReason::ContentFilter
        }
        StopReason::MalformedModelOutput | StopReason::MalformedToolUse => FinishReason::Error,
        other if other.as_str().starts_with("malformed_") => FinishReason::Error,
        _ => FinishReason::Other,
    }
}

fn count(usage: &TokenUsage) -> Usage {
    let tokens = |count: i32| u64::try_from(count).unwrap_or_default();
    Usage {
        input_tokens: tokens(usage.input_tokens),
        output_tokens: tokens(usage.output_tokens),
        total_tokens: tokens(usage.total_tokens),
        cached_input_tokens: tokens(usage.cache_read_input_tokens.unwrap_or_default()),
    }
}
