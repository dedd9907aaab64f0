//! Owns what goes wrong: a background of conflicts and lost connections, and beside it, one after
//! the other and drawn from the seed, every fault that `dsql-local`, `lambda-local` and the clock
//! can inject, and deployments with DDL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dsql_local::{Faults, Refuse};
use fastrand::Rng;
use lambda_local::container::Container;
use serde_json::json;
use tokio::time::sleep;

use crate::model::Model;
use crate::world::{FUNCTIONS, World};

/// How far all clocks may go in a run: keys are kept for a day, a guest's chats for thirty.
const FARTHEST: Duration = Duration::from_secs(20 * 3_600);
/// Longer than any fault lasts.
const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(61 * 60);

pub(crate) struct Injector<'a> {
    pub(crate) world: &'a World,
    pub(crate) model: &'a Model,
    pub(crate) random: Rng,
    pub(crate) advanced: Duration,
    pub(crate) deployments: u32,
}

fn background(seed: u64) -> Faults {
    Faults {
        conflict_rate: 0.03,
        schema_conflict_rate: 0.004,
        drop_rate: 0.004,
        seed: Some(seed),
        ..Faults::default()
    }
}

impl Injector<'_> {
    /// The next fault of the plan, from its begin to its end.
    pub(crate) async fn act(&mut self) {
        let draw = self.random.u8(..20);
        let count = self.random.u64(1..6);
        let message = self.random.u64(1..40);
        let pause = Duration::from_millis(self.random.u64(200..1_500));
        let base = background(self.random.u64(..));
        let (name, faults) = match draw {
            0 => (
                "conflicts in a row",
                Faults {
                    conflict_commits: count,
                    ..base
                },
            ),
            1 => (
                "changed catalog in a row",
                Faults {
                    schema_conflicts: count,
                    ..base
                },
            ),
            2 => (
                "dropped before a message",
                Faults {
                    drop_before_message: message,
                    once: true,
                    ..base
                },
            ),
            3 => (
                "dropped after a message",
                Faults {
                    drop_after_message: message,
                    once: true,
                    ..base
                },
            ),
            4 => (
                "dropped at commit",
                Faults {
                    drop_at_commit: count,
                    ..base
                },
            ),
            5 => (
                "server unavailable",
                Faults {
                    server_unavailable: count,
                    ..base
                },
            ),
            6 => (
                "slow database",
                Faults {
                    delay_ms: 10 * count,
                    ..base
                },
            ),
            7 => (
                "frozen database",
                Faults {
                    freeze: true,
                    ..base
                },
            ),
            8 => (
                "refused: access denied",
                refused(Refuse::AccessDenied, &base),
            ),
            9 => ("refused: rate", refused(Refuse::RateExceeded, &base)),
            10 => (
                "refused: too many",
                refused(Refuse::TooManyConnections, &base),
            ),
            11 => ("refused: waking up", refused(Refuse::WakingUp, &base)),
            other => return self.beside(other, pause, base).await,
        };
        self.model.injected(name);
        if name.starts_with("refused") {
            // Only a new connection can be refused.
            self.world.server().cut_connections();
        }
        let is_denied = faults.refuse_connections == Some(Refuse::AccessDenied);
        if is_denied {
            self.model.facts().denied_until = Some(Instant::now() + LONG);
        }
        self.set(faults);
        sleep(pause).await;
        let base = background(self.random.u64(..));
        self.set(base);
        if is_denied {
            self.model.facts().denied_until = Some(Instant::now());
        }
        sleep(pause / 2).await;
    }

    /// What is not the database's own fault.
    async fn beside(&mut self, draw: u8, pause: Duration, base: Faults) {
        self.set(base);
        match draw {
            12 | 13 => {
                self.model.injected("connections cut");
                self.world.server().cut_connections();
            }
            14 if self.advanced + HOUR <= FARTHEST && self.random.u8(..3) == 0 => {
                self.model.injected("61 minutes pass");
                self.advanced += HOUR;
                self.world.advance(HOUR);
            }
            14 => {
                self.model.injected("the functions' clock steps back");
                let step = Duration::from_secs(2);
                self.world.clock.step_back(step);
                sleep(pause).await;
                self.world.clock.advance(step);
            }
            15..=17 => self.kill(),
            18 => self.freeze(pause).await,
            _ => self.deploy().await,
        }
        sleep(pause).await;
    }

    fn set(&self, faults: Faults) {
        self.world.server().set_faults(faults).unwrap();
    }

    fn container(&mut self) -> Option<(&'static str, Arc<Container>)> {
        let (name, id) = self.random.choice(FUNCTIONS)?;
        let containers = self.world.stack.containers(id);
        Some((name, self.random.choice(containers)?))
    }

    fn kill(&mut self) {
        if let Some((name, container)) = self.container().filter(|(name, _)| *name != "admin") {
            self.model.injected(match name {
                "chat" => "killed chat",
                "chats" => "killed chats",
                "sql" => "killed sql",
                "jobs" => "killed jobs",
                _ => "killed maintenance",
            });
            self.world.witness.harm(&container);
            container.kill();
        }
    }

    async fn freeze(&mut self, pause: Duration) {
        if let Some((_, container)) = self.container() {
            self.model.injected("a stopped container");
            self.world.witness.harm(&container);
            container.freeze();
            sleep(pause).await;
            container.thaw();
        }
    }

    /// A deployment while everything runs: a column, an index, and all migrations and grants again.
    async fn deploy(&mut self) {
        self.model.injected("a deployment with DDL");
        self.deployments += 1;
        let n = self.deployments;
        let column = format!("ALTER TABLE chats.chats ADD COLUMN IF NOT EXISTS soak_{n} text");
        let index = format!(
            "CREATE INDEX ASYNC IF NOT EXISTS soak_{} ON chats.votes (created_at)",
            n % 4
        );
        let db = self.world.database();
        for sql in [column, index] {
            // Refused by a fault, it is a deployment that failed.
            let _failed = db.execute_sql(&sql).await;
        }
        let migrate = json!({"command": "migrate"}).to_string();
        let _failed = self.world.stack.invoke("admin", migrate).await;
    }
}

fn refused(refuse: Refuse, base: &Faults) -> Faults {
    Faults {
        refuse_connections: Some(refuse),
        refuse_count: Some(4),
        ..base.clone()
    }
}
