//! Owns the bucket that functions under test have for uploads: `lambda-local`'s, for the principal
//! that stands for those of all functions, and a client that sends what a page would.

use std::time::SystemTime;

use lambda_local::application::{Bucket as Described, CorsRule};
use lambda_local::bucket::{Caller, Endpoint, Objects};
use lambda_local::clock::Clock;
use lambda_local::sts::Keys;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, send};
use crate::function::Launch;
use crate::stack::Stack;

const NAME: &str = "uploads";
const REGION: &str = "us-east-1";
/// What the roles of all functions allow together.
const ACTIONS: [&str; 4] = [
    "s3:PutObject",
    "s3:GetObject",
    "s3:DeleteObject",
    "s3:ListBucket",
];
/// Whose pages may upload.
pub const ORIGIN: &str = "https://blog.example.com";
/// And those that tests show in a browser.
const PAGES: &str = "http://127.0.0.1:*";

/// A running bucket; dropped, it is gone with its objects.
#[derive(Debug)]
pub struct Bucket {
    endpoint: Endpoint,
    objects: Objects,
    _folder: TempDir,
}

impl Bucket {
    /// A bucket that goes by `now`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(
        stack: &Stack,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self::allowing(&ACTIONS, stack, now).await
    }

    /// The same for roles that allow `actions` alone.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn allowing(
        actions: &[&str],
        stack: &Stack,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let objects = Objects::below(folder.path());
        let admin = stack.server.admin();
        let caller = Caller {
            keys: Keys {
                access_key_id: admin.access_key_id.clone(),
                secret_access_key: admin.secret_access_key.expose().to_owned(),
                session_token: String::new(),
            },
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        };
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let bucket = Described {
            logical_id: "UploadsBucket".to_owned(),
            name: NAME.to_owned(),
            cors: vec![CorsRule {
                allowed_origins: list(&[ORIGIN, PAGES]),
                allowed_methods: list(&["PUT", "GET"]),
                allowed_headers: list(&["content-type", "if-none-match"]),
                exposed_headers: list(&["etag"]),
                max_age_seconds: Some(600),
            }],
        };
        let clock = Clock::new(now);
        let endpoint = Endpoint::start(
            0,
            vec![bucket],
            objects.clone(),
            vec![caller],
            REGION,
            clock,
        );
        Self {
            endpoint: endpoint.await.expect("a free port"),
            objects,
            _folder: folder,
        }
    }

    /// A function that has it.
    #[must_use]
    pub fn given_to(&self, launch: Launch) -> Launch {
        launch
            .env("UPLOADS_BUCKET", NAME)
            .env("AWS_ENDPOINT_URL_S3", self.endpoint.url())
            .env("AWS_REGION", REGION)
    }

    /// Where it answers, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    /// How many objects there are.
    ///
    /// # Panics
    /// When its folder cannot be read.
    pub fn objects(&self) -> usize {
        self.objects.count(NAME).expect("a folder")
    }
}

/// Uploads as the answer to `POST /api/uploads` says.
///
/// # Panics
/// When it says nothing of the kind.
pub async fn put(made: &Value, bytes: &[u8]) -> Answer {
    let upload = &made["upload"];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let headers = upload["headers"].as_object().expect("headers");
    let headers: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (method, url) = (text(&upload["method"]), text(&upload["url"]));
    send(&method, &url, &headers, bytes).await
}
