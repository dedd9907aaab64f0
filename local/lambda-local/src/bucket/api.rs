//! Owns the HTTP endpoint of the buckets: `PUT`, `GET`, `HEAD` and `DELETE` of an object, and the
//! preflights of pages.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, ORIGIN,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use md5::{Digest as _, Md5};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use super::error::S3Error;
use super::objects::{Object, Objects};
use super::signature::Caller;
use super::{cors, signature};
use crate::application::Bucket;
use crate::clock::Clock;
use crate::listen;
use crate::loopback::{names_loopback, read_body};
use crate::task::Task;

/// Largest object: all of one is held at once.
const MAX_OBJECT_BYTES: usize = 256 * 1024 * 1024;
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// The running endpoint; dropping it ends it.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    _serve: Task,
}

struct Served {
    buckets: Vec<Bucket>,
    objects: Objects,
    callers: Vec<Caller>,
    region: String,
    clock: Clock,
}

impl Endpoint {
    /// Serves the buckets on a port of 127.0.0.1, for `callers`; 0 takes a free one.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(
        port: u16,
        buckets: Vec<Bucket>,
        objects: Objects,
        callers: Vec<Caller>,
        region: &str,
        clock: Clock,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let served = Arc::new(Served {
            buckets,
            objects,
            callers,
            region: region.to_owned(),
            clock,
        });
        let answer = move |request: Request<Incoming>, _| {
            let served = Arc::clone(&served);
            async move { served.answer(request).await }
        };
        Ok(Self {
            address,
            _serve: Task::spawn(listen::serve(listener, answer)),
        })
    }

    /// For `AWS_ENDPOINT_URL_S3`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

type Answer = Response<Full<Bytes>>;

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        // A page whose name was rebound to this machine says another.
        if !names_loopback(&head.headers) {
            return S3Error::AccessDenied.response();
        }
        let path = head.uri.path().trim_start_matches('/');
        let (name, key) = path.split_once('/').unwrap_or((path, ""));
        let Some(bucket) = self.buckets.iter().find(|bucket| bucket.name == name) else {
            return S3Error::NoBucket.response();
        };
        if head.method == Method::OPTIONS {
            return match cors::preflight(&bucket.cors, &head.headers) {
                Some(headers) => with(Response::new(Full::default()), headers),
                None => S3Error::Cors.response(),
            };
        }
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        let done = self.perform(bucket, &key, &head, body).await;
        let response = done.unwrap_or_else(|error| error.response());
        if !head.headers.contains_key(ORIGIN) {
            return response;
        }
        with(
            response,
            cors::answer(&bucket.cors, &head.method, &head.headers),
        )
    }

    async fn perform(
        &self,
        bucket: &Bucket,
        key: &str,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, S3Error> {
        let action = match head.method {
            Method::PUT => "s3:PutObject",
            Method::GET | Method::HEAD => "s3:GetObject",
            Method::DELETE => "s3:DeleteObject",
            _ => return Err(S3Error::Method),
        };
        if key.is_empty() {
            return Err(S3Error::Method);
        }
        let now = self.clock.now().into();
        let caller = signature::check(head, &self.callers, &self.region, action, now)?;
        match head.method {
            Method::PUT => self.put(&bucket.name, key, head, body).await,
            Method::DELETE => {
                self.objects.delete(&bucket.name, key)?;
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            _ => self.get(&bucket.name, key, head, caller),
        }
    }

    async fn put(
        &self,
        bucket: &str,
        key: &str,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, S3Error> {
        let header = |name| head.headers.get(name)?.to_str().ok();
        let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or(S3Error::NoLength)?;
        if length > MAX_OBJECT_BYTES {
            return Err(S3Error::TooLarge);
        }
        let bytes = read_body(body, length).await.ok_or(S3Error::Incomplete)?;
        let tag = tag(&bytes);
        let object = Object {
            content_type: header(CONTENT_TYPE).unwrap_or(DEFAULT_TYPE).to_owned(),
            bytes,
        };
        let is_new = header(IF_NONE_MATCH) == Some("*");
        let is_put = self.objects.put(bucket, key, &object, is_new);
        if !is_put? {
            return Err(S3Error::Precondition);
        }
        let mut response = Response::new(Full::default());
        response.headers_mut().insert(ETAG, tag);
        Ok(response)
    }

    fn get(
        &self,
        bucket: &str,
        key: &str,
        head: &Parts,
        caller: &Caller,
    ) -> Result<Answer, S3Error> {
        let object = self.objects.get(bucket, key)?;
        // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: who may not list a
        // bucket is not told what it lacks.
        let object = object.ok_or_else(|| {
            if caller.may("s3:ListBucket") {
                S3Error::NoKey
            } else {
                S3Error::AccessDenied
            }
        })?;
        let (tag, length) = (tag(&object.bytes), object.bytes.len());
        let body = if head.method == Method::HEAD {
            Bytes::new()
        } else {
            object.bytes
        };
        let mut response = Response::new(Full::from(body));
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let value = |text: &str| HeaderValue::from_str(text).ok();
        headers.extend(value(&object.content_type).map(|value| (CONTENT_TYPE, value)));
        let asked = dsql_local::sigv4::parameters(head)
            .find(|(name, _)| name == "response-content-disposition");
        let asked = asked.and_then(|(_, asked)| value(&asked));
        headers.extend(asked.map(|asked| (CONTENT_DISPOSITION, asked)));
        Ok(response)
    }
}

fn with(mut response: Answer, headers: hyper::HeaderMap) -> Answer {
    response.headers_mut().extend(headers);
    response
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", hex::encode(Md5::digest(bytes)));
    HeaderValue::from_str(&tag).expect("hexadecimal digits are a header's")
}
