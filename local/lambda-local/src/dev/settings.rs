//! Owns what a user may choose, on the command line or by a variable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;

/// A feed or a sitemap of the blog: a variable of the caller that stands for the template's
/// parameter.
const BLOG_FEED: &str = "BLOG_FEED";
/// MCP servers, likewise.
const MCP_SERVERS: &str = "MCP_SERVERS";

/// Variables of the caller that `chat`, `chats` and `jobs` are given, so that another model
/// answers.
const MODEL_VARIABLES: [&str; 13] = [
    "MODEL_PROVIDER",
    "MODEL_ID",
    "MODEL_ALLOWED",
    "MODEL_MAX_TOKENS",
    "BEDROCK_REGION",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "ECHO_DELAY_MS",
    "ECHO_REASONING",
    "ECHO_DIRECTIVES",
    "SYSTEM_PROMPT",
    "MCP_SECRET",
];

/// Where `npm run dev` serves a page beside this, of Nuxt and of Vite: it passes the API on, and
/// uploads to the bucket itself.
const DEVELOPMENT_SERVERS: &str = "http://localhost:3000,http://localhost:5173";

/// A local Aurora DSQL, the functions of template.yaml, and the chat page, on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "dev",
    version,
    after_help = "\
Without a model's address replies are an echo. With Ollama:
  MODEL_PROVIDER=openai OPENAI_BASE_URL=http://127.0.0.1:11434/v1 MODEL_ID=llama3.2 make dev

With make, options go into ARGS:
  make dev ARGS=\"--parameter DeploymentTokensPerDay=100000 --no-freeze\""
)]
pub(crate) struct Settings {
    /// Port of the page and the API, on 127.0.0.1
    #[arg(long, env = "DEV_PORT", default_value_t = 9000)]
    pub(crate) port: u16,
    /// Port of the Invoke API; without it, ten above the other
    #[arg(long, env = "DEV_LAMBDA_PORT")]
    lambda_port: Option<u16>,
    /// The template
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    pub(crate) template: PathBuf,
    /// The page's files
    #[arg(long, value_name = "DIR", default_value = "examples/blog/dist")]
    pub(crate) page: PathBuf,
    /// Where cargo has put the functions
    #[arg(long, value_name = "DIR", default_value = "target/debug")]
    pub(crate) programs: PathBuf,
    /// Where data, keys and logs are kept; remove it to start afresh
    #[arg(long, value_name = "DIR", default_value = ".local")]
    pub(crate) state: PathBuf,
    /// A parameter of the template; may be given more than once
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// The most containers of a function
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) containers: u16,
    /// Leave containers running between requests, which Lambda does not
    #[arg(long)]
    pub(crate) no_freeze: bool,
    /// Log what happens to standard error; twice for details
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "NAME=VALUE is expected".to_owned())
}

impl Settings {
    /// Port of the Invoke API.
    pub(crate) fn lambda_port(&self) -> u16 {
        self.lambda_port.unwrap_or(self.port.saturating_add(10))
    }

    /// A file of the state.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.state.join(Path::new(name))
    }

    /// The template's parameters: what this machine needs, then what the user says.
    pub(crate) fn parameters(&self, key_set: &str, issuer: &str) -> BTreeMap<String, String> {
        let model = std::env::var("MODEL_ID").unwrap_or_else(|_| "echo".to_owned());
        let allowed = std::env::var("MODEL_ALLOWED").unwrap_or_else(|_| model.clone());
        let feed = std::env::var(BLOG_FEED).unwrap_or_default();
        let servers = std::env::var(MCP_SERVERS).unwrap_or_default();
        // The bucket is at another port, so it is told of the pages' origins.
        let origins = format!(
            "http://127.0.0.1:{0},http://localhost:{0},{DEVELOPMENT_SERVERS}",
            self.port
        );
        let own = [
            ("AuthJwks", key_set),
            ("Uploads", "on"),
            ("CorsAllowedOrigins", &origins),
            ("BlogFeed", &feed),
            ("McpServers", &servers),
            ("AuthIssuer", issuer),
            ("SqlHostName", "localhost"),
            ("ModelId", &model),
            ("AllowedModelIds", &allowed),
            ("TitleModelId", &model),
        ];
        own.into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.parameters.iter().cloned())
            .collect()
    }

    /// Variables by function, over the template's: the model that the caller chose, an echo
    /// without.
    pub(crate) fn variables() -> BTreeMap<String, BTreeMap<String, String>> {
        let mut model: BTreeMap<String, String> = MODEL_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        model
            .entry("MODEL_PROVIDER".to_owned())
            .or_insert_with(|| "echo".to_owned());
        ["ChatFunction", "ChatsFunction", "JobsFunction"]
            .into_iter()
            .map(|function| (function.to_owned(), model.clone()))
            .collect()
    }
}
