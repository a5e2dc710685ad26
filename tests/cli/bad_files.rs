//! Files that people write, and get wrong: file, line, key, remedy; the code for usage; nothing is started. Also real
//! ones: what is refused here must be the mistake, not the file.

use std::path::Path;

use assert_cmd::Command;
use lab::build::Artefact;

use crate::support::{folder, program, redacted, refusal, workspace};

const USAGE: i32 = 2;

/// One mistake: what is replaced by what, the line that is told, and words that must be said, the key among them.
type Mistake = (&'static str, &'static str, u32, &'static [&'static str]);

/// Makes each mistake in a good file and asserts that the program names it.
fn assert_named(file: &str, good: &str, mistakes: &[Mistake], command: impl Fn(&Path) -> Command) {
    for (from, to, line, words) in mistakes {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "'{from}' is in the file");
        let folder = folder(&[(file, &text)]);
        let said = redacted(&refusal(command(folder.path()), USAGE), folder.path());
        let place = format!("[FOLDER]/{file}:{line}: ");
        assert!(said.contains(&place), "{from} -> {to}: {place} is not in\n{said}");
        for word in *words {
            assert!(said.contains(word), "{from} -> {to}: '{word}' is not in\n{said}");
        }
    }
}

const CONFIG: &str = r#"{
  // The official emulator's format.
  "UserConfig": {
    "Namespaces": [
      {
        "Name": "sbemulatorns",
        "Queues": [
          {
            "Name": "q-order-ingress",
            "Properties": {
              "DeadLetteringOnMessageExpiration": false,
              "LockDuration": "PT1M",
              "MaxDeliveryCount": 10
            }
          }
        ]
      }
    ]
  }
}
"#;

fn broker(folder: &Path) -> Command {
    let mut command = program(Artefact::ServicebusEmulator);
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--config"]);
    command.arg(folder.join("Config.json"));
    command
}

#[test]
fn the_brokers_configuration() {
    let good = folder(&[("Config.json", CONFIG)]);
    broker(good.path())
        .arg("--check-config")
        .assert()
        .success()
        .stdout("1 queues and 0 topics can be served\n");
    let mistakes: [Mistake; 10] = [
        (
            "\"MaxDeliveryCount\"",
            "\"MaxDeliveryCounts\"",
            13,
            &["Properties.MaxDeliveryCounts", "remove the key"],
        ),
        ("10", "\"ten\"", 13, &["Queues[0].Properties.MaxDeliveryCount", "\"ten\"", "correct the value"]),
        ("10", "0", 13, &["Queues[0].Properties.MaxDeliveryCount", "`0`", "correct the value"]),
        ("false", "\"no\"", 11, &["Properties.DeadLetteringOnMessageExpiration", "\"no\"", "boolean"]),
        ("PT1M", "1 minute", 12, &["Properties.LockDuration", "'1 minute'", "such as PT30S"]),
        ("\"Name\": \"q-order-ingress\",", "", 15, &["Queues[0]", "`Name`", "add the key"]),
        ("q-order-ingress", "q order?", 9, &["Queues[0].Name", "'q order?'", "correct the value"]),
        ("\"Queues\"", "\"Queue\"", 7, &["Namespaces[0].Queue", "remove the key or correct its spelling"]),
        ("\"UserConfig\"", "\"Config\"", 3, &["Config", "expected `UserConfig`"]),
        ("}\n", "} x\n", 14, &["correct the JSON"]),
    ];
    assert_named("Config.json", CONFIG, &mistakes, broker);
}

#[test]
fn a_configuration_that_is_not_there() {
    let empty = folder(&[]);
    let said = redacted(&refusal(broker(empty.path()), USAGE), empty.path());
    insta::assert_snapshot!(said, @"error: cannot read the config file [FOLDER]/Config.json; check the path given to --config: No such file or directory (os error 2)");
}

