//! Runs a SAM template on this machine: what it reads from `template.yaml` it serves as API
//! Gateway, Lambda, SQS, EventBridge Scheduler and CloudFormation would.
//!
//! The way of a request: [`gateway`] finds its route and makes an event of it, [`lambda`] knows the
//! function's [`pool`], which has or starts a [`container`], which takes the event from its
//! [`runtime_api`]. [`bucket`] keeps objects. [`queue`], [`scheduler`] and [`custom_resource`]
//! reach functions through an [`invoker`]. [`template`] says what there is, as an [`application`];
//! [`stack`] starts all of it.

pub mod application;
pub mod bucket;
pub mod clock;
pub mod container;
pub mod custom_resource;
pub mod gateway;
mod identity;
pub mod invoke_api;
pub mod invoker;
pub mod lambda;
mod listen;
pub mod loopback;
pub mod pool;
pub mod program;
pub mod programs;
pub mod queue;
pub mod runtime_api;
pub mod schedule;
pub mod scheduler;
mod services;
pub mod site;
pub mod stack;
pub mod sts;
pub mod task;
pub mod template;
