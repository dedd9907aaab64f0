//! The repository's own template.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda_local::application::{Application, Role, Throttle};
use lambda_local::schedule::Expression;
use lambda_local::template::Template;
use serde_json::json;

use super::{function, inputs, owned, repository};

const MODEL: &str = "global.amazon.nova-2-lite-v1:0";
/// What stands here for the secret that a stack generates.
const HASH_KEY: &str = "chat-AddressHashKey-generated-on-this-machine";

fn application() -> Application {
    let template = Template::read(&repository()).unwrap();
    template.resolve(&inputs()).unwrap()
}

#[test]
fn it_has_every_function_with_its_limits() {
    let application = application();
    let found: Vec<_> = application
        .functions
        .iter()
        .map(|function| {
            (
                function.name.as_str(),
                function.code_uri.to_str().unwrap(),
                function.timeout.as_secs(),
                function.memory_mb,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("chat-AdminFunction", "functions/admin", 900, 256),
            ("chat-ChatsFunction", "functions/chats", 29, 256),
            ("chat-ChatFunction", "functions/chat", 300, 256),
            ("chat-JobsFunction", "functions/jobs", 300, 256),
            (
                "chat-MaintenanceFunction",
                "functions/maintenance",
                300,
                256
            ),
            ("chat-SqlFunction", "functions/sql", 29, 256),
        ]
    );
    let admin = function(&application, "AdminFunction");
    assert_eq!(
        admin.arn,
        "arn:aws:lambda:us-east-1:123456789012:function:chat-AdminFunction"
    );
    assert_eq!(
        admin.role_arn.as_deref(),
        Some("arn:aws:iam::123456789012:role/chat-AdminRole")
    );
    assert_eq!(admin.reserved_concurrency, None);
    assert_eq!(admin.container_concurrency, None);
}

/// The address of a queue of the stack.
fn queue(logical_id: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/123456789012/chat-{logical_id}")
}

#[test]
fn every_function_gets_its_variables_and_the_global_one() {
    let application = application();
    let (jobs, dead_letters) = (queue("JobsQueue"), queue("JobsDeadLetters"));
    let session_roles = [1, 2, 3, 4, 5]
        .map(|n| format!("arn:aws:iam::123456789012:role/chat-SqlSession{n}Role"))
        .join(",");
    let expected = [
        (
            "AdminFunction",
            vec![
                ("DSQL_ROLE", "admin"),
                ("SQL_SESSION_ROLES", session_roles.as_str()),
            ],
        ),
        (
            "ChatsFunction",
            vec![
                ("DSQL_ROLE", "chats"),
                ("MODEL_PROVIDER", "bedrock"),
                ("MODEL_ID", MODEL),
                ("MODEL_ALLOWED", ""),
                ("MODEL_TOOLS", "false"),
                ("ADDRESS_HASH_KEY", HASH_KEY),
                ("AUTH_JWKS", r#"{"keys":[]}"#),
                ("AUTH_ISSUER", "https://blog.example.com"),
                ("AUTH_AUDIENCE", "chat"),
                ("CORS_ALLOWED_ORIGINS", ""),
                ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
            ],
        ),
        (
            "ChatFunction",
            vec![
                ("DSQL_ROLE", "chat"),
                ("MODEL_PROVIDER", "bedrock"),
                ("TITLES_BY_MODEL", "false"),
                ("MCP_SERVERS", ""),
                ("BLOG_FEED", ""),
                ("ADDRESS_HASH_KEY", HASH_KEY),
                ("MODEL_ID", MODEL),
                ("MODEL_ALLOWED", ""),
                ("MODEL_MAX_TOKENS", "4096"),
                ("TOKENS_PER_DAY_ALL", "5000000"),
                ("BEDROCK_REGION", "us-east-1"),
                ("OPENAI_BASE_URL", ""),
                ("AUTH_JWKS", r#"{"keys":[]}"#),
                ("AUTH_ISSUER", "https://blog.example.com"),
                ("AUTH_AUDIENCE", "chat"),
                ("CORS_ALLOWED_ORIGINS", ""),
                ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
            ],
        ),
        (
            "JobsFunction",
            vec![
                ("DSQL_ROLE", "jobs"),
                ("MODEL_PROVIDER", ""),
                ("MODEL_ID", ""),
                ("ADDRESS_HASH_KEY", HASH_KEY),
                ("TOKENS_PER_DAY_ALL", "5000000"),
                ("BEDROCK_REGION", "us-east-1"),
                ("OPENAI_BASE_URL", ""),
            ],
        ),
        (
            "MaintenanceFunction",
            vec![
                ("DSQL_ROLE", "maintenance"),
                ("JOBS_QUEUE_URL", jobs.as_str()),
                ("JOBS_DLQ_URL", dead_letters.as_str()),
                ("HYPERDRIVE_CONFIGS", ""),
                ("CLOUDFLARE_ACCOUNT_ID", ""),
                ("BLOG_FEED", ""),
            ],
        ),
        (
            "SqlFunction",
            vec![
                ("DSQL_ROLE", "sql_function"),
                ("AUTH_JWKS", r#"{"keys":[]}"#),
                ("AUTH_ISSUER", "https://blog.example.com"),
                ("AUTH_AUDIENCE", "chat"),
                ("SQL_AUTH_AUDIENCE", ""),
                ("SQL_CONNECT_AHEAD", ""),
                ("SQL_TOKENS", "on"),
                ("SQL_TOKEN_SECONDS", "900"),
                ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
            ],
        ),
    ];
    for (logical_id, own) in expected {
        let mut variables = owned(&own);
        let endpoint = "abc.dsql.us-east-1.on.aws".to_owned();
        variables.insert("DSQL_ENDPOINT".to_owned(), endpoint);
        variables.insert("STACK_NAME".to_owned(), "chat".to_owned());
        let found = &function(&application, logical_id).environment;
        assert_eq!(found, &variables, "{logical_id}");
    }
}

#[test]
fn every_route_leads_to_its_function_and_the_chat_functions_stream() {
    let application = application();
    let [api] = application.apis.as_slice() else {
        panic!("one API");
    };
    assert_eq!((api.name.as_str(), api.stage.as_str()), ("chat", "v1"));
    assert_eq!(api.binary_media_types, ["*/*"]);
    assert_eq!(api.cors, None);
    let kinds: Vec<_> = api.gateway_responses.keys().collect();
    assert_eq!(kinds, ["DEFAULT_4XX", "DEFAULT_5XX"]);
    for response in api.gateway_responses.values() {
        assert_eq!(response.headers["Access-Control-Allow-Origin"], "*");
    }
    let throttle = Throttle {
        rate: 100.0,
        burst: 200.0,
    };
    assert_eq!(api.throttle, Some(throttle));
    let of_methods: Vec<_> = api
        .method_throttles
        .iter()
        .map(|(method, throttle)| (method.as_str(), throttle.rate, throttle.burst))
        .collect();
    assert_eq!(
        of_methods,
        [
            ("GET /api/me/export", 5.0, 10.0),
            ("POST /api/chat", 20.0, 40.0),
            ("POST /api/chats/{id}", 20.0, 40.0),
        ]
    );
    let routes: Vec<_> = api
        .routes
        .iter()
        .map(|route| format!("{} {} {}", route.method, route.path, route.function))
        .collect();
    assert_eq!(
        routes,
        [
            "ANY /api/{proxy+} ChatsFunction",
            "ANY /api/chats ChatsFunction",
            "GET /api/chats/{id} ChatsFunction",
            "PATCH /api/chats/{id} ChatsFunction",
            "DELETE /api/chats/{id} ChatsFunction",
            "OPTIONS /api/chats/{id} ChatsFunction",
            "OPTIONS /api/chat ChatsFunction",
            "OPTIONS /api/chat/{id}/stream ChatsFunction",
            "OPTIONS /api/chat/{id}/stop ChatsFunction",
            "OPTIONS /api/me/export ChatsFunction",
            "OPTIONS /api/chats/{id}/{part}/stream ChatsFunction",
            "ANY /api/chats/{id}/{part} ChatsFunction",
            "ANY /api/chats/{id}/{part}/{proxy+} ChatsFunction",
            "POST /api/chat ChatFunction",
            "POST /api/chats/{id} ChatFunction",
            "GET /api/chat/{id}/stream ChatFunction",
            "GET /api/chats/{id}/{part}/stream ChatFunction",
            "POST /api/chat/{id}/stop ChatFunction",
            "GET /api/me/export ChatFunction",
            "POST /sql SqlFunction",
            "OPTIONS /sql SqlFunction",
            "POST /token SqlFunction",
            "OPTIONS /token SqlFunction",
            "GET /v2 SqlFunction",
        ]
    );
    for route in &api.routes {
        let streams = route.function == "ChatFunction";
        assert_eq!(route.is_streamed, streams, "{}", route.path);
        let seconds = if streams { 300 } else { 29 };
        assert_eq!(route.timeout, Duration::from_secs(seconds));
    }
}

#[test]
fn maintenance_has_its_schedules() {
    let application = application();
    let schedules = &function(&application, "MaintenanceFunction").schedules;
    let expected = [
        ("Relay", "rate(1 minute)", "relay", 2, 300),
        ("Reap", "rate(1 minute)", "reap", 2, 300),
        ("Purge", "cron(17 * * * ? *)", "purge", 2, 3_600),
        (
            "RollUpUsage",
            "cron(43 3 2 * ? *)",
            "roll-up-usage",
            5,
            86_400,
        ),
        (
            "RefreshHyperdrive",
            "rate(15 minutes)",
            "refresh-hyperdrive",
            2,
            600,
        ),
        ("IndexPosts", "rate(1 hour)", "index-posts", 1, 1_800),
    ];
    assert_eq!(schedules.len(), expected.len());
    for (schedule, (name, expression, task, attempts, age)) in schedules.iter().zip(expected) {
        assert_eq!(schedule.name, name);
        assert_eq!(schedule.expression, Expression::parse(expression).unwrap());
        assert_eq!(schedule.input, Some(json!({ "task": task })));
        // By default there is nothing to refresh, and nothing to index.
        let is_off = ["RefreshHyperdrive", "IndexPosts"].contains(&name);
        assert_eq!(schedule.is_enabled, !is_off);
        assert_eq!(schedule.maximum_retry_attempts, attempts);
        assert_eq!(schedule.maximum_event_age, Duration::from_secs(age));
    }
}

#[test]
fn jobs_are_fed_from_the_queue_whose_dead_letters_are_kept() {
    let application = application();
    let [queue, dead_letters] = application.queues.as_slice() else {
        panic!("two queues");
    };
    assert_eq!(queue.name, "chat-JobsQueue");
    assert_eq!(queue.visibility_timeout, Duration::from_secs(1_800));
    assert_eq!(queue.retention, Duration::from_secs(345_600));
    assert_eq!(queue.delay, Duration::ZERO);
    let redrive = queue.redrive.as_ref().unwrap();
    assert_eq!(redrive.dead_letter_arn, dead_letters.arn);
    assert_eq!(redrive.max_receive_count, 5);
    assert_eq!(dead_letters.retention, Duration::from_secs(1_209_600));
    assert_eq!(dead_letters.redrive, None);

    let [source] = function(&application, "JobsFunction")
        .queue_sources
        .as_slice()
    else {
        panic!("one source");
    };
    assert_eq!(source.queue_arn, queue.arn);
    assert_eq!(source.batch_size, 10);
    assert_eq!(source.batching_window, Duration::ZERO);
    assert!(source.reports_item_failures);
    assert_eq!(source.maximum_concurrency, Some(2));
    assert!(source.is_enabled);
}

#[test]
fn the_schema_is_asked_of_admin_with_text_for_every_value() {
    let application = application();
    let [schema] = application.custom_resources.as_slice() else {
        panic!("one custom resource");
    };
    assert_eq!(schema.logical_id, "Schema");
    assert_eq!(schema.resource_type, "Custom::DatabaseSchema");
    assert_eq!(schema.service_timeout, Duration::from_secs(900));
    let admin = &function(&application, "AdminFunction").arn;
    assert_eq!(&schema.service_token, admin);
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/chat-{name}Role");
    let expected = json!({
        "ServiceToken": admin,
        "ServiceTimeout": "900",
        "Fingerprint": schema.properties["Fingerprint"],
        "Roles": {
            "chats": role("Chats"),
            "chat": role("Chat"),
            "jobs": role("Jobs"),
            "maintenance": role("Maintenance"),
            "sql_function": role("Sql"),
        },
    });
    assert_eq!(serde_json::Value::from(schema.properties.clone()), expected);
    assert!(schema.properties["Fingerprint"].is_string());
}

#[test]
fn admin_alone_may_connect_as_admin() {
    let application = application();
    let is_of_function = |role: &&Role| role.logical_id != "ApiLogsRole";
    assert_eq!(application.roles.iter().filter(is_of_function).count(), 11);
    for role in application.roles.iter().filter(is_of_function) {
        let connects: BTreeSet<_> = role
            .allowed_actions
            .iter()
            .filter(|action| action.starts_with("dsql:"))
            .map(String::as_str)
            .collect();
        let expected = if role.logical_id == "AdminRole" {
            "dsql:DbConnectAdmin"
        } else {
            "dsql:DbConnect"
        };
        assert_eq!(connects, BTreeSet::from([expected]), "{}", role.logical_id);
    }
}

#[test]
fn an_output_waits_for_the_attribute_of_the_custom_resource() {
    let template = Template::read(&repository()).unwrap();
    let mut inputs = inputs();
    let application = template.resolve(&inputs).unwrap();
    assert_eq!(application.pending_outputs, ["SchemaVersion"]);
    let expected = owned(&[
        (
            "ApiUrl",
            "https://api.execute-api.us-east-1.amazonaws.com/v1",
        ),
        (
            "ChatEndpoint",
            "https://api.execute-api.us-east-1.amazonaws.com/v1/api/chat",
        ),
        ("ClusterEndpoint", "abc.dsql.us-east-1.on.aws"),
        (
            "ClusterArn",
            "arn:aws:dsql:us-east-1:123456789012:cluster/abc",
        ),
        ("AdminFunction", "chat-AdminFunction"),
        ("AuthIssuer", "https://blog.example.com"),
        ("AuthAudience", "chat"),
        ("Revision", "none"),
        ("SqlHost", "api.execute-api.us-east-1.amazonaws.com"),
    ]);
    assert_eq!(application.outputs, expected);

    let version = ("Schema.SchemaVersion".to_owned(), "23".to_owned());
    inputs.attributes.extend([version]);
    let application = template.resolve(&inputs).unwrap();
    assert!(application.pending_outputs.is_empty());
    assert_eq!(application.outputs["SchemaVersion"], "23");
}

#[test]
fn what_the_running_stack_knows_replaces_what_was_worked_out() {
    let template = Template::read(&repository()).unwrap();
    let mut inputs = inputs();
    inputs.attributes.extend(owned(&[
        ("JobsQueue", "http://127.0.0.1:4566/jobs"),
        ("Api", "localapi"),
    ]));
    let application = template.resolve(&inputs).unwrap();
    let variables = &function(&application, "MaintenanceFunction").environment;
    assert_eq!(variables["JOBS_QUEUE_URL"], "http://127.0.0.1:4566/jobs");
    assert_eq!(
        application.outputs["SqlHost"],
        "localapi.execute-api.us-east-1.amazonaws.com"
    );
}

#[test]
fn models_have_tools_where_there_are_servers_or_posts() {
    for (name, value) in [
        (
            "McpServers",
            r#"[{"name":"docs","url":"https://docs.example.com/mcp"}]"#,
        ),
        ("BlogFeed", "https://blog.example.com/feed.xml"),
    ] {
        let mut inputs = inputs();
        inputs.parameters.insert(name.to_owned(), value.to_owned());
        let template = Template::read(&repository()).unwrap();
        let application = template.resolve(&inputs).unwrap();
        let chats = &function(&application, "ChatsFunction").environment;
        assert_eq!(chats["MODEL_TOOLS"], "true", "{name}");
    }
}

#[test]
fn uploads_are_off_unless_asked_for_and_then_each_function_may_what_it_does_with_them() {
    assert_eq!(application().buckets, []);
    let mut inputs = inputs();
    for (name, value) in [
        ("Uploads", "on"),
        ("CorsAllowedOrigins", "https://a.example,https://b.example"),
    ] {
        let given = inputs.parameters.insert(name.to_owned(), value.to_owned());
        assert_eq!(given, None);
    }
    let template = Template::read(&repository()).unwrap();
    let application = template.resolve(&inputs).unwrap();
    let [bucket] = application.buckets.as_slice() else {
        panic!("{:?}", application.buckets);
    };
    assert_eq!(bucket.name, "chat-uploadsbucket");
    let rule = &bucket.cors[0];
    assert_eq!(
        rule.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(rule.allowed_methods, ["PUT", "GET"]);
    for (name, actions) in [
        ("Chats", &["s3:GetObject", "s3:PutObject"][..]),
        ("Chat", &["s3:GetObject", "s3:ListBucket"]),
        ("Jobs", &["s3:DeleteObject"]),
        ("Maintenance", &["s3:DeleteObject"]),
        ("Sql", &[]),
        ("Admin", &[]),
    ] {
        let role = format!("{name}Role");
        let role = application.roles.iter().find(|one| one.logical_id == role);
        let allowed = role.unwrap().allowed_actions.iter();
        let of_buckets: Vec<&str> = allowed
            .map(String::as_str)
            .filter(|action| action.starts_with("s3:"))
            .collect();
        assert_eq!(of_buckets, actions, "{name}");
        let function = function(&application, &format!("{name}Function"));
        let variable = function.environment.get("UPLOADS_BUCKET");
        let expected = (!actions.is_empty()).then_some(&bucket.name);
        assert_eq!(variable, expected, "{name}");
    }
}
