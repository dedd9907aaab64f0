//! Owns a running stack: a template with everything it needs on this machine. Starting it is a
//! deployment: the database, then functions, then custom resources, and only then what triggers
//! functions. Each function acts as its own role of the template, which the local DSQL knows as a
//! principal with the actions that the role's policies allow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dsql_local::DsqlLocal;
use tokio::net::TcpListener;

use crate::application::Application;
use crate::bucket::Objects;
use crate::clock::Clock;
use crate::container::{Container, Launch};
use crate::custom_resource::{CustomResourceError, CustomResources};
use crate::gateway::{Front, Gateway};
use crate::identity::Identities;
use crate::invoke_api::InvokeApi;
use crate::invoker::{InvokeError, Invoker};
use crate::lambda::Lambda;
use crate::pool::{Limits, Pool};
use crate::programs::{self, ProgramError};
use crate::queue::{self, Queues};
use crate::scheduler::Scheduler;
use crate::services::Services;
use crate::template::{Inputs, Template, TemplateError};

/// Lines of a container that are kept for `LogType: Tail` and for errors.
const KEPT_LINES: usize = 200;
const CLUSTER: &str = "AWS::DSQL::Cluster";
/// A free port.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// What stands for a cluster's host until it runs.
const UNKNOWN_ENDPOINT: &str = "cluster.invalid";

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The template.
    pub template: PathBuf,
    /// The stack's name.
    pub stack: String,
    /// AWS Region that it pretends to be in.
    pub region: String,
    /// Account that it pretends to belong to, 12 digits.
    pub account: String,
    /// The template's parameters, where their defaults do not do.
    pub parameters: BTreeMap<String, String>,
    /// Variables beside or in place of the template's, by logical id; `*` is every function.
    pub variables: BTreeMap<String, BTreeMap<String, String>>,
    /// Where cargo put the functions' binaries.
    pub programs: PathBuf,
    /// Where data, keys and logs are kept.
    pub state: PathBuf,
    /// Where the API listens; loopback only.
    pub api: SocketAddr,
    /// Where the Invoke API listens; loopback only.
    pub invoke: SocketAddr,
    /// The most containers of a function that reserves none.
    pub containers: usize,
    /// Whether containers are stopped between invocations.
    pub is_frozen_when_idle: bool,
    /// For deadlines, triggers and roles; functions see it only where `variables` say so.
    pub clock: Clock,
}

