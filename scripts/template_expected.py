"""What check-template.py expects of template.yaml: actions, routes, alarms, names, and every optional part at once."""

# What each function's code calls, and nothing else. Logs and traces are common to all.
ACTIONS = {
    "Admin": {"dsql:DbConnectAdmin"},
    "Chats": {"dsql:DbConnect", "s3:PutObject", "s3:GetObject"},
    "Chat": {"dsql:DbConnect", "bedrock:InvokeModelWithResponseStream", "s3:GetObject", "s3:ListBucket"},
    "Jobs": {
        "dsql:DbConnect",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "bedrock:InvokeModelWithResponseStream",
        "s3:DeleteObject",
    },
    "Maintenance": {"dsql:DbConnect", "sqs:SendMessage", "s3:DeleteObject"},
    "Sql": {"dsql:DbConnect"},
}
COMMON = {"logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# Path and method of everything that streams.
STREAMED = {
    ("/api/chat", "post"),
    ("/api/chats/{id}", "post"),
    ("/api/me/export", "get"),
    ("/api/chat/{id}/stream", "get"),
    ("/api/chats/{id}/{part}/stream", "get"),
    ("/api/chat/{id}/stop", "post"),
}
# What costs most: the model, and reading everything of an owner.
COSTLY = {("/api/chat", "post"), ("/api/chats/{id}", "post"), ("/api/me/export", "get")}
# X-Ray knows no resources.
STAR_ALLOWED = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}

# What SAM calls the alias of a function, by which all but the custom resource and an operator call it.
ALIAS = "Aliaslive"
# What in a function's source calls for an action; an operation of an SDK that is not here needs an action of its own.
CALLS = {
    "bedrock:InvokeModelWithResponseStream": r"\.converse_stream\(\)",
    "sqs:SendMessage": r"\.send_message(_batch)?\(\)",
    "s3:PutObject": r"\.put_url\(",
    "s3:GetObject": r"\.get_url\(|\bbucket\.get\(",
    "s3:DeleteObject": r"\bbucket\.delete\(",
    "s3:ListBucket": r"\bbucket\.get\(",  # to be told that an object is not there
}
SDKS = {"aws-sdk-sqs": "sqs:", "aws-sdk-bedrockruntime": "bedrock:", "bucket": "s3:"}
# An event source mapping reads a queue with its function's role.
QUEUE_READER = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# The functions that write metrics of their own, and the alarms that watch several functions.
REPORTING = {"chats", "chat", "sql", "jobs", "maintenance"}
ALARMS = {
    "FunctionErrorsAlarm": set(ACTIONS),
    "FunctionThrottlesAlarm": set(ACTIONS),
    "ConnectFailuresAlarm": REPORTING,
    "ConflictsGivenUpAlarm": REPORTING,
    "SlowRequestsAlarm": {"Chats", "Sql"},
    "LongRunsAlarm": {"Chat", "Jobs", "Maintenance"},
}
# Properties that name something in account and Region, and those whose value has to differ between two stacks.
NAMES = {
    "AWS::Scheduler::Schedule": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::WAFv2::WebACL": "Name",
    "AWS::Backup::BackupVault": "BackupVaultName",
}
# Every optional part at once.
EVERYTHING = {
    "KmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/0a1b",
    "BedrockRegion": "us-west-2",
    "OpenAiBaseUrl": "https://api.openai.com/v1",
    "OpenAiKeySecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:openai-0a1b2c",
    "McpServers": '[{"name":"docs","url":"https://docs.example.com/mcp","headers":{"authorization":"Bearer ${MCP_SECRET}"}}]',
    "McpSecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:mcp-0a1b2c",
    "BlogFeed": "https://blog.example.com/sitemap.xml",
    "Uploads": "on",
    "CorsAllowedOrigins": "https://blog.example.com",
    "TitleModelId": "amazon.nova-micro-v1:0",
    "TitleModelArns": "arn:aws:bedrock:*::foundation-model/amazon.nova-micro-v1:0",
    "ApiDomainName": "api.example.com",
    "ApiAuthDomainName": "apiauth.example.com",
    "SqlHostName": "db.example.com",
    "HyperdriveConfigs": "blog=0123456789abcdef0123456789abcdef",
    "CloudflareAccountId": "0123456789abcdef0123456789abcdef",
    "CloudflareTokenSecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:cloudflare-0a1b2c",
    "CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/0a1b",
    "HostedZoneId": "Z0123456789",
    "ReservedConcurrency": 50,
    "ExecuteApiEndpoint": "closed",
    "GradualDeployment": "Canary10Percent5Minutes",
    "Firewall": "on",
    "AlarmEmail": "alarms@example.com",
    "BudgetUsd": 20,
    "BackupDays": 35,
}

# The stack's own cluster, or the one that a parameter names.
CLUSTER_ARN = {
    "Fn::If": [
        "MakesCluster",
        {"Fn::GetAtt": ["Cluster", "ResourceArn"]},
        {"Fn::Sub": "arn:${AWS::Partition}:dsql:${AWS::Region}:${AWS::AccountId}:cluster/${ClusterId}"},
    ]
}

UPLOADS_BUCKET = {"Fn::GetAtt": ["UploadsBucket", "Arn"]}
UPLOADS = {"Fn::Sub": "${UploadsBucket.Arn}/*"}

# Who may become a login: the function that gives its tokens, and the one that writes them into Hyperdrive, where it does.
SQL_ROLE, MAINTENANCE_ROLE = ({"Fn::GetAtt": [f"{name}Role", "Arn"]} for name in ("Sql", "Maintenance"))
SESSION_TRUST = {"AWS": {"Fn::If": ["HasHyperdrive", [SQL_ROLE, MAINTENANCE_ROLE], SQL_ROLE]}}
