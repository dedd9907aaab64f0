//! The types for what a template describes once every parameter, condition and intrinsic function
//! is resolved: functions, the routes that lead to them, schedules, queues, custom resources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

/// A resolved template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Application {
    /// The stack's name.
    pub stack: String,
    /// In the order of the template.
    pub functions: Vec<Function>,
    /// In the order of the template.
    pub apis: Vec<RestApi>,
    /// In the order of the template.
    pub queues: Vec<Queue>,
    /// In the order of the template.
    pub buckets: Vec<Bucket>,
    /// Logical ids of the clusters of Aurora DSQL.
    pub clusters: Vec<String>,
    /// Every `Custom::…` resource, in an order that respects what they refer to.
    pub custom_resources: Vec<CustomResource>,
    /// In the order of the template.
    pub roles: Vec<Role>,
    /// What the stack tells its user. Those whose condition is false are absent.
    pub outputs: BTreeMap<String, String>,
    /// Outputs that refer to what only the running stack knows, such as a custom resource's
    /// attribute.
    pub pending_outputs: Vec<String>,
}

/// One `AWS::Serverless::Function`.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `FunctionName`, else `<stack>-<logical id>`.
    pub name: String,
    /// ARN without a version.
    pub arn: String,
    /// `CodeUri`, relative to the template.
    pub code_uri: PathBuf,
    /// `Metadata.BuildProperties.Binary`, where it is given.
    pub binary: Option<String>,
    /// `Timeout`; 3 s where the template is silent.
    pub timeout: Duration,
    /// `MemorySize`; 128 where the template is silent.
    pub memory_mb: u32,
    /// `Environment.Variables`, Globals included.
    pub environment: BTreeMap<String, String>,
    /// ARN of its role.
    pub role_arn: Option<String>,
    /// `ReservedConcurrentExecutions`: the most containers at once.
    pub reserved_concurrency: Option<usize>,
    /// Lambda Managed Instances: requests that one container serves at once
    /// (`CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.PerExecutionEnvironmentMaxConcurrency`).
    pub container_concurrency: Option<usize>,
    /// Its schedules.
    pub schedules: Vec<Schedule>,
    /// The queues it is fed from.
    pub queue_sources: Vec<QueueSource>,
}

/// One `Schedule` or `ScheduleV2` event.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The event's key.
    pub name: String,
    /// `rate(…)`, `cron(…)` or `at(…)`, checked when it was read.
    pub expression: crate::schedule::Expression,
    /// What the function is sent. Without `Input`, the service's own event.
    pub input: Option<Value>,
    /// `State: DISABLED` or `Enabled: false` turn it off.
    pub is_enabled: bool,
    /// Attempts after the first when the invocation fails; 185 where the template is silent
    /// (`ScheduleV2`).
    pub maximum_retry_attempts: u32,
    /// How long a firing is retried; 24 h where the template is silent.
    pub maximum_event_age: Duration,
}

/// One `SQS` event of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSource {
    /// The event's key.
    pub name: String,
    /// ARN of the queue.
    pub queue_arn: String,
    /// `BatchSize`; 10 where the template is silent.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`.
    pub batching_window: Duration,
    /// `FunctionResponseTypes` has `ReportBatchItemFailures`.
    pub reports_item_failures: bool,
    /// `ScalingConfig.MaximumConcurrency`.
    pub maximum_concurrency: Option<usize>,
    /// `Enabled`.
    pub is_enabled: bool,
}

/// One `AWS::SQS::Queue`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `QueueName`, else `<stack>-<logical id>`.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `VisibilityTimeout`; 30 s where the template is silent.
    pub visibility_timeout: Duration,
    /// `MessageRetentionPeriod`; 4 days where the template is silent.
    pub retention: Duration,
    /// `DelaySeconds`.
    pub delay: Duration,
    /// Where messages go after too many receives.
    pub redrive: Option<Redrive>,
}

/// A queue's `RedrivePolicy`.
#[derive(Debug, Clone, PartialEq)]
pub struct Redrive {
    /// ARN of the dead-letter queue.
    pub dead_letter_arn: String,
    /// `maxReceiveCount`.
    pub max_receive_count: u32,
}

/// One `AWS::S3::Bucket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `BucketName`, else `<stack>-<logical id>`, in lower case.
    pub name: String,
    /// What pages may do.
    pub cors: Vec<CorsRule>,
}

/// One of the `CorsRules` of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    /// Exact ones, or `*`.
    pub allowed_origins: Vec<String>,
    /// Upper case.
    pub allowed_methods: Vec<String>,
    /// What a page may send, or `*`.
    pub allowed_headers: Vec<String>,
    /// What a page may read.
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember it.
    pub max_age_seconds: Option<u32>,
}

/// One `AWS::Serverless::Api`.
#[derive(Debug, Clone, PartialEq)]
pub struct RestApi {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `Name`, else the stack's name, as SAM has it.
    pub name: String,
    /// `StageName`.
    pub stage: String,
    /// In the order of the template.
    pub routes: Vec<Route>,
    /// With `~1` read as `/`, such as `*/*`.
    pub binary_media_types: Vec<String>,
    /// By response type, such as `DEFAULT_4XX`.
    pub gateway_responses: BTreeMap<String, GatewayResponse>,
    /// `Cors`, where the API itself answers preflights.
    pub cors: Option<Cors>,
    /// Requests per second and at once, from `MethodSettings` for `/*` and `*`.
    pub throttle: Option<Throttle>,
    /// The same of single methods, from the other `MethodSettings`: by method and path, such as
    /// `POST /api/chat`.
    pub method_throttles: BTreeMap<String, Throttle>,
}

/// A method of a resource, and the function that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Upper case; `ANY` takes every method that no other route of the path names.
    pub method: String,
    /// Resource path with `{name}` and `{name+}`.
    pub path: String,
    /// Logical id of the function.
    pub function: String,
    /// `ResponseTransferMode: RESPONSE_STREAM`.
    pub is_streamed: bool,
    /// `TimeoutInMillis`; 29 s where the template is silent.
    pub timeout: Duration,
}

/// What API Gateway answers when no function does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayResponse {
    /// The status that replaces the default one.
    pub status: Option<u16>,
    /// By name; values are the text between the quotes.
    pub headers: BTreeMap<String, String>,
    /// By content type.
    pub templates: BTreeMap<String, String>,
}

/// `Cors` of an API: values as the template quotes them, quotes removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// `AllowOrigin`.
    pub allow_origin: String,
    /// `AllowMethods`.
    pub allow_methods: Option<String>,
    /// `AllowHeaders`.
    pub allow_headers: Option<String>,
    /// `MaxAge`.
    pub max_age: Option<String>,
    /// `AllowCredentials`.
    pub allow_credentials: bool,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttle {
    /// Requests per second.
    pub rate: f64,
    /// Requests at once.
    pub burst: f64,
}

/// One `Custom::…` resource.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomResource {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// Such as `Custom::DatabaseSchema`.
    pub resource_type: String,
    /// ARN of the function that provides it.
    pub service_token: String,
    /// `ServiceTimeout`; one hour where the template is silent.
    pub service_timeout: Duration,
    /// `ResourceProperties` of the request: every value a string, as CloudFormation sends them.
    pub properties: Map<String, Value>,
}

/// One `AWS::IAM::Role`, as far as it is acted on here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// Its ARN.
    pub arn: String,
    /// Every action of an `Allow` statement of its inline policies, such as `dsql:DbConnect`.
    pub allowed_actions: BTreeSet<String>,
    /// The ARNs of the principals that may assume it, as its trust policy names them.
    pub trusted: BTreeSet<String>,
}