/// Why a stack does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A function has no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The database.
    #[error(transparent)]
    Database(#[from] dsql_local::StartError),
    /// An address is taken or may not be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// It never listens where another machine could reach it.
    #[error(
        "{0} is not a loopback address; lambda-local is a development tool and listens on loopback only"
    )]
    NotLoopback(SocketAddr),
    /// A file of the stack's state.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A custom resource failed.
    #[error(transparent)]
    CustomResource(#[from] CustomResourceError),
    /// An event source.
    #[error(transparent)]
    EventSource(#[from] queue::SourceError),
    /// The template has no API to serve.
    #[error("{0} has several APIs; only one can be served")]
    SeveralApis(PathBuf),
}

/// A running stack. Dropping it ends it at once; [`stop`](Self::stop) also awaits the database.
#[derive(Debug)]
pub struct Stack {
    application: Application,
    lambda: Arc<Lambda>,
    database: Option<DsqlLocal>,
    gateway: Option<Gateway>,
    invoke: SocketAddr,
    _invoke_api: InvokeApi,
    services: Services,
    _triggers: Triggers,
}

/// What invokes functions by itself.
#[derive(Debug)]
struct Triggers {
    _queues: queue::Endpoint,
    _sources: queue::EventSources,
    _scheduler: Scheduler,
}

impl Options {
    /// A template with defaults: the Region us-east-1, free ports, its state in `.local`.
    pub fn new(template: impl Into<PathBuf>) -> Self {
        Self {
            template: template.into(),
            stack: "local".to_owned(),
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            parameters: BTreeMap::new(),
            variables: BTreeMap::new(),
            programs: PathBuf::from("target/debug"),
            state: PathBuf::from(".local"),
            api: ANYWHERE,
            invoke: ANYWHERE,
            containers: 8,
            is_frozen_when_idle: true,
            clock: Clock::wall(),
        }
    }
}

impl Stack {
    /// Starts everything, telling `progress` each step. `front` gets what is not the API's.
    ///
    /// # Errors
    /// [`StackError`]: the template, a program, an address, the database, a custom resource.
    pub async fn start(
        options: Options,
        front: impl Front,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, StackError> {
        let template = Template::read(&options.template)?;
        let clock = options.clock.clone();
        // Taken first: whoever has the wrong port waits for nothing.
        let api_listener = listen(options.api).await?;
        let invoke_listener = listen(options.invoke).await?;
        let mut inputs = options.inputs();
        let clusters = template.logical_ids(CLUSTER);
        for cluster in &clusters {
            inputs
                .attributes
                .extend(options.cluster_attributes(UNKNOWN_ENDPOINT, cluster));
        }
        // Whatever is wrong with the template or a program is told before anything starts.
        let first = template.resolve(&inputs)?;
        let base = options.template.parent().unwrap_or(Path::new("."));
        for function in &first.functions {
            programs::program(base, &options.programs, function)?;
        }
        let database = if first.clusters.is_empty() {
            None
        } else {
            progress("starting the database");
            let database = DsqlLocal::start(options.database()).await?;
            for cluster in &clusters {
                let attributes = options.cluster_attributes(database.endpoint(), cluster);
                inputs.attributes.extend(attributes);
            }
            Some(database)
        };
        let queues = Queues::new(&first.queues, clock.clone());
        let endpoint = queue::Endpoint::start(queues.clone(), 0)
            .await
            .map_err(cannot_listen(ANYWHERE))?;
        for queue in &first.queues {
            let url = format!("{}/{}/{}", endpoint.url(), options.account, queue.name);
            inputs.attributes.insert(queue.logical_id.clone(), url);
        }
        let application = template.resolve(&inputs)?;
        let queues_url = endpoint.url();
        let (lambda, services) = options
            .functions(base, &application, database.as_ref(), queues_url, &clock)
            .await?;
        let invoker = lambda.invoker();
        options
            .provide(
                &application,
                &mut inputs,
                database.as_ref(),
                &invoker,
                progress,
            )
            .await?;
        let application = template.resolve(&inputs)?;
        let sources = queue::EventSources::start(&application, &queues, &invoker)?;
        let scheduler = Scheduler::start(&application, &invoker, &clock);
        let invoke = invoke_listener
            .local_addr()
            .map_err(cannot_listen(options.invoke))?;
        let gateway = match application.apis.as_slice() {
            [] => None,
            [api] => Some(
                Gateway::serve(
                    api_listener,
                    api.clone(),
                    &options.account,
                    Arc::clone(&lambda),
                    clock,
                    front,
                )
                .map_err(cannot_listen(options.api))?,
            ),
            _ => return Err(StackError::SeveralApis(options.template)),
        };
        Ok(Self {
            invoke,
            _invoke_api: InvokeApi::serve(invoke_listener, Arc::clone(&lambda)),
            application,
            lambda,
            database,
            gateway,
            services,
            _triggers: Triggers {
                _queues: endpoint,
                _sources: sources,
                _scheduler: scheduler,
            },
        })
    }

    /// What runs.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Where the API is, without a slash at the end; `None` where the template has none.
    pub fn api_url(&self) -> Option<String> {
        Some(self.gateway.as_ref()?.url())
    }

    /// Where the Invoke API is, without a slash at the end.
    pub fn invoke_url(&self) -> String {
        format!("http://{}", self.invoke)
    }

    /// Where the buckets are, without a slash at the end; `None` where the template has none.
    pub fn buckets_url(&self) -> Option<String> {
        self.services.buckets_url()
    }

    /// The variables of a client of the cluster that may do everything.
    pub fn database_env(&self) -> Vec<(String, String)> {
        self.database
            .as_ref()
            .map(DsqlLocal::env)
            .unwrap_or_default()
    }

    /// The local DSQL, where the template has a cluster.
    pub fn database(&self) -> Option<&DsqlLocal> {
        self.database.as_ref()
    }

    /// The containers of a function, by its name, logical id or ARN, to stop or kill them.
    pub fn containers(&self, function: &str) -> Vec<Arc<Container>> {
        let pool = self.lambda.pool(function);
        pool.map(Pool::running).unwrap_or_default()
    }

    /// Invokes a function by its name, logical id or ARN.
    ///
    /// # Errors
    /// [`InvokeError`] when there is no answer.
    pub async fn invoke(
        &self,
        function: &str,
        event: impl Into<Bytes>,
    ) -> Result<Bytes, InvokeError> {
        self.lambda.invoke(function, event.into()).await
    }

    /// Ends functions and triggers, then the database.
    pub async fn stop(self) {
        self.lambda.stop();
        if let Some(database) = self.database {
            database.stop().await;
        }
    }
}

impl Options {
    fn inputs(&self) -> Inputs {
        Inputs {
            stack: self.stack.clone(),
            region: self.region.clone(),
            account: self.account.clone(),
            parameters: self.parameters.clone(),
            attributes: BTreeMap::new(),
        }
    }

    fn database(&self) -> dsql_local::Options {
        dsql_local::Options {
            data_dir: Some(self.state.join("dsql")),
            region: self.region.clone(),
            account_id: self.account.clone(),
            ..dsql_local::Options::default()
        }
    }

    /// What a cluster's own attributes are here.
    fn cluster_attributes(&self, endpoint: &str, cluster: &str) -> [(String, String); 3] {
        let identifier = endpoint.split('.').next().unwrap_or(endpoint);
        let arn = format!(
            "arn:aws:dsql:{}:{}:cluster/{identifier}",
            self.region, self.account
        );
        [
            (format!("{cluster}.Endpoint"), endpoint.to_owned()),
            (format!("{cluster}.Identifier"), identifier.to_owned()),
            (format!("{cluster}.ResourceArn"), arn),
        ]
    }

    fn stack_id(&self) -> String {
        format!(
            "arn:aws:cloudformation:{}:{}:stack/{}/0",
            self.region, self.account, self.stack
        )
    }

    /// Brings the custom resources up to date, in their order; `inputs` learn their answers.
    async fn provide(
        &self,
        application: &Application,
        inputs: &mut Inputs,
        database: Option<&DsqlLocal>,
        invoker: &Invoker,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), StackError> {
        let resources = CustomResources::start(
            self.stack_id(),
            self.state_file(database),
            invoker.clone(),
            self.clock.clone(),
        )
        .await?;
        for resource in &application.custom_resources {
            progress(&format!("providing {}", resource.logical_id));
            let provided = resources.apply(resource).await?;
            for (name, value) in provided.attributes {
                let name = format!("{}.{name}", resource.logical_id);
                inputs.attributes.insert(name, value);
            }
        }
        Ok(())
    }

    /// What custom resources answered belongs to the data that they made.
    fn state_file(&self, database: Option<&DsqlLocal>) -> PathBuf {
        let of = database.map_or("stack", |database| {
            let endpoint = database.endpoint();
            endpoint.split('.').next().unwrap_or(endpoint)
        });
        self.state.join(format!("custom-resources-{of}.json"))
    }

    /// The functions, and what they call.
    async fn functions(
        &self,
        base: &Path,
        application: &Application,
        database: Option<&DsqlLocal>,
        queues_url: String,
        clock: &Clock,
    ) -> Result<(Arc<Lambda>, Services), StackError> {
        let identities = Identities::new(application, &self.account, database)?;
        let objects = Objects::below(self.state.join("buckets"));
        let region = &self.region;
        let services = Services::start(application, &identities, objects, region, clock).await;
        let services = services.map_err(cannot_listen(ANYWHERE))?;
        let mut endpoints = services.endpoints();
        endpoints.push(("AWS_ENDPOINT_URL_SQS", queues_url));
        let lambda = self.lambda(base, application, database, &identities, &endpoints)?;
        Ok((Arc::new(lambda), services))
    }

    fn lambda(
        &self,
        base: &Path,
        application: &Application,
        database: Option<&DsqlLocal>,
        identities: &Identities,
        endpoints: &[(&'static str, String)],
    ) -> Result<Lambda, StackError> {
        let logs = self.state.join("logs");
        fs::create_dir_all(&logs).map_err(|source| StackError::File {
            path: logs.clone(),
            source,
        })?;
        let mut lambda = Lambda::default();
        for function in &application.functions {
            let program = programs::program(base, &self.programs, function)?;
            let binary = programs::binary_name(base, function)?;
            let sink = log_file(&logs.join(format!("{binary}.log")))?;
            let mut launch = Launch::function(&program, function)
                .clock(self.clock.clone())
                .keep_lines(KEPT_LINES)
                .pass_lines_to(sink)
                .env("AWS_REGION", &self.region)
                .env("AWS_DEFAULT_REGION", &self.region)
                .envs(endpoints.iter().cloned());
            if let Some(database) = database {
                launch = launch.envs(database_variables(database));
            }
            launch = launch.envs(identities.variables(function));
            for of in ["*", function.logical_id.as_str()] {
                launch = launch.envs(self.variables.get(of).cloned().unwrap_or_default());
            }
            let limits = Limits {
                containers: function.reserved_concurrency.unwrap_or(self.containers),
                is_frozen_when_idle: self.is_frozen_when_idle,
                timeout: function.timeout,
            };
            let names = [function.arn.clone(), binary];
            lambda.add(
                &function.logical_id,
                &function.name,
                names,
                Pool::new(launch, limits),
            );
        }
        Ok(lambda)
    }
}

fn database_variables(database: &DsqlLocal) -> [(&'static str, String); 3] {
    [
        ("DSQL_HOSTADDR", database.hostaddr()),
        ("DSQL_PORT", database.port().to_string()),
        ("DSQL_CA_FILE", database.ca_file().display().to_string()),
    ]
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StackError> {
    if !address.ip().is_loopback() {
        return Err(StackError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(cannot_listen(address))
}

fn cannot_listen(address: SocketAddr) -> impl FnOnce(std::io::Error) -> StackError {
    move |source| StackError::Listen { address, source }
}

/// A function's log, started afresh.
fn log_file(path: &Path) -> Result<impl Fn(&str) + Send + Sync + 'static, StackError> {
    let file = File::create(path).map_err(|source| StackError::File {
        path: path.to_owned(),
        source,
    })?;
    let file = Mutex::new(file);
    Ok(move |line: &str| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk is no reason to end a function.
        let _unwritten = writeln!(file, "{line}");
    })
}
