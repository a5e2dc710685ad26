//! An application with the Dapr that the suite plays for it, and everything that is done with the two of them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::case::{Body, Case, Request, Seen, chunk};
use crate::dapr::{Conduct, Dapr};
use crate::rows::Exception;
use crate::wire::{Connection, Message};
use crate::{cases, scenarios};

/// The longest that one case may take; only a broken application comes near it.
const DEADLINE: Duration = Duration::from_secs(30);

/// The group of what takes more than one exchange.
const UNDER_WAY: &str = "Under way";

/// Where an application answers, and its Dapr.
pub struct Stage {
    pub app: SocketAddr,
    pub dapr: Dapr,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub group: &'static str,
    pub name: String,
    pub expected: String,
    /// What stands in the table, or what was wrong.
    pub outcome: Result<String, String>,
}

impl Stage {
    /// Every case but the exceptions, one after the other; none is left out when another fails.
    ///
    /// # Panics
    /// Where an exception is from no case.
    pub async fn play(&mut self, except: &[Exception]) -> Vec<Verdict> {
        let all = cases::all();
        for (name, _) in except {
            assert!(all.iter().any(|case| case.name == *name), "there is no case '{name}' to except");
        }
        let mut verdicts = Vec::new();
        for case in all {
            let outcome = match except.iter().find(|(name, _)| case.name == *name) {
                Some((_, why)) => Ok((*why).to_owned()),
                None => self.exchange(&case).await,
            };
            let (group, expected) = (case.group, case.expected());
            verdicts.push(Verdict { group, name: case.name, expected, outcome });
        }
        for scenario in scenarios::ALL {
            self.dapr.behave(Conduct::WELL).await;
            let outcome = timeout(DEADLINE, (scenario.run)(self)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no end within {DEADLINE:?}")));
            let (name, expected) = (scenario.name.to_owned(), scenario.expected.to_owned());
            verdicts.push(Verdict { group: UNDER_WAY, name, expected, outcome: outcome.map(str::to_owned) });
        }
        verdicts
    }

    async fn exchange(&mut self, case: &Case) -> Result<String, String> {
        self.dapr.behave(case.conduct.clone()).await;
        let answer = match timeout(DEADLINE, answer(self.app, &case.request)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("none within {DEADLINE:?}")),
        };
        case.judge(&Seen { answer, calls: self.dapr.calls() })
    }
}

/// A connection for each case, so that none depends on how the one before it ended.
async fn answer(app: SocketAddr, request: &Request) -> std::io::Result<Message> {
    let mut connection = Connection::open(app).await?;
    match &request.body {
        Body::Endless(piece) => connection.exchange_endless(&request.bytes(), &chunk(piece)).await,
        _ => connection.exchange(&request.bytes()).await,
    }
}