const COMPONENT: &str = "apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: q-order-express-out
spec:
  type: bindings.azure.servicebusqueues
  version: v1
  metadata:
  - name: connectionString
    value: Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=k;SharedAccessKey=k;UseDevelopmentEmulator=true;
  - name: queueName
    value: q-order-express
  - name: maxActiveMessages
    value: \"100\"
  - name: direction
    value: output
  - name: disableEntityManagement
    value: \"true\"
scopes:
- distributor
";

fn dapr(folder: &Path) -> Command {
    let mut command = program(Artefact::DaprEmulator);
    command.args(["--app-id", "distributor", "--dapr-http-port", "0", "--resources-path"]).arg(folder);
    command
}

#[test]
fn a_dapr_component() {
    let mistakes: [Mistake; 13] = [
        ("spec:", "sepc:", 5, &["sepc", "remove the key or correct its spelling"]),
        ("  version: v1", "  verison: v1", 7, &["verison"]),
        (
            "    value: q-order-express\n",
            "    vaule: q-order-express\n",
            12,
            &["spec.metadata[1].vaule", "remove the key"],
        ),
        (
            "  name: q-order-express-out",
            "  name: [a, b]",
            4,
            &["metadata.name: expected string", "correct the value"],
        ),
        ("scopes:\n- distributor", "scopes: distributor", 19, &["scopes: expected sequence"]),
        (
            "bindings.azure.servicebusqueues",
            "bindings.azure.servicebus",
            6,
            &["bindings.azure.servicebus/v1"],
        ),
        ("version: v1\n", "version: v2\n", 6, &["bindings.azure.servicebusqueues/v2"]),
        ("\"100\"", "many", 13, &["maxActiveMessages", "many"]),
        ("direction\n    value: output", "direction\n    value: out", 15, &["direction", "out"]),
        ("- name: queueName", "- name: queueNames", 11, &["queueNames"]),
        ("Endpoint=sb://127.0.0.1:1;", "Endpoint;", 9, &["connection string"]),
        ("    value: Endpoint=", "    value: Endpoint: ", 10, &[]),
        (
            "    value: q-order-express\n",
            "    secretKeyRef: {name: queues, key: express}\n",
            6,
            &["auth.secretStore"],
        ),
    ];
    assert_named("queue.yaml", COMPONENT, &mistakes, dapr);
}

#[test]
fn components_that_are_not_there() {
    let empty = folder(&[]);
    let said = refusal(dapr(&empty.path().join("none")), USAGE);
    insta::assert_snapshot!(redacted(&said, empty.path()), @"dapr-emulator: cannot read [FOLDER]/none: check --resources-path, --config and secretsFile: No such file or directory (os error 2)");
}

const SPIN: &str = "spin_manifest_version = 2

[application]
name = \"orders\"

