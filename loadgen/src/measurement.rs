//! What can be measured, each by its own driver.

use std::io;

use crate::churn;
use crate::crowd::{self, Crowd};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::retained::{self, Collection};
use crate::traffic::{self, Load, Stage};

#[derive(Clone, Debug)]
pub enum Measurement {
    Traffic(Plan),
    Crowd(Crowd),
    /// So many clients at a time.
    Churn {
        clients: usize,
        subscribes: bool,
    },
    Retained(Collection),
}

/// A measurement with all it needs.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it is known by besides what it does.
    pub title: Option<String>,
    pub measurement: Measurement,
    pub load: Load,
}

impl Task {
    /// `watch` is told now and then how far it is.
    pub fn run(&self, watch: impl FnMut(Stage)) -> io::Result<Outcome> {
        let mut outcome = self.measurement.run(&self.load, watch)?;
        if let Some(title) = &self.title {
            outcome.name = format!("{title}: {}", outcome.name);
        }
        Ok(outcome)
    }
}

impl From<Plan> for Measurement {
    fn from(plan: Plan) -> Self {
        Self::Traffic(plan)
    }
}

impl Measurement {
    fn run(&self, load: &Load, watch: impl FnMut(Stage)) -> io::Result<Outcome> {
        match self {
            Self::Traffic(plan) => traffic::run(plan, load, watch),
            Self::Crowd(crowd) => crowd::run(*crowd, load, watch),
            Self::Churn { clients, subscribes } => churn::run(*clients, *subscribes, load, watch),
            Self::Retained(collection) => retained::run(*collection, load, watch),
        }
    }

    /// Connections that are open at once.
    pub fn clients(&self) -> usize {
        match self {
            Self::Traffic(plan) => plan.publishers.len() + plan.subscribers.len(),
            Self::Crowd(crowd) => crowd.clients,
            Self::Churn { clients, .. } => *clients,
            Self::Retained(collection) => collection.subscribers + 1,
        }
    }
}
