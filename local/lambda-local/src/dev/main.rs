//! `make dev`: a local DSQL, the template's functions, queue and schedules beside it, the chat page
//! before them, a visitor's token and a login to try them with. Ctrl-C ends all of it.

mod key;
mod ready;
mod settings;
mod site_front;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use lambda_local::clock::Clock;
use lambda_local::site::Site;
use lambda_local::stack::{Options, Stack, StackError};
use tokio::signal::unix::{SignalKind, signal};

use key::VisitorKey;
use settings::Settings;
use site_front::SiteFront;

/// Who the printed token and the page are for.
const VISITOR: &str = "visitor-1";
/// How long the printed token is valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const ISSUER: &str = "http://localhost";
const AUDIENCE: &str = "chat";

fn main() -> ExitCode {
    let settings = Settings::parse();
    lambda_local::program::run("dev", settings.verbose, run(settings))
}

async fn run(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stack = tokio::select! {
        started = start(&settings) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say("\nstopping")?;
    stack.stop().await;
    Ok(())
}

async fn start(settings: &Settings) -> Result<Stack, Box<dyn std::error::Error>> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.state)?;
    let clock = Clock::wall();
    let key = VisitorKey::open(&settings.file("jwt-key.pem"))?;
    let key_set = key.key_set();
    let token = key.token(ISSUER, AUDIENCE, VISITOR, clock.now(), TOKEN_LIFETIME);
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = Options {
        api: local(settings.port),
        invoke: local(settings.lambda_port()),
        parameters: settings.parameters(&key_set, ISSUER),
        variables: Settings::variables(),
        programs: settings.programs.clone(),
        state: settings.state.clone(),
        containers: settings.containers.into(),
        is_frozen_when_idle: !settings.no_freeze,
        ..Options::new(&settings.template)
    };
    let site = Site::new(&settings.page);
    let front = SiteFront {
        site: site.clone(),
        key,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        visitor: VISITOR.to_owned(),
        clock,
    };
    let stack = Stack::start(options, front, &|step| {
        let _unheard = say(step);
    })
    .await
    .map_err(with_hint)?;
    if let Some(url) = stack.buckets_url() {
        site.allow_bucket(&url);
    }
    ready::migrate(&stack).await?;
    let connection = ready::connection_string(&stack, &settings.file("connection-string")).await?;
    let api = stack.api_url().unwrap_or_default();
    let invoke = stack.invoke_url();
    let mut variables: Vec<(String, String)> = [
        ("API_URL", api.as_str()),
        ("LAMBDA_URL", &invoke),
        ("TOKEN", &token),
        ("DATABASE_URL", &connection),
        ("AUTH_JWKS", &key_set),
        ("AUTH_ISSUER", ISSUER),
        ("AUTH_AUDIENCE", AUDIENCE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    variables.extend(stack.database_env());
    let control = variables
        .iter()
        .find(|(name, _)| name == "DSQL_CONTROL_URL")
        .map(|(_, url)| url.clone())
        .unwrap_or_default();
    ready::keep(&settings.file("dev.env"), &ready::env_lines(&variables))?;
    let state = settings.state.display().to_string();
    say(&ready::text(&api, &invoke, &connection, &state, &control))?;
    Ok(stack)
}

/// What to do about a port that is taken.
fn with_hint(error: StackError) -> Box<dyn std::error::Error> {
    match error {
        StackError::Listen { address, source } => format!(
            "cannot listen on {address}: {source}. Stop what listens there, or run 'make dev DEV_PORT=9100'"
        )
        .into(),
        other => other.into(),
    }
}

/// One thing for a person to read, at once.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
