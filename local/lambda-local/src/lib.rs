//! Runs a SAM template on this machine: what it reads from `template.yaml` it serves as API Gateway, Lambda, SQS,
//! EventBridge Scheduler and CloudFormation would.

pub mod application;
pub mod clock;
pub mod container;
pub mod gateway;
pub mod invoke_api;
pub mod invoker;
pub mod lambda;
mod listen;
pub mod pool;
pub mod runtime_api;
pub mod schedule;
pub mod task;
