//! `kind: Resiliency`: which policies are put around which calls (dapr, `pkg/resiliency/resiliency.go`).
//!
//! A target that is named has the policies that are named with it and no others; for every other target the policies
//! with the names of defaults count, such as `DefaultBindingComponentInboundRetryPolicy` or `DefaultRetryPolicy`.

pub mod breaker;
mod document;
pub mod policy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use breaker::{Breaker, Settings};
pub use document::Document;
use policy::{Place, Policy, Retry};

use crate::limits::ENDPOINT_BREAKERS_DEFAULT;
use crate::metrics::Metrics;

/// daprd's own tries of a call to another application: three after the first, a second apart.
pub const SERVICE_RETRIES: &str = "DaprBuiltInServiceRetries";
const SERVICE_RETRIES_LEAST: u64 = 3;

/// Names of the policies of a target; empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    timeout: String,
    retry: String,
    breaker: String,
}

/// Which way a component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It delivers.
    Inbound,
    /// It is called.
    Outbound,
}

/// What is called, and its breaker.
type Named = (String, Arc<Breaker>);

/// All policies and their targets.
#[derive(Debug)]
pub struct Resiliency {
    /// Name and namespace of the document that was read last, which daprd counts all under.
    last: (String, String),
    timeouts: HashMap<String, Duration>,
    retries: HashMap<String, Arc<Retry>>,
    breakers: HashMap<String, Settings>,
    apps: HashMap<String, (Names, usize)>,
    components: HashMap<String, (Names, Names)>,
    /// A component's breaker is one for both ways.
    component_breakers: Mutex<HashMap<String, Arc<Breaker>>>,
    /// By application, then by what is called of it, those that were used last at the end.
    app_breakers: Mutex<HashMap<String, Vec<Named>>>,
    metrics: Option<Arc<Metrics>>,
}

impl Resiliency {
    /// The policies of these documents; later ones win.
    #[must_use]
    pub fn new(documents: Vec<Document>, metrics: Option<Arc<Metrics>>) -> Self {
        let mut resiliency = Self {
            last: Default::default(),
            timeouts: HashMap::new(),
            retries: HashMap::new(),
            breakers: HashMap::new(),
            apps: HashMap::new(),
            components: HashMap::new(),
            component_breakers: Mutex::default(),
            app_breakers: Mutex::default(),
            metrics,
        };
        let built_in = Retry::constant(Duration::from_secs(1), SERVICE_RETRIES_LEAST);
        resiliency.retries.insert(SERVICE_RETRIES.to_owned(), Arc::new(built_in));
        for document in documents {
            resiliency.add(document);
        }
        resiliency
    }

    fn add(&mut self, document: Document) {
        let Document { name, namespace, timeouts, retries, breakers, apps, components } = document;
        tracing::info!("Loading Resiliency configuration: {name}");
        if let Some(metrics) = &self.metrics {
            metrics.resiliency_loaded(&name, &namespace);
        }
        self.last = (name, namespace);
        self.timeouts.extend(timeouts);
        for (name, mut retry) in retries {
            if name == SERVICE_RETRIES && retry.retries_max.is_none_or(|max| max < SERVICE_RETRIES_LEAST) {
                tracing::warn!(
                    "Attempted override of {name} did not meet minimum retry count, resetting to 3."
                );
                retry.retries_max = Some(SERVICE_RETRIES_LEAST);
            }
            self.retries.insert(name, Arc::new(retry));
        }
        self.breakers.extend(breakers);
        self.apps.extend(apps);
        self.components.extend(components);
    }

