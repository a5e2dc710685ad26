//! A component's properties with their values resolved, and typed reading of them as Dapr's kit decodes them
//! (dapr/kit, `metadata/utils.go`): names without regard to case, numbers and truth from text.

use std::collections::BTreeMap;

use super::secrets::is_variable_allowed;
use super::{Component, ItemValue, SecretStores};
use crate::go::text::{is_falsy, is_truthy};

/// Why a property cannot be used. The text is daprd's, the place is ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PropertyError {
    /// daprd's words.
    pub message: String,
    /// Line of the property, where there is one to blame.
    pub line: Option<u64>,
}

impl PropertyError {
    /// An error that no single property is to blame for.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None }
    }
}

#[derive(Clone)]
struct Property {
    name: String,
    value: String,
    line: u64,
}

/// A component's properties.
#[derive(Clone)]
pub struct Properties {
    entries: Vec<Property>,
}

/// Values may be secrets.
impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|property| &property.name)).finish()
    }
}

impl Properties {
    /// Resolves secrets, environment references and templates.
    ///
    /// A secret that is not there leaves its property unset, as in daprd; the component then says what it misses.
    ///
    /// # Errors
    /// The name of the secret store that is not loaded yet, in `Ok(Err(name))`; else when a template cannot be
    /// filled.
    pub fn resolve(
        component: &Component,
        stores: &SecretStores,
        app_id: &str,
    ) -> Result<Result<Self, String>, PropertyError> {
        // Later entries of one name replace earlier ones, as in Go's map.
        let mut by_name: BTreeMap<String, Property> = BTreeMap::new();
        for item in &component.metadata {
            let value = match &item.value {
                ItemValue::Literal(text) => text.clone(),
                ItemValue::Missing => String::new(),
                ItemValue::Environment(variable) if is_variable_allowed(variable) => {
                    std::env::var(variable).unwrap_or_default()
                }
                ItemValue::Environment(variable) => {
                    tracing::warn!(
                        component = component.name,
                        variable,
                        "the component references an env variable that isn't allowed"
                    );
                    String::new()
                }
                ItemValue::Secret { name, key } => {
                    let Some(store) = stores.get(&component.secret_store) else {
                        return Ok(Err(component.secret_store.clone()));
                    };
                    store.get(name, key).unwrap_or_else(|| {
                        tracing::error!(
                            component = component.name,
                            secret = name,
                            key,
                            "Error getting secret: it is not there"
                        );
                        String::new()
                    })
                }
            };
            let value = fill(value, app_id, &item.name)
                .map_err(|message| PropertyError { message, line: Some(item.line) })?;
            by_name.insert(item.name.clone(), Property { name: item.name.clone(), value, line: item.line });
        }
        Ok(Ok(Self { entries: by_name.into_values().collect() }))
    }

    /// The value of a property; `None` when it is absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.find(name).map(|property| property.value.as_str())
    }

    /// The first value that is set and not empty under any of these names (aliases).
    #[must_use]
    pub fn any_text(&self, names: &[&str]) -> Option<&str> {
        names.iter().filter_map(|name| self.text(name)).find(|text| !text.is_empty())
    }

    /// Truth of a property. daprd takes every word that it does not know for false.
    ///
    /// # Errors
    /// When it is neither a word for true nor one for false.
    pub fn boolean(&self, name: &str, default: bool) -> Result<bool, PropertyError> {
        match self.text(name) {
            None => Ok(default),
            Some(text) if is_truthy(text) => Ok(true),
            Some(text) if is_falsy(text) => Ok(false),
            Some(text) => {
                let message = format!("cannot parse '{name}' as bool: {text:?} is neither true nor false");
                Err(self.error_at(name, message))
            }
        }
    }

    /// A property as a number; empty and absent are `None`.
    ///
    /// # Errors
    /// When it is something else, in the words of the decoder.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, PropertyError> {
        let Some(property) = self.find(name).filter(|property| !property.value.is_empty()) else {
            return Ok(None);
        };
        property.value.parse().map(Some).map_err(|_| {
            let value = &property.value;
            self.error_at(
                name,
                format!("cannot parse '{name}' as int: strconv.ParseInt: parsing {value:?}: invalid syntax"),
            )
        })
    }

    /// An error about a property.
    #[must_use]
    pub fn error_at(&self, name: &str, message: impl Into<String>) -> PropertyError {
        PropertyError { message: message.into(), line: self.find(name).map(|property| property.line) }
    }

    /// Refuses names that the component does not know, the first in the file. daprd is silent about them, and a
    /// typing error then means a default that nobody wanted.
    ///
    /// # Errors
    /// With the name and those that are known.
    pub fn refuse_unknown(&self, known: &[&str]) -> Result<(), PropertyError> {
        let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        let unknown = self.entries.iter().filter(|property| !is_known(&property.name));
        let Some(unknown) = unknown.min_by_key(|property| property.line) else { return Ok(()) };
        let message = format!(
            "unknown property {:?}: remove it, or write it as one of {}",
            unknown.name,
            known.join(", ")
        );
        Err(PropertyError { message, line: Some(unknown.line) })
    }

    /// Go's map is read by the exact name first and then without regard to case.
    fn find(&self, name: &str) -> Option<&Property> {
        self.entries
            .iter()
            .find(|property| property.name == name)
            .or_else(|| self.entries.iter().find(|property| property.name.eq_ignore_ascii_case(name)))
    }
}

/// Fills the templates of a value (dapr, `pkg/runtime/meta`).
fn fill(mut value: String, app_id: &str, name: &str) -> Result<String, String> {
    if !value.contains('{') {
        return Ok(value);
    }
    while value.contains("{uuid}") {
        value = value.replacen("{uuid}", &uuid::Uuid::new_v4().to_string(), 1);
    }
    if value.contains("{podName}") {
        let pod = std::env::var("POD_NAME").unwrap_or_default();
        if pod.is_empty() {
            return Err(format!(
                "failed to parse metadata: property {name} refers to {{podName}} but podName is not set"
            ));
        }
        value = value.replace("{podName}", &pod);
    }
    let namespace = std::env::var("NAMESPACE").unwrap_or_default();
    Ok(value.replace("{namespace}", &format!("{namespace}.{app_id}")).replace("{appID}", app_id))
}
