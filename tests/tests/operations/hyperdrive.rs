//! Tokens for Cloudflare Hyperdrive: the real `maintenance`, against a server that does as the
//! API's description says.

use std::time::Duration;

use dsql_local::{DsqlLocal, Options};
use lambda_local::clock::Clock;
use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::cloudflare::{ACCOUNT, Cloudflare, Failure, TOKEN};
use tests::function::{Function, Launch};
use tests::logins::{Login, Logins};
use tests::session;
use tests::template::application_with;

use crate::support::{invoke, sample};

const BLOG: &str = "00000000000000000000000000000b10";
const SHOP: &str = "000000000000000000000000000005b0";
/// The time between two runs: a quarter of a token's life.
pub(crate) const QUARTER: Duration = Duration::from_secs(900);

/// Two logins, and a configuration for each.
pub(crate) struct Site {
    pub(crate) server: DsqlLocal,
    logins: Logins,
    cloudflare: Cloudflare,
    /// The functions' and that of the IAM roles; the server's moves with it.
    pub(crate) clock: WallClock,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let server = DsqlLocal::start(Options::default()).await;
        let server = server.expect("dsql-local starts");
        let clock = WallClock::new();
        let shown = clock.clone();
        let logins = Logins::on_clock(&server, Clock::new(move || shown.now())).await;
        for name in ["blog", "shop"] {
            logins.create(name).await;
        }
        Self {
            server,
            logins,
            cloudflare: Cloudflare::start(&[BLOG, SHOP]).await,
            clock,
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.server.advance(by);
    }

    pub(crate) fn launch(&self) -> Launch {
        self.logins
            .launch_maintenance()
            .env("HYPERDRIVE_CONFIGS", format!("blog={BLOG},shop={SHOP}"))
            .env("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
            .env("CLOUDFLARE_API_TOKEN", TOKEN)
            .env("CLOUDFLARE_API_URL", self.cloudflare.url())
            .clock(&self.clock)
    }

    /// The origin of the login `blog`.
    pub(crate) fn origin(&self) -> Value {
        self.cloudflare.origin(BLOG).unwrap()
    }

    /// The logins whose configuration's origin opens a session, each as itself.
    async fn opened(&self) -> Vec<&'static str> {
        let mut opened = Vec::new();
        for (login, id) in [("blog", BLOG), ("shop", SHOP)] {
            let Some(origin) = self.cloudflare.origin(id) else {
                continue;
            };
            let given = as_answered(&self.server, &origin);
            let Ok(session) = session::open(&self.server, &given).await else {
                continue;
            };
            let row = session
                .query_one("SELECT current_user::text, current_schema()::text", &[])
                .await
                .unwrap();
            assert_eq!((row.get(0), row.get(1)), (login, login));
            opened.push(login);
        }
        opened
    }
}

/// An origin in the words of `POST /token`: where Hyperdrive, which asks the DNS, finds the server.
fn as_answered(server: &DsqlLocal, origin: &Value) -> Value {
    let mut given = origin.clone();
    given["hostaddr"] = json!(server.hostaddr());
    given["dbname"] = origin["database"].clone();
    given["options"] = json!("");
    given
}

pub(crate) async fn refresh(function: &Function) -> Value {
    invoke(function, &sample("maintenance", "refresh-hyperdrive")).await
}

/// The logins of a part of a report.
fn logins_of(part: &Value) -> Vec<&str> {
    let entries = part.as_array().unwrap().iter();
    entries
        .map(|entry| entry["login"].as_str().unwrap())
        .collect()
}

/// What the metrics of each run say, in order.
async fn refreshed(function: &Function) -> Vec<u64> {
    let lines = function.end().await;
    let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter_map(|line: Value| line["HyperdriveRefreshed"].as_u64())
        .collect()
}

