//! Owns the HTTP endpoint of the queues: the JSON protocol of SQS (`x-amz-target: AmazonSQS.…`),
//! which SDKs have spoken since 2023. Signature, credentials and region are not checked: whoever
//! reaches the port may use every queue.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::entries::{
    Entry, ReceiptEntry, ReceiveRequest, SendEntry, check_batch, duration, out_of_range,
};
use super::store::MAX_VISIBILITY;
use super::{QueueError, QueueId, Queues, Receive, Sent};
use crate::loopback::{Server, read_body};

const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "AmazonSQS.";
const CONTENT: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
/// Largest request: a batch of 1 MiB whose every character JSON spells as an escape.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Most messages of one receive.
const MAX_RECEIVED: usize = 10;
/// Longest wait of one receive.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// What the service does to queues and here the template does.
const TEMPLATE_OPERATIONS: [&str; 12] = [
    "AddPermission",
    "CancelMessageMoveTask",
    "CreateQueue",
    "DeleteQueue",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ListQueueTags",
    "RemovePermission",
    "SetQueueAttributes",
    "StartMessageMoveTask",
    "TagQueue",
    "UntagQueue",
];

/// The running endpoint; dropping it ends it and its connections.
#[derive(Debug)]
pub struct Endpoint {
    queues: Queues,
    server: Server,
}

impl Endpoint {
    /// Serves the queues on a port of 127.0.0.1; 0 takes a free one.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(queues: Queues, port: u16) -> io::Result<Self> {
        let served = queues.clone();
        let server = Server::start(port, move |request| answer(served.clone(), request)).await?;
        Ok(Self { queues, server })
    }

    /// What `AWS_ENDPOINT_URL_SQS` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// A queue's URL: `http://127.0.0.1:<port>/<account>/<name>`.
    ///
    /// # Errors
    /// The queue is of another store.
    pub fn queue_url(&self, queue: QueueId) -> Result<String, QueueError> {
        Ok(format!("{}/{}", self.url(), self.queues.path(queue)?))
    }
}

