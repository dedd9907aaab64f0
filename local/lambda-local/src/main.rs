//! The command line: starts the stack of a template, tells where it is, and ends it on a signal.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lambda_local::clock::Clock;
use lambda_local::gateway::NoFront;
use lambda_local::stack::{Options, Stack};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a SAM template on this machine: its REST API, functions, schedules, queues and custom
/// resources, and the Invoke API. A cluster of Aurora DSQL becomes a dsql-local with its data in
/// the state folder.
///
/// Functions are binaries that cargo has built; one that is built again is replaced at its next
/// request.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Variables that functions get besides the template's:
  AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
                        credentials of the function's role, which the local DSQL knows with what its policies allow
  AWS_ENDPOINT_URL_SQS  where the queues are
  DSQL_HOSTADDR, DSQL_PORT, DSQL_CA_FILE
                        how the local DSQL is reached

The README says what of a template is served, what is accepted and does nothing, and what stops the start."
)]
struct Cli {
    /// The template
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    template: PathBuf,
    /// A parameter of the template; may be given more than once
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// A variable for every function, or for one as FUNCTION.NAME=VALUE; may be given more than
    /// once
    #[arg(long = "env", value_name = "[FUNCTION.]NAME=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// Where cargo put the functions' binaries
    #[arg(long, value_name = "DIR", default_value = "target/debug")]
    programs: PathBuf,
    /// Where data and logs are kept
    #[arg(long, value_name = "DIR", default_value = ".local")]
    state: PathBuf,
    /// Address of the API; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Address of the Invoke API; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9010")]
    invoke_listen: SocketAddr,
    /// The stack's name
    #[arg(long, default_value = "local")]
    stack: String,
    /// AWS Region that the stack pretends to be in
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Account that it pretends to belong to
    #[arg(long, value_name = "DIGITS", default_value = "111122223333")]
    account: String,
    /// The most containers of a function that reserves none
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    containers: u16,
    /// Leave containers running between requests, which Lambda does not
    #[arg(long)]
    no_freeze: bool,
    /// Log what happens to standard error; twice for details
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "NAME=VALUE is expected".to_owned())
}

impl Cli {
    fn options(self) -> Options {
        let mut variables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (name, value) in self.variables {
            let (function, name) = name.split_once('.').unwrap_or(("*", &name));
            variables
                .entry(function.to_owned())
                .or_default()
                .insert(name.to_owned(), value);
        }
        Options {
            template: self.template,
            stack: self.stack,
            region: self.region,
            account: self.account,
            parameters: self.parameters.into_iter().collect(),
            variables,
            programs: self.programs,
            state: self.state,
            api: self.listen,
            invoke: self.invoke_listen,
            containers: self.containers.into(),
            is_frozen_when_idle: !self.no_freeze,
            clock: Clock::wall(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    lambda_local::program::run("lambda-local", cli.verbose, run(cli))
}

async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let say = |text: &str| {
        let _unheard = writeln!(std::io::stdout(), "{text}");
    };
    let stack = tokio::select! {
        started = Stack::start(cli.options(), NoFront, &say) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    if let Some(api) = stack.api_url() {
        say(&format!("the API: {api}"));
    }
    say(&format!("the Invoke API: {}", stack.invoke_url()));
    for (name, value) in &stack.application().outputs {
        say(&format!("{name}: {value}"));
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stack.stop().await;
    Ok(())
}
