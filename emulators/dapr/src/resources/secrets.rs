//! Secret stores of types `secretstores.local.file` and `secretstores.local.env`
//! (components-contrib, `secretstores/local`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::properties::{Properties, PropertyError};

/// Loaded stores by the name of their component.
pub type SecretStores = HashMap<String, SecretStore>;

/// A place that secrets come from.
pub enum SecretStore {
    /// Environment variables.
    Environment {
        /// What stands before a secret's name in its variable's.
        prefix: String,
    },
    /// Read from a file.
    File(HashMap<String, BTreeMap<String, String>>),
}

/// Values are never shown.
impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment { prefix } => f.debug_struct("Environment").field("prefix", prefix).finish(),
            Self::File(secrets) => f.debug_struct("File").field("secrets", &secrets.len()).finish(),
        }
    }
}

impl SecretStore {
    /// Loads a store of type `secretstores.local.file`.
    ///
    /// # Errors
    /// When `secretsFile` is missing, cannot be read, or is no JSON object.
    pub fn local_file(properties: &Properties) -> Result<Self, PropertyError> {
        properties.refuse_unknown(&["multiValued", "nestedSeparator", "secretsFile"])?;
        let file = properties.text("secretsFile").unwrap_or_default();
        if file.is_empty() {
            return Err(PropertyError::plain("missing local secrets file in metadata"));
        }
        let at = |message: String| properties.error_at("secretsFile", message);
        let text = super::read_file(Path::new(file)).map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            at(format!("{error}{cause}"))
        })?;
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|error| at(format!("{file}:{}: not a JSON object of secrets: {error}", error.line())))?;
        let separator = properties.text("nestedSeparator").filter(|text| !text.is_empty()).unwrap_or(":");
        let mut secrets = HashMap::new();
        if properties.boolean("multiValued", false)? {
            for (name, value) in json {
                let mut keys = BTreeMap::new();
                match value {
                    serde_json::Value::String(text) => drop(keys.insert(name.clone(), text)),
                    serde_json::Value::Object(nested) => {
                        for (key, value) in nested {
                            flatten(&key, &value, separator, &mut keys);
                        }
                    }
                    // Go's switch has no case for the others: they are no secrets.
                    _ => continue,
                }
                secrets.insert(name, keys);
            }
        } else {
            let mut flat = BTreeMap::new();
            for (name, value) in &json {
                flatten(name, value, separator, &mut flat);
            }
            for (name, value) in flat {
                secrets.insert(name.clone(), BTreeMap::from([(name, value)]));
            }
        }
        Ok(Self::File(secrets))
    }

    /// A store of type `secretstores.local.env`.
    ///
    /// # Errors
    /// When it has a property that means nothing.
    pub fn local_env(properties: &Properties) -> Result<Self, PropertyError> {
        properties.refuse_unknown(&["prefix"])?;
        Ok(Self::Environment { prefix: properties.text("prefix").unwrap_or_default().to_owned() })
    }

    /// The value under `key` of secret `name`; `None` when there is none or it is empty.
    #[must_use]
    pub fn get(&self, name: &str, key: &str) -> Option<String> {
        match self {
            Self::File(secrets) => secrets.get(name)?.get(key).filter(|value| !value.is_empty()).cloned(),
            Self::Environment { prefix } => {
                let variable = format!("{prefix}{name}");
                if key != name || !is_variable_allowed(&variable) {
                    return None;
                }
                std::env::var(variable).ok().filter(|value| !value.is_empty())
            }
        }
    }
}

/// Variables that hold Dapr's own secrets are not handed to components.
pub(super) fn is_variable_allowed(name: &str) -> bool {
    let upper = name.to_uppercase();
    upper != "APP_API_TOKEN" && !upper.starts_with("DAPR_")
}

fn flatten(path: &str, value: &serde_json::Value, separator: &str, out: &mut BTreeMap<String, String>) {
    use serde_json::Value;
    let text = match value {
        Value::Object(members) => {
            for (key, value) in members {
                flatten(&format!("{path}{separator}{key}"), value, separator, out);
            }
            return;
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                flatten(&format!("{path}{separator}{index}"), value, separator, out);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    out.insert(path.to_owned(), text);
}