async fn answer(queues: Queues, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let host = request.headers().get(hyper::header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("127.0.0.1").to_owned();
    let outcome = run(&queues, &host, request).await;
    let (status, body) = match &outcome {
        Ok(body) => (200, body.clone()),
        Err(error) => {
            let (status, shape, _) = error.names();
            (
                status,
                json!({"__type": shape, "message": error.to_string()}),
            )
        }
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CONTENT);
    let request_id = HeaderValue::from_str(&Uuid::new_v4().to_string());
    headers.extend(request_id.ok().map(|id| (REQUEST_ID, id)));
    if let Err(error) = &outcome {
        let (_, _, code) = error.names();
        let value = HeaderValue::from_str(&format!("{code};Sender"));
        headers.extend(value.ok().map(|value| (QUERY_ERROR, value)));
    }
    response
}

async fn run(queues: &Queues, host: &str, request: Request<Incoming>) -> Result<Value, QueueError> {
    let target = request.headers().get(TARGET);
    let target = target.and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    let Some(operation) = operation.map(str::to_owned) else {
        return Err(QueueError::UnknownOperation(format!(
            "this endpoint speaks the JSON protocol of SQS: a request needs the header {TARGET}: {TARGET_PREFIX}<action>"
        )));
    };
    if request.method() != Method::POST {
        return Err(QueueError::Malformed(format!(
            "the method must be POST, not {}",
            request.method()
        )));
    }
    let body = read_body(request.into_body(), MAX_REQUEST_BYTES).await;
    let body = body.ok_or_else(|| {
        QueueError::Malformed(format!(
            "the body broke off or is larger than {MAX_REQUEST_BYTES} bytes"
        ))
    })?;
    let call = Call {
        queues,
        host,
        body: &body,
    };
    match operation.as_str() {
        "SendMessage" => call.send(),
        "SendMessageBatch" => call.batch(|queue, entry: SendEntry| call.send_one(queue, entry)),
        "ReceiveMessage" => call.receive().await,
        "DeleteMessage" => call.delete(),
        "DeleteMessageBatch" => call.batch(|queue, entry| call.delete_one(queue, &entry)),
        "ChangeMessageVisibility" => call.change_visibility(),
        "ChangeMessageVisibilityBatch" => call.batch(|queue, entry| call.change_one(queue, &entry)),
        "GetQueueUrl" => call.queue_url(),
        "GetQueueAttributes" => call.queue_attributes(),
        "ListQueues" => call.list(),
        "PurgeQueue" => {
            queues.purge(call.queue()?)?;
            Ok(json!({}))
        }
        known if TEMPLATE_OPERATIONS.contains(&known) => {
            Err(QueueError::UnsupportedOperation(operation))
        }
        unknown => Err(QueueError::UnknownOperation(format!(
            "SQS has no action {unknown:?}"
        ))),
    }
}

/// One request.
struct Call<'a> {
    queues: &'a Queues,
    host: &'a str,
    body: &'a [u8],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueUrl {
    queue_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueName {
    queue_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributeNames {
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest {
    #[serde(default)]
    queue_name_prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<E> {
    #[serde(default = "Vec::new")]
    entries: Vec<E>,
}

impl Call<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, QueueError> {
        serde_json::from_slice(self.body).map_err(|error| QueueError::Malformed(error.to_string()))
    }

    fn queue(&self) -> Result<QueueId, QueueError> {
        let url = self.read::<QueueUrl>()?.queue_url;
        let url = url.ok_or(QueueError::MissingParameter("QueueUrl"))?;
        self.queues
            .by_url(&url)
            .ok_or(QueueError::QueueDoesNotExist)
    }

    fn send(&self) -> Result<Value, QueueError> {
        let fields = self.send_one(self.queue()?, self.read()?)?;
        Ok(fields.into())
    }

    fn send_one(&self, queue: QueueId, entry: SendEntry) -> Result<Map<String, Value>, QueueError> {
        let message = entry.into_message()?;
        let trace_header = message.trace_header.clone();
        let Sent {
            message_id,
            md5_of_body,
            md5_of_attributes,
        } = self.queues.send(queue, message)?;
        let mut fields = Map::new();
        fields.insert("MessageId".to_owned(), message_id.into());
        fields.insert("MD5OfMessageBody".to_owned(), md5_of_body.into());
        if let Some(md5) = md5_of_attributes {
            fields.insert("MD5OfMessageAttributes".to_owned(), md5.into());
        }
        if let Some(md5) = trace_header.and_then(super::message::md5_of_trace_header) {
            fields.insert("MD5OfMessageSystemAttributes".to_owned(), md5.into());
        }
        Ok(fields)
    }

    async fn receive(&self) -> Result<Value, QueueError> {
        let queue = self.queue()?;
        let request: ReceiveRequest = self.read()?;
        let limit = request.max_number_of_messages.unwrap_or(1);
        let limit = usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MAX_RECEIVED).contains(limit))
            .ok_or_else(|| out_of_range("MaxNumberOfMessages", limit, "between 1 and 10"))?;
        let wait = request.wait_time_seconds.unwrap_or(0);
        let wait = duration("WaitTimeSeconds", wait)
            .ok()
            .filter(|wait| *wait <= MAX_WAIT)
            .ok_or_else(|| out_of_range("WaitTimeSeconds", wait, ">= 0 and <= 20"))?;
        let visibility = request.visibility_timeout.map(|seconds| {
            duration("VisibilityTimeout", seconds)
                .ok()
                .filter(|visibility| *visibility <= MAX_VISIBILITY)
                .ok_or_else(|| out_of_range("VisibilityTimeout", seconds, "between 0 and 43200"))
        });
        let receive = Receive {
            limit,
            visibility: visibility.transpose()?,
            wait,
        };
        let received = self.queues.receive(queue, receive).await?;
        if received.is_empty() {
            return Ok(json!({}));
        }
        let messages = received.iter().map(|message| request.answer(message));
        Ok(json!({"Messages": messages.collect::<Vec<_>>()}))
    }

    fn delete(&self) -> Result<Value, QueueError> {
        self.delete_one(self.queue()?, &self.read()?)?;
        Ok(json!({}))
    }

    fn delete_one(
        &self,
        queue: QueueId,
        entry: &ReceiptEntry,
    ) -> Result<Map<String, Value>, QueueError> {
        self.queues.delete(queue, entry.receipt_handle()?)?;
        Ok(Map::new())
    }

    fn change_visibility(&self) -> Result<Value, QueueError> {
        self.change_one(self.queue()?, &self.read()?)?;
        Ok(json!({}))
    }

    fn change_one(
        &self,
        queue: QueueId,
        entry: &ReceiptEntry,
    ) -> Result<Map<String, Value>, QueueError> {
        let visibility = entry.visibility()?;
        self.queues
            .change_visibility(queue, entry.receipt_handle()?, visibility)?;
        Ok(Map::new())
    }

    /// Does each entry of a batch alone: one that fails leaves the others be.
    fn batch<E: Entry + DeserializeOwned>(
        &self,
        one: impl Fn(QueueId, E) -> Result<Map<String, Value>, QueueError>,
    ) -> Result<Value, QueueError> {
        let queue = self.queue()?;
        let Batch { entries } = self.read::<Batch<E>>()?;
        check_batch(&entries)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let id = entry.id().to_owned();
            match one(queue, entry) {
                Ok(mut fields) => {
                    fields.insert("Id".to_owned(), id.into());
                    successful.push(Value::Object(fields));
                }
                Err(error) => {
                    let (_, _, code) = error.names();
                    failed.push(json!({
                        "Id": id, "Code": code, "Message": error.to_string(), "SenderFault": true,
                    }));
                }
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    fn queue_url(&self) -> Result<Value, QueueError> {
        let name = self.read::<QueueName>()?.queue_name;
        let name = name.ok_or(QueueError::MissingParameter("QueueName"))?;
        let queue = self.queues.by_name(&name);
        let queue = queue.ok_or(QueueError::QueueDoesNotExist)?;
        Ok(json!({"QueueUrl": self.url_of(queue)?}))
    }

    fn queue_attributes(&self) -> Result<Value, QueueError> {
        let attributes = self.queues.attributes(self.queue()?)?;
        let names = self.read::<AttributeNames>()?.attribute_names;
        if names.is_empty() {
            return Ok(json!({}));
        }
        if names.iter().any(|name| name == "All") {
            return Ok(json!({"Attributes": attributes}));
        }
        let mut wanted = Map::new();
        for name in names {
            match attributes.get(name.as_str()) {
                Some(value) => {
                    wanted.insert(name, json!(value));
                }
                // Known, but this queue has none.
                None if [
                    "RedrivePolicy",
                    "RedriveAllowPolicy",
                    "Policy",
                    "KmsMasterKeyId",
                ]
                .contains(&name.as_str()) => {}
                None => return Err(QueueError::InvalidAttributeName(name)),
            }
        }
        Ok(json!({"Attributes": wanted}))
    }

    fn list(&self) -> Result<Value, QueueError> {
        let prefix = self.read::<ListRequest>()?.queue_name_prefix;
        let names = self.queues.names().into_iter();
        let urls = names
            .filter(|name| name.starts_with(&prefix))
            .filter_map(|name| self.queues.by_name(&name))
            .map(|queue| self.url_of(queue));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Ok(json!({}));
        }
        Ok(json!({"QueueUrls": urls}))
    }

    /// Under the name that the caller reached it by.
    fn url_of(&self, queue: QueueId) -> Result<String, QueueError> {
        Ok(format!("http://{}/{}", self.host, self.queues.path(queue)?))
    }
}