#[tokio::test]
async fn each_configuration_gets_a_token_of_its_login_and_of_no_other() {
    let site = Site::start().await;
    let function = site.launch().start().await;
    let report = refresh(&function).await;
    assert_eq!(logins_of(&report["written"]), ["blog", "shop"]);
    assert_eq!(report["failed"], json!([]));
    assert_eq!(site.opened().await, ["blog", "shop"]);
    let origin = site.cloudflare.origin(BLOG).unwrap();
    for (name, expected) in [
        ("scheme", json!("postgresql")),
        ("host", json!(site.server.endpoint())),
        ("port", json!(site.server.port())),
        ("database", json!("postgres")),
        ("user", json!("blog")),
    ] {
        assert_eq!(origin[name], expected);
    }
    let token = origin["password"].as_str().unwrap();
    assert!(token.contains("Action=DbConnect&"), "of no administrator");
    assert!(!report.to_string().contains("X-Amz"), "{report}");
    for user in ["shop", "sql_function", "maintenance", "admin"] {
        let mut given = as_answered(&site.server, &origin);
        given["user"] = json!(user);
        assert!(session::open(&site.server, &given).await.is_err(), "{user}");
    }
    assert_eq!(refreshed(&function).await, [1]);
}

#[tokio::test]
async fn the_token_before_still_opens_sessions_when_two_runs_failed() {
    let site = Site::start().await;
    let function = site.launch().start().await;
    refresh(&function).await;
    for _ in 0..2 {
        site.advance(QUARTER);
        site.cloudflare.fail(&[Failure::Refused(2010); 2]);
        let report = refresh(&function).await;
        assert_eq!(logins_of(&report["failed"]), ["blog", "shop"]);
        assert_eq!(site.opened().await, ["blog", "shop"]);
    }
    site.advance(QUARTER);
    let before = site.cloudflare.origin(BLOG).unwrap();
    refresh(&function).await;
    let after = site.cloudflare.origin(BLOG).unwrap();
    assert_ne!(before["password"], after["password"]);
    // The one before has ended, the one after lasts.
    site.advance(QUARTER);
    let before = as_answered(&site.server, &before);
    assert!(session::open(&site.server, &before).await.is_err());
    assert_eq!(site.opened().await, ["blog", "shop"]);
    assert_eq!(refreshed(&function).await, [1, 0, 0, 1]);
}

#[tokio::test]
async fn what_passes_is_tried_again_within_the_run() {
    let site = Site::start().await;
    let function = site.launch().start().await;
    site.cloudflare.fail(&[
        Failure::Throttled(1),
        Failure::Status(502),
        Failure::Status(500),
        Failure::Throttled(0),
    ]);
    let report = refresh(&function).await;
    assert_eq!(report["failed"], json!([]), "{report}");
    assert_eq!(site.cloudflare.failures_left(), 0);
    assert_eq!(site.cloudflare.requests(), 6);
    assert_eq!(site.opened().await, ["blog", "shop"]);
}

#[tokio::test]
async fn a_refusal_is_final_and_is_told_in_the_apis_words() {
    let site = Site::start().await;
    for (name, value, told) in [
        (
            "CLOUDFLARE_API_TOKEN",
            "another-token",
            "10000 Authentication error",
        ),
        (
            "CLOUDFLARE_ACCOUNT_ID",
            SHOP,
            "7003 Could not route to that path",
        ),
    ] {
        let function = site.launch().env(name, value).start().await;
        let before = site.cloudflare.requests();
        let report = refresh(&function).await;
        assert_eq!(logins_of(&report["failed"]), ["blog", "shop"]);
        let reason = report["failed"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(told), "{reason}");
        assert_eq!(site.cloudflare.requests() - before, 2);
        let line = function.line_with("no fresh token of the login blog").await;
        assert!(line.contains("\"level\":\"ERROR\""), "{line}");
        assert_eq!(refreshed(&function).await, [0]);
    }
}