    /// The policy of a binding; none when there is nothing to do.
    #[must_use]
    pub fn component(&self, name: &str, direction: Direction) -> Option<Arc<Policy>> {
        let (word, log_word) = match direction {
            Direction::Inbound => ("Inbound", "input"),
            Direction::Outbound => ("Outbound", "output"),
        };
        let names = match (self.components.get(name), direction) {
            (Some((inbound, _)), Direction::Inbound) => inbound.clone(),
            (Some((_, outbound)), Direction::Outbound) => outbound.clone(),
            (None, _) => {
                self.defaults(&[&format!("BindingComponent{word}"), &format!("Component{word}"), "Component"])
            }
        };
        let breaker = self.breakers.get(&names.breaker).map(|settings| {
            let mut breakers = self.component_breakers.lock().unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(Breaker::new(name, settings));
            Arc::clone(breakers.entry(name.to_owned()).or_insert_with(make))
        });
        let place = Place {
            name: format!("component[{name}] {log_word}"),
            target: format!("Binding_{name}"),
            direction: if direction == Direction::Inbound { "inbound" } else { "outbound" },
            resiliency: self.last.clone(),
        };
        self.policy(&names, breaker, place).map(Arc::new)
    }

    /// The policy of a method of an application; none when there is nothing to do.
    #[must_use]
    pub fn endpoint(&self, app_id: &str, method: &str) -> Option<Policy> {
        let (names, breakers_max) = match self.apps.get(app_id) {
            Some((names, breakers_max)) => (names.clone(), *breakers_max),
            None => (self.defaults(&["App"]), ENDPOINT_BREAKERS_DEFAULT),
        };
        let endpoint = format!("{app_id}:{method}");
        let settings = self.breakers.get(&names.breaker);
        let breaker =
            settings.map(|settings| self.endpoint_breaker(app_id, &endpoint, settings, breakers_max));
        let place = Place {
            name: format!("endpoint[{app_id}, {endpoint}]"),
            target: format!("app_{app_id}"),
            direction: "outbound",
            resiliency: self.last.clone(),
        };
        self.policy(&names, breaker, place)
    }

    /// The tries of a call to another application that are made without being asked for: none where a target names it.
    #[must_use]
    pub fn service_retries(&self, app_id: &str) -> Option<Policy> {
        let retry = self.retries.get(SERVICE_RETRIES).cloned();
        let place = Place { name: SERVICE_RETRIES.to_owned(), ..Place::default() };
        (!self.apps.contains_key(app_id)).then(|| Policy { retry, place, ..Policy::default() })
    }

    fn endpoint_breaker(
        &self,
        app_id: &str,
        endpoint: &str,
        settings: &Settings,
        breakers_max: usize,
    ) -> Arc<Breaker> {
        let mut apps = self.app_breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if apps.len() >= ENDPOINT_BREAKERS_DEFAULT && !apps.contains_key(app_id) {
            apps.clear();
        }
        let breakers = apps.entry(app_id.to_owned()).or_default();
        let known = breakers.iter().position(|(known, _)| known == endpoint);
        let entry = match known {
            Some(place) => breakers.remove(place),
            None => (endpoint.to_owned(), Arc::new(Breaker::new(endpoint, settings))),
        };
        if breakers.len() >= breakers_max {
            breakers.remove(0);
        }
        let breaker = Arc::clone(&entry.1);
        breakers.push(entry);
        breaker
    }

    fn policy(&self, names: &Names, breaker: Option<Arc<Breaker>>, place: Place) -> Option<Policy> {
        let timeout = self.timeouts.get(&names.timeout).copied().filter(|timeout| !timeout.is_zero());
        let retry = self.retries.get(&names.retry).cloned();
        let is_empty = timeout.is_none() && retry.is_none() && breaker.is_none();
        (!is_empty).then(|| Policy { timeout, retry, breaker, place, metrics: self.metrics.clone() })
    }

