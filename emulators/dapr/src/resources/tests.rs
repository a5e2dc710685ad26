use std::fs;

use super::*;

const QUEUE: &str = "apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: orders
spec:
  type: bindings.azure.servicebusqueues
  version: v1
  initTimeout: 30s
  metadata:
  - name: connectionString
    secretKeyRef: {name: servicebus, key: connectionString}
  - {name: queueName, value: \"{appID}-orders\"}
  - name: maxActiveMessages
    value: 100
  - {name: fromEnvironment, envRef: NO_SUCH_VARIABLE_ANYWHERE}
auth: {secretStore: secretstore}
scopes: [distributor]
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn load_for(app_id: &str, files: &[(&str, &str)]) -> Result<Vec<Component>, ResourceError> {
    let folder = folder(files);
    load(&[folder.path().to_owned()], app_id, None).map(|resources| resources.components)
}

fn stores(name: &str, json: &str, multi_valued: bool) -> SecretStores {
    let folder = folder(&[("secrets.json", json)]);
    let component = Component {
        metadata: vec![
            Item {
                name: "secretsFile".to_owned(),
                value: ItemValue::Literal(folder.path().join("secrets.json").display().to_string()),
                line: 1,
            },
            Item {
                name: "multiValued".to_owned(),
                value: ItemValue::Literal(multi_valued.to_string()),
                line: 2,
            },
        ],
        ..load_for("distributor", &[("a.yaml", QUEUE)]).expect("a component").remove(0)
    };
    let properties =
        Properties::resolve(&component, &SecretStores::new(), "x").expect("templates").expect("no secrets");
    let store = SecretStore::local_file(&properties).expect("secrets");
    SecretStores::from([(name.to_owned(), store)])
}

#[test]
fn a_component_is_read_whole() {
    let components = load_for("distributor", &[("a.yaml", QUEUE)]).expect("well-formed");
    let component = &components[0];
    assert_eq!(component.name, "orders");
    assert_eq!(component.log_name(), "orders (bindings.azure.servicebusqueues/v1)");
    assert_eq!(component.init_timeout, Duration::from_secs(30));
    assert_eq!(component.place.line, 6);
    let stores = stores("secretstore", r#"{"servicebus":{"connectionString":"Endpoint=sb://x"}}"#, true);
    let properties =
        Properties::resolve(component, &stores, "distributor").expect("templates").expect("store");
    assert_eq!(properties.text("CONNECTIONSTRING"), Some("Endpoint=sb://x"));
    assert_eq!(properties.text("queueName"), Some("distributor-orders"));
    assert_eq!(properties.integer("maxActiveMessages"), Ok(Some(100)));
    assert_eq!(properties.text("fromEnvironment"), Some(""));
    assert_eq!(properties.text("absent"), None);
}

#[test]
fn scopes_decide_who_sees_a_component() {
    assert_eq!(load_for("distributor", &[("a.yml", QUEUE)]).expect("well-formed").len(), 1);
    assert!(load_for("receiver", &[("a.yml", QUEUE)]).expect("well-formed").is_empty());
}

#[test]
fn several_documents_and_other_kinds_stand_in_one_file() {
    let other =
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec: {tracing: {}}\n";
    let second = QUEUE.replace("name: orders", "name: more");
    let text = format!("{QUEUE}---\n{other}--- # next\n{second}");
    let components = load_for("distributor", &[("a.yaml", &text)]).expect("well-formed");
    let names: Vec<_> = components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["orders", "more"]);
    assert_eq!(components[1].place.line, 29, "lines are the file's");
}

#[test]
fn a_name_stands_once() {
    let error = load_for("distributor", &[("a.yaml", QUEUE), ("b.yaml", QUEUE)]).expect_err("twice");
    let message = error.to_string();
    assert!(message.contains("b.yaml:6: duplicate definition of Component name orders"), "{message}");
}

#[test]
fn what_is_wrong_is_told_with_file_and_line() {
    for (from, to, line, word) in [
        ("  version: v1", "  verison: v1", 7, "verison"),
        ("  type: bindings.azure.servicebusqueues", "  kind: x", 6, "kind"),
        ("scopes: [distributor]", "scopes: distributor", 17, "sequence"),
        ("  name: orders", "  name: a/b", 4, "invalid name"),
        ("  - {name: queueName, value: ", "  - {name: queueName, vlaue: ", 12, "vlaue"),
        ("metadata:\n  name", "metadata: [\n  name", 4, ""),
    ] {
        let text = QUEUE.replace(from, to);
        assert_ne!(text, QUEUE);
        let message = load_for("distributor", &[("a.yaml", &text)]).expect_err(to).to_string();
        assert!(message.contains("a.yaml:"), "{message}");
        assert!(message.contains(word), "{message}");
        if line != 4 || word == "invalid name" {
            assert!(message.contains(&format!("a.yaml:{line}:")), "{line}: {message}");
        }
    }
}

#[test]
fn a_missing_folder_is_an_error() {
    let error = load(&["/no/such/folder".into()], "x", None).expect_err("absent");
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

/// A pipe has no size that could be asked beforehand; it used to be read to its end, whatever its length.
#[test]
fn a_pipe_is_read_as_far_as_a_file_may_go() {
    let limit = usize::try_from(RESOURCE_FILE_BYTES_MAX).expect("it fits");
    let folder = folder(&[]);
    let pipe = folder.path().join("pipe.yaml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
    assert!(made.success());
    for (length, fits) in [(limit + 1, false), (limit, true)] {
        let end = pipe.clone();
        let writer = std::thread::spawn(move || fs::write(end, vec![b'#'; length]));
        let read = read_file(&pipe);
        writer.join().expect("no panic").expect("all of it was read");
        match read {
            Ok(text) => assert!(fits && text.len() == length, "{} of {length}", text.len()),
            Err(error) => {
                assert!(!fits && matches!(error, ResourceError::TooLarge { .. }), "{error}");
                assert!(error.to_string().contains("pipe.yaml has more than"), "{error}");
            }
        }
    }
}

#[test]
fn a_file_that_is_no_text_is_named() {
    let folder = folder(&[]);
    let path = folder.path().join("a.yaml");
    fs::write(&path, [0xff, 0xfe]).expect("a file");
    let error = read_file(&path).expect_err("no UTF-8");
    assert!(matches!(&error, ResourceError::Read { .. }) && error.to_string().contains("a.yaml"), "{error}");
}

#[test]
fn secrets_are_flat_or_of_many_values() {
    let json = r#"{"a":{"b":"1","c":[true,{"d":2}]},"plain":"p"}"#;
    let flat = stores("s", json, false);
    assert_eq!(flat["s"].get("a:b", "a:b").as_deref(), Some("1"));
    assert_eq!(flat["s"].get("a:c:1:d", "a:c:1:d").as_deref(), Some("2"));
    assert_eq!(flat["s"].get("a", "b"), None);
    let many = stores("s", json, true);
    assert_eq!(many["s"].get("a", "b").as_deref(), Some("1"));
    assert_eq!(many["s"].get("a", "c:0").as_deref(), Some("true"));
    assert_eq!(many["s"].get("plain", "plain").as_deref(), Some("p"));
    assert_eq!(many["s"].get("a:b", "a:b"), None);
    assert!(!format!("{many:?}").contains('p'.to_string().repeat(2).as_str()), "values are never shown");
}

#[test]
fn a_secret_that_is_not_there_leaves_the_property_empty_and_an_unknown_store_is_waited_for() {
    let component = load_for("distributor", &[("a.yaml", QUEUE)]).expect("well-formed").remove(0);
    let waiting = Properties::resolve(&component, &SecretStores::new(), "x").expect("templates");
    assert_eq!(waiting.err().as_deref(), Some("secretstore"));
    let stores = stores("secretstore", "{}", true);
    let properties = Properties::resolve(&component, &stores, "x").expect("templates").expect("store");
    assert_eq!(properties.text("connectionString"), Some(""));
}

#[test]
fn environment_variables_of_dapr_are_not_handed_out() {
    assert!(!secrets::is_variable_allowed("dapr_api_token"));
    assert!(!secrets::is_variable_allowed("APP_API_TOKEN"));
    assert!(secrets::is_variable_allowed("HOME"));
}
