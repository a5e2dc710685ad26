//! What a request line names: account, container, blob and the parameters of the query, percent-decoded.
//! It decides nothing about them but whether they can be read.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::StorageError;
use crate::limits;

/// The container that holds blobs without a container in their path ("Working with the root container").
const ROOT_CONTAINER: &str = "$root";

/// The resource of a path in path style, `/{account}[/{container}[/{blob}]]`. A blob's name may have slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// First segment.
    pub account: String,
    /// What of the account is meant.
    pub resource: Resource,
}

/// The kinds of resources, as a shared access signature names them too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The account's blob service.
    Service,
    /// A container.
    Container(String),
    /// A blob: container and name.
    Blob(String, String),
}

impl Target {
    /// Reads a raw path. `names_container` says that the query has `restype=container` or lists one, which decides
    /// what a path of two segments means.
    ///
    /// # Errors
    /// `InvalidUri` for what is no path or no UTF-8, `ResourceNameLength` for a name that is too long.
    pub fn parse(path: &str, names_container: bool) -> Result<Self, StorageError> {
        let path = path.strip_prefix('/').ok_or(StorageError::InvalidUri)?;
        let (account, rest) = path.split_once('/').unwrap_or((path, ""));
        let account = decode(account)?;
        if account.is_empty() {
            return Err(StorageError::InvalidUri);
        }
        let (container, blob) = rest.split_once('/').unwrap_or((rest, ""));
        let resource = match (decode(container)?, decode(blob)?) {
            (container, _) if container.is_empty() => Resource::Service,
            (container, blob) if blob.is_empty() && names_container => Resource::Container(container),
            (blob, none) if none.is_empty() => Resource::Blob(ROOT_CONTAINER.to_owned(), blob),
            (container, blob) => Resource::Blob(container, blob),
        };
        if let Resource::Blob(_, name) = &resource
            && name.chars().count() > limits::MAX_BLOB_NAME_CHARS
        {
            return Err(StorageError::ResourceNameLength);
        }
        Ok(Self { account, resource })
    }
}

fn decode(text: &str) -> Result<String, StorageError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| StorageError::InvalidUri)?;
    if decoded.contains('\0') { Err(StorageError::InvalidUri) } else { Ok(decoded.into_owned()) }
}

/// The parameters of a query in the order in which they came: names in lower case, values decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query. Pairs without `=` or without a name carry nothing and are left out, as Azurite does
    /// (`getURLQueries`); `+` stands for a space.
    ///
    /// # Errors
    /// `InvalidUri` for a value that is no UTF-8, `OutOfRangeQueryParameterValue` for too many of them.
    pub fn parse(query: Option<&str>) -> Result<Self, StorageError> {
        let Some(query) = query else { return Ok(Self::default()) };
        let mut pairs = Vec::new();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if name.is_empty() {
                continue;
            }
            if pairs.len() >= limits::MAX_QUERY_PARAMETERS {
                return Err(StorageError::OutOfRangeQueryParameterValue {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    reason: format!("a query may have {} parameters", limits::MAX_QUERY_PARAMETERS),
                });
            }
            pairs.push((decode(name)?.to_ascii_lowercase(), decode(&spaces(value))?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter, by its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All pairs, sorted by name and then value: the order in which they are signed.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.sort_unstable();
        pairs
    }
}

fn spaces(value: &str) -> Cow<'_, str> {
    if value.contains('+') { Cow::Owned(value.replace('+', " ")) } else { Cow::Borrowed(value) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blob(container: &str, name: &str) -> Result<Target, StorageError> {
        Ok(Target { account: "acc".into(), resource: Resource::Blob(container.into(), name.into()) })
    }

    #[test]
    fn a_blob_name_keeps_its_slashes_and_is_decoded() {
        assert_eq!(Target::parse("/acc/box/a/b%2Fc%20%C3%A9+d", false), blob("box", "a/b/c é+d"));
        assert_eq!(Target::parse("/acc/box//a", false), blob("box", "/a"));
    }

    #[test]
    fn two_segments_are_a_container_or_a_blob_of_the_root_container() {
        let container = Target { account: "acc".into(), resource: Resource::Container("box".into()) };
        assert_eq!(Target::parse("/acc/box", true), Ok(container.clone()));
        assert_eq!(Target::parse("/acc/box/", true), Ok(container));
        assert_eq!(Target::parse("/acc/box", false), blob("$root", "box"));
        for path in ["/acc", "/acc/"] {
            assert_eq!(Target::parse(path, false).map(|target| target.resource), Ok(Resource::Service));
        }
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        for path in ["", "/", "acc/box", "/acc/box/%FF", "/acc/box/a%00b", "//box"] {
            assert_eq!(Target::parse(path, false), Err(StorageError::InvalidUri), "{path}");
        }
        let long = format!("/acc/box/{}", "é".repeat(1025));
        assert_eq!(Target::parse(&long, false), Err(StorageError::ResourceNameLength));
        assert!(Target::parse(&format!("/acc/box/{}", "é".repeat(1024)), false).is_ok());
    }

    #[test]
    fn a_query_is_decoded_and_its_names_are_lower_case() {
        let query = Query::parse(Some("resType=container&prefix=a%2Bb+c&flag&=x&b=1=2")).expect("readable");
        assert_eq!(query.get("restype"), Some("container"));
        assert_eq!(query.get("prefix"), Some("a+b c"));
        assert_eq!(query.get("flag"), None);
        assert_eq!(query.sorted(), [("b", "1=2"), ("prefix", "a+b c"), ("restype", "container")]);
    }

    #[test]
    fn a_query_that_cannot_be_read_or_is_endless_is_refused() {
        assert_eq!(Query::parse(Some("a=%FF")), Err(StorageError::InvalidUri));
        let endless = "a=1&".repeat(limits::MAX_QUERY_PARAMETERS + 1);
        assert!(matches!(
            Query::parse(Some(&endless)),
            Err(StorageError::OutOfRangeQueryParameterValue { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_path_and_query_is_read_or_refused(path in "\\PC{0,40}", query in "\\PC{0,60}", container in any::<bool>()) {
            let _ = Target::parse(&path, container);
            let _ = Query::parse(Some(&query));
        }

        #[test]
        fn any_name_survives_a_path_and_a_query(name in "[^\0]{1,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(Target::parse(&format!("/acc/box/{encoded}"), false), blob("box", &name));
            let query = Query::parse(Some(&format!("prefix={encoded}")));
            prop_assert_eq!(query.map(|query| query.get("prefix").map(str::to_owned)), Ok(Some(name)));
        }
    }
}