    /// The policies with the names of defaults, from the narrowest level to the widest.
    fn defaults(&self, levels: &[&str]) -> Names {
        let first = |kind: &str, is_there: &dyn Fn(&str) -> bool| {
            let names = levels.iter().chain(&[""]).map(|level| format!("Default{level}{kind}Policy"));
            names.into_iter().find(|name| is_there(name)).unwrap_or_default()
        };
        Names {
            timeout: first("Timeout", &|name| self.timeouts.contains_key(name)),
            retry: first("Retry", &|name| self.retries.contains_key(name)),
            breaker: first("CircuitBreaker", &|name| self.breakers.contains_key(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resiliency(spec: &str) -> Resiliency {
        let text =
            format!("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {{name: r}}\nspec: {spec}\n");
        let document = Document::parse(Path::new("r.yaml"), &text, "app").expect("valid").expect("in scope");
        Resiliency::new(vec![document], None)
    }

    #[test]
    fn a_target_that_is_named_has_what_is_named_with_it() {
        let resiliency = resiliency(
            "{policies: {timeouts: {t: 5s, DefaultTimeoutPolicy: 9s}, retries: {r: {maxRetries: 2}}}, \
             targets: {components: {q: {inbound: {timeout: t}}}, apps: {other: {retry: r}}}}",
        );
        let inbound = resiliency.component("q", Direction::Inbound).expect("a policy");
        assert_eq!((inbound.timeout, inbound.retry.is_none()), (Some(Duration::from_secs(5)), true));
        assert!(resiliency.component("q", Direction::Outbound).is_none(), "no default for one that is named");
        let default = resiliency.component("unnamed", Direction::Outbound).expect("the default");
        assert_eq!(default.timeout, Some(Duration::from_secs(9)));
        assert!(resiliency.endpoint("other", "m").expect("a policy").has_retries());
        assert!(resiliency.service_retries("other").is_none());
        let built_in = resiliency.service_retries("third").expect("built in").retry;
        assert_eq!(built_in.expect("retries").retries_max, Some(3));
    }

    #[test]
    fn the_narrowest_default_counts() {
        let resiliency = resiliency(
            "{policies: {timeouts: {DefaultTimeoutPolicy: 1s, DefaultComponentInboundTimeoutPolicy: 2s, \
             DefaultBindingComponentInboundTimeoutPolicy: 3s, DefaultAppTimeoutPolicy: 4s}}, targets: {}}",
        );
        let seconds = |policy: Option<Duration>| policy.map(|timeout| timeout.as_secs());
        let component = |direction| resiliency.component("q", direction).and_then(|policy| policy.timeout);
        assert_eq!(seconds(component(Direction::Inbound)), Some(3));
        assert_eq!(seconds(component(Direction::Outbound)), Some(1));
        assert_eq!(seconds(resiliency.endpoint("a", "m").and_then(|policy| policy.timeout)), Some(4));
    }

    #[test]
    fn built_in_retries_are_no_fewer_than_three() {
        let resiliency = resiliency(
            "{policies: {retries: {DaprBuiltInServiceRetries: {maxRetries: 1, duration: 20}}}, targets: {}}",
        );
        let retry = resiliency.service_retries("a").and_then(|policy| policy.retry).expect("built in");
        assert_eq!(*retry, Retry::constant(Duration::from_millis(20), 3));
    }

    #[test]
    fn breakers_are_one_for_a_component_and_a_bounded_number_for_the_methods_of_an_application() {
        let resiliency = resiliency(
            "{policies: {circuitBreakers: {b: {maxRequests: 1}}}, targets: {components: {q: {inbound: \
             {circuitBreaker: b}, outbound: {circuitBreaker: b}}}, apps: {a: {circuitBreaker: b, \
             circuitBreakerCacheSize: 2}}}}",
        );
        let of = |direction| resiliency.component("q", direction).and_then(|policy| policy.breaker.clone());
        let (inbound, outbound) =
            (of(Direction::Inbound).expect("one"), of(Direction::Outbound).expect("one"));
        assert!(Arc::ptr_eq(&inbound, &outbound));
        let of = |method| resiliency.endpoint("a", method).and_then(|policy| policy.breaker).expect("one");
        let (first, second) = (of("1"), of("2"));
        assert!(Arc::ptr_eq(&first, &of("1")));
        of("3");
        assert!(!Arc::ptr_eq(&second, &of("2")), "the one that was used longest ago is forgotten");
    }
}