#[tokio::test]
async fn what_fails_for_one_login_holds_up_no_other() {
    let site = Site::start().await;
    let unknown = "000000000000000000000000000000ff";
    let configs = format!("blog={unknown},nobody={BLOG},shop={SHOP}");
    let function = site.launch().env("HYPERDRIVE_CONFIGS", configs);
    let report = refresh(&function.start().await).await;
    assert_eq!(logins_of(&report["written"]), ["shop"]);
    assert_eq!(logins_of(&report["failed"]), ["blog", "nobody"]);
    let reason = |n: usize| report["failed"][n]["reason"].as_str().unwrap();
    assert!(reason(0).contains("404"), "{report}");
    assert!(reason(1).contains("no IAM role of its own"), "{report}");
    assert_eq!(site.opened().await, ["shop"]);
}

#[tokio::test]
async fn an_api_that_does_not_answer_costs_no_more_than_the_run() {
    let site = Site::start().await;
    let function = site.launch().start().await;
    site.cloudflare.fail(&[Failure::Silence]);
    let event = sample("maintenance", "refresh-hyperdrive").to_string();
    let outcome = function.invoke(event, Duration::from_secs(6)).await;
    let report: Value = serde_json::from_slice(&outcome.response()).unwrap();
    let (written, failed) = (&report["written"], &report["failed"]);
    assert_eq!(logins_of(written).len(), 1, "{report}");
    assert_eq!(logins_of(failed).len(), 1, "{report}");
    let reason = failed[0]["reason"].as_str().unwrap();
    assert!(reason.contains("time was up"), "{reason}");
    // The next run mends it, in the same container.
    let report = refresh(&function).await;
    assert_eq!(report["failed"], json!([]), "{report}");
    assert_eq!(refreshed(&function).await, [0, 1]);
}

#[tokio::test]
async fn a_dropped_login_gets_no_token_and_the_one_it_had_opens_nothing() {
    let site = Site::start().await;
    let function = site.launch().start().await;
    refresh(&function).await;
    let shop = Login {
        name: "shop".to_owned(),
        password: String::new(),
    };
    site.logins.drop(&shop).await;
    assert_eq!(site.opened().await, ["blog"]);
    let report = refresh(&function).await;
    assert_eq!(logins_of(&report["failed"]), ["shop"]);
    assert_eq!(logins_of(&report["written"]), ["blog"]);
}

#[test]
fn the_template_runs_the_task_and_trusts_maintenance_only_with_a_configuration() {
    let configs = format!("blog={BLOG}");
    let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:cloudflare-0a1b2c";
    let with = [
        ("HyperdriveConfigs", configs.as_str()),
        ("CloudflareAccountId", ACCOUNT),
        ("CloudflareTokenSecretArn", secret),
    ];
    let reference = format!("{{{{resolve:secretsmanager:{secret}}}}}");
    for (further, is_on) in [(&with[..], true), (&[], false)] {
        let application = application_with(further, &[(&reference, TOKEN)]);
        let of = |name: &str| {
            let found = application.functions.iter().find(|f| f.logical_id == name);
            found.unwrap()
        };
        let function = of("MaintenanceFunction");
        let schedule = function.schedules.iter();
        let schedule = schedule.filter(|schedule| schedule.name == "RefreshHyperdrive");
        assert!(schedule.map(|schedule| schedule.is_enabled).eq([is_on]));
        let trusting = |arn: &Option<String>| {
            let arn = arn.as_ref().unwrap();
            let roles = application.roles.iter();
            roles.filter(|role| role.trusted.contains(arn)).count()
        };
        assert_eq!(trusting(&of("SqlFunction").role_arn), 5);
        assert_eq!(trusting(&function.role_arn), if is_on { 5 } else { 0 });
    }
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start_and_names_the_variable() {
    let site = Site::start().await;
    for (name, value) in [
        ("HYPERDRIVE_CONFIGS", "blog"),
        ("CLOUDFLARE_ACCOUNT_ID", "me"),
        ("CLOUDFLARE_API_TOKEN", ""),
    ] {
        let error = site
            .launch()
            .env(name, value)
            .try_start()
            .await
            .unwrap_err();
        let written = error.output.join("\n");
        assert!(written.contains(name), "{written}");
    }
}
