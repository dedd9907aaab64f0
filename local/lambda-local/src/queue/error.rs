//! Owns the errors of the queues and the three names of each: the shape in a JSON answer, the code
//! of the older query protocol that SDKs report, and the status.

/// Why a request to a queue is refused. `Display` is what the service says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// No such queue in the template.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// A value outside its range or form.
    #[error("{0}")]
    InvalidParameter(String),
    /// A value that is not optional.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// The body has characters that XML does not know.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// `GetQueueAttributes` knows no such attribute.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// Not a handle of this store.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    ReceiptHandleIsInvalid(String),
    /// Its visibility cannot change: it is visible already.
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    /// Too many messages are in flight.
    #[error("Too many messages are in flight: at most {0}.")]
    OverLimit(usize),
    /// A batch without entries.
    #[error("There should be at least one entry in the request.")]
    EmptyBatchRequest,
    /// A batch of more than ten entries.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch share an id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// An entry's id has another form than it must.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// The messages of a batch are too large together.
    #[error("Batch requests cannot be longer than 1048576 bytes. You have sent {0} bytes.")]
    BatchRequestTooLong(usize),
    /// The store's own limit on memory.
    #[error("The local queues are full: {0}.")]
    Full(&'static str),
    /// The service does this, the store does not.
    #[error("{0} is not supported here: the queues are those of the template.")]
    UnsupportedOperation(String),
    /// Nothing that the service does.
    #[error("{0}")]
    UnknownOperation(String),
    /// The request cannot be read.
    #[error("{0}")]
    Malformed(String),
}

impl QueueError {
    /// Status, shape of the JSON protocol, and code of the query protocol.
    pub(crate) fn names(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::QueueDoesNotExist => (
                400,
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
            ),
            Self::InvalidParameter(_) => (
                400,
                "com.amazon.coral.service#InvalidParameterValueException",
                "InvalidParameterValue",
            ),
            Self::MissingParameter(_) => (
                400,
                "com.amazon.coral.service#MissingRequiredParameterException",
                "MissingParameter",
            ),
            Self::InvalidMessageContents => (
                400,
                "com.amazonaws.sqs#InvalidMessageContents",
                "InvalidMessageContents",
            ),
            Self::InvalidAttributeName(_) => (
                400,
                "com.amazonaws.sqs#InvalidAttributeName",
                "InvalidAttributeName",
            ),
            Self::ReceiptHandleIsInvalid(_) => (
                400,
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "ReceiptHandleIsInvalid",
            ),
            Self::MessageNotInflight => (
                400,
                "com.amazonaws.sqs#MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
            ),
            Self::OverLimit(_) => (403, "com.amazonaws.sqs#OverLimit", "OverLimit"),
            Self::EmptyBatchRequest => (
                400,
                "com.amazonaws.sqs#EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
            ),
            Self::TooManyEntriesInBatchRequest(_) => (
                400,
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
            Self::BatchEntryIdsNotDistinct(_) => (
                400,
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            ),
            Self::InvalidBatchEntryId => (
                400,
                "com.amazonaws.sqs#InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
            ),
            Self::BatchRequestTooLong(_) => (
                400,
                "com.amazonaws.sqs#BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
            ),
            Self::Full(_) => (
                403,
                "com.amazonaws.sqs#RequestThrottled",
                "RequestThrottled",
            ),
            Self::UnsupportedOperation(_) => (
                400,
                "com.amazonaws.sqs#UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
            ),
            Self::UnknownOperation(_) => (
                400,
                "com.amazon.coral.service#UnknownOperationException",
                "InvalidAction",
            ),
            Self::Malformed(_) => (
                400,
                "com.amazon.coral.service#SerializationException",
                "MalformedInput",
            ),
        }
    }
}
