//! Runs a SAM template on this machine: what it reads from `template.yaml` it serves as API Gateway, Lambda, SQS,
//! EventBridge Scheduler and CloudFormation would.

pub mod application;
pub mod invoker;
pub mod schedule;