[variables]
dapr_url = { default = \"http://localhost:3500\" }

[[trigger.http]]
route = \"/...\"
component = \"order\"

[component.order]
source = \"order.wasm\"
allowed_outbound_hosts = [\"{{ dapr_url }}\"]

[component.order.variables]
dapr_url = \"{{ dapr_url }}\"
";

fn spin(folder: &Path) -> Command {
    let mut command = program(Artefact::SpinHost);
    command.args(["--listen", "127.0.0.1:0", "--disable-cache", "--from"]).arg(folder.join("spin.toml"));
    command
}

#[test]
fn a_spin_manifest() {
    let mistakes: [Mistake; 12] = [
        ("spin_manifest_version = 2", "spin_manifest_version = 3", 1, &["spin_manifest_version = 2"]),
        ("name = ", "nmae = ", 4, &["`nmae`", "expected one of `name`", "correct or remove it"]),
        ("route = \"/...\"", "route = 7", 10, &["route", "`7`", "correct it"]),
        ("component = \"order\"", "component = \"oder\"", 9, &["`oder`", "add [component.oder]"]),
        ("allowed_outbound_hosts", "allowed_outbound_host", 15, &["`allowed_outbound_host`", "remove it"]),
        ("[\"{{ dapr_url }}\"]", "\"{{ dapr_url }}\"", 15, &["allowed_outbound_hosts", "sequence"]),
        ("[\"{{ dapr_url }}\"]", "[\"{{ dapr_uri }}\"]", 15, &["dapr_uri", "declare it under [variables]"]),
        ("default = ", "defualt = ", 7, &["`defualt`", "expected one of", "correct or remove it"]),
        ("dapr_url = \"{{ dapr_url }}\"", "dapr_url = \"{{ dapr_url\"", 18, &["unmatched '{{'"]),
        ("source = \"order.wasm\"\n", "", 13, &["`source`", "add it"]),
        ("[[trigger.http]]", "[[trigger.redis]]", 9, &["`redis`", "use [[trigger.http]]"]),
        ("[application]", "[application", 3, &["expected `]`"]),
    ];
    assert_named("spin.toml", SPIN, &mistakes, spin);
}

#[test]
fn a_variable_that_nobody_sets() {
    let needy = SPIN.replace("default = \"http://localhost:3500\"", "required = true");
    let folder = folder(&[("spin.toml", &needy)]);
    let said = refusal(spin(folder.path()), USAGE);
    assert!(said.contains("dapr_url; set them with --variable NAME=VALUE"), "{said}");
}

#[test]
fn a_manifest_that_is_not_there() {
    let empty = folder(&[]);
    insta::assert_snapshot!(redacted(&refusal(spin(empty.path()), USAGE), empty.path()), @r"
    error: cannot read the manifest [FOLDER]/spin.toml; name it with --from
      caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn a_module_that_is_none() {
    let folder = folder(&[("spin.toml", SPIN), ("order.wasm", "no wasm")]);
    insta::assert_snapshot!(redacted(&refusal(spin(folder.path()), USAGE), folder.path()), @"error: [FOLDER]/order.wasm of component `order` is not a usable WebAssembly file: it does not start as one");
}

#[test]
fn accounts_of_the_blob_store() {
    for (accounts, words) in [
        ("name-without-key", "account 1 is not of the form name:key"),
        ("name:c2VjcmV0-c2VjcmV0", "a key of account 1 is not base64"),
        ("abc:a2V5;Upper:a2V5", "the name of account 2 must be 3 to 24 lower-case letters and digits"),
        (";", "give at least one name:key"),
    ] {
        let mut command = program(Artefact::BlobEmulator);
        command.args(["--listen", "127.0.0.1:0"]).env("AZURITE_ACCOUNTS", accounts);
        let said = refusal(command, USAGE);
        assert!(said.contains("AZURITE_ACCOUNTS") && said.contains(words), "{said}");
        assert!(!said.contains("c2VjcmV0"), "a key must not be shown: {said}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_that_chooses_another() {
    const FAILURE: i32 = 1;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let (port, address) = (address.port().to_string(), address.to_string());
    let spin_toml = workspace().root().join("apps/spin/rust/spin.toml").display().to_string();
    let empty = folder(&[]);
    let resources = empty.path().display().to_string();
    for (artefact, args, flag) in [
        (
            Artefact::ServicebusEmulator,
            &["--listen", &address, "--http-listen", "127.0.0.1:0"][..],
            "--listen",
        ),
        (
            Artefact::ServicebusEmulator,
            &["--listen", "127.0.0.1:0", "--http-listen", &address],
            "--http-listen",
        ),
        (Artefact::BlobEmulator, &["--listen", &address], "--listen"),
        (
            Artefact::DaprEmulator,
            &[
                "--app-id",
                "a",
                "--dapr-http-port",
                &port,
                "--dapr-listen-addresses",
                "127.0.0.1",
                "--resources-path",
                &resources,
            ],
            "--dapr-http-port",
        ),
        (Artefact::SpinHost, &["--listen", &address, "--from", &spin_toml], "--listen"),
        (Artefact::WarpRust, &["--listen", &address], "--listen"),
        (Artefact::ExpressTs, &["--listen", &address], "--listen"),
    ] {
        let mut command = program(artefact);
        command.args(args);
        let stderr = refusal(command, FAILURE);
        assert!(stderr.contains(&port) && stderr.contains(flag), "{}: {stderr}", artefact.name());
    }
}
