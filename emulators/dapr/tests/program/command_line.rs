//! Flags, the announce line, signals, exit codes.

use std::process::{Command, Stdio};

use serde_json::json;

use super::NO_BROKER;
use super::blob_store::BlobStore;
use super::support::{Setup, is_real_daprd, queue};

#[tokio::test]
async fn daprds_flags_are_taken_with_one_dash_and_two() {
    let setup = Setup::new().args(&[
        "--mode=standalone",
        "--app-protocol",
        "http",
        "--log-level",
        "info",
        "--app-max-concurrency",
        "-1",
        "--placement-host-address=",
        "--dapr-graceful-shutdown-seconds=1",
        "--enable-app-health-check=false",
        "--app-binding-options-timeout",
        "3s",
        "--read-buffer-size=4Ki",
        "--disable-init-endpoints",
        "config,subscribe",
        "--profile-port",
        "7777",
        "--max-body-size",
        "4Mi",
    ]);
    let dapr = setup.start().await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
    let one_dash = Setup::new().args(&["-log-level", "info", "-app-channel-address", "127.0.0.1"]);
    assert_eq!(one_dash.start().await.get("/v1.0/healthz").await.status, 204);
}

#[tokio::test]
async fn what_is_wrong_on_the_command_line_is_said_with_code_2() {
    if is_real_daprd("its texts and codes") {
        return;
    }
    for (args, said) in [
        (&["--no-such-flag"][..], "unexpected argument '--no-such-flag'"),
        (&["-no-such-flag"], "unexpected argument '--no-such-flag'"),
        (&["stray"], "unexpected argument 'stray'"),
        (&["--app-port", "x"], "invalid value 'x' for '--app-port"),
        (&["--app-port", "70000"], "invalid value '70000' for '--app-port"),
        (&["--mode", "kubernetes"], "invalid value 'kubernetes' for '--mode"),
        (&["--app-protocol", "grpc"], "invalid value 'grpc' for '--app-protocol"),
        (&["--max-body-size", "4Mb"], "write it as 4Mi, 16M, 500Ki or bytes"),
        (&["--app-binding-options-timeout", "3"], "write it as 3s, 500ms or 1m30s"),
        (&["--app-channel-address", "no host"], "--app-channel-address \"no host\" is no host"),
        (&["--resources-path", "/no/such/folder"], "cannot read /no/such/folder: check --resources-path"),
        (&["--config", "/no/such/file"], "cannot read /no/such/file: check --resources-path, --config"),
        (&["--config", "FOLDER/a.yaml"], "a.yaml:1: the file's kind is not Configuration"),
    ] {
        let setup = Setup::new().file("a.yaml", queue("a", NO_BROKER, &[])).args(args);
        let ended =
            setup.args(&["--app-port", "1"][..if args[0] == "--app-channel-address" { 2 } else { 0 }]);
        let ended = super::ended(ended).await;
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {}", ended.log);
        assert!(ended.log.contains(said), "{args:?}: {}", ended.log);
    }
}

#[test]
fn an_app_id_is_needed_and_has_no_period() {
    if is_real_daprd("its texts and codes") {
        return;
    }
    for (args, said) in [
        (&[][..], "--app-id"),
        (&["--app-id", ""], "parameter app-id cannot be empty"),
        (&["--app-id", "a.b"], "parameter app-id cannot contain a period"),
        (&["--app-id", "a", "--dapr-listen-addresses", "nowhere"], "\"nowhere\" is no IP address"),
    ] {
        let ended = Command::new(crate::dapr_emulator()).args(args).output().expect("the program starts");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {log}");
        assert!(log.contains(said), "{args:?}: {log}");
    }
}

#[test]
fn help_explains_the_flags() {
    if is_real_daprd("its texts") {
        return;
    }
    let help = Command::new(crate::dapr_emulator()).arg("--help").output().expect("the program starts");
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success());
    for flag in ["--app-id", "--app-port", "--dapr-http-port", "--resources-path", "--config"] {
        assert!(text.contains(flag), "{text}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_a_component_starts() {
    let store = BlobStore::start().await;
    let dapr = Setup::new().start().await;
    let port = dapr.port.to_string();
    let again = Setup::new().file("box.yaml", store.component(&[])).args(&["--dapr-http-port", &port]);
    let ended = super::ended(again).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    if is_real_daprd("its texts and order") {
        assert!(ended.log.contains("could not listen on any endpoint"), "{}", ended.log);
    } else {
        assert!(ended.log.to_lowercase().contains("address already in use"), "{}", ended.log);
        assert!(
            ended.log.contains(&format!("127.0.0.1:{port}: choose another --dapr-http-port")),
            "{}",
            ended.log
        );
        assert!(store.requests().is_empty(), "{:?}", store.requests());
    }
}

#[tokio::test]
async fn a_signal_ends_it_with_0() {
    for signal in ["-TERM", "-INT"] {
        let store = BlobStore::start().await;
        let dapr = Setup::new().file("box.yaml", store.component(&[])).start().await;
        assert_eq!(dapr.create("box", json!(1), json!({})).await.status, 200);
        dapr.signal(signal);
        let ended = dapr.ended().await;
        assert_eq!(ended.status.code(), Some(0), "{signal}: {}", ended.log);
    }
}

/// It used to panic when it added the time to the present instant.
#[tokio::test]
async fn a_signal_ends_it_with_0_also_when_the_grace_is_without_end() {
    if is_real_daprd("its durations wrap around") {
        return;
    }
    let grace = ["--dapr-graceful-shutdown-seconds", "9223372036854775807"];
    let dapr = Setup::new().args(&grace).start().await;
    dapr.signal("-TERM");
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
async fn a_signal_ends_it_while_it_waits_for_the_application_or_for_a_service() {
    let waits_for_app = Setup::new().app(1).start().await;
    waits_for_app.signal("-TERM");
    assert_eq!(waits_for_app.ended().await.status.code(), Some(0));
    if is_real_daprd("a service that is awaited") {
        return;
    }
    let store = BlobStore::start().await;
    let text = store.component(&[]).replace(&store.endpoint, "http://127.0.0.1:1");
    let text = text.replace("  version: v1\n", "  version: v1\n  initTimeout: 1h\n");
    let waits = Setup::new().file("a.yaml", queue("a", NO_BROKER, &[])).file("box.yaml", text).spawn(0);
    waits.logged("Component loaded").await;
    waits.signal("-TERM");
    assert_eq!(waits.ended().await.status.code(), Some(0));
}

#[test]
fn the_end_of_stdin_ends_it_when_asked() {
    if is_real_daprd("it does not know the flag") {
        return;
    }
    let mut child = Command::new(crate::dapr_emulator())
        .args(["--app-id", "a", "--dapr-http-port", "0", "--stop-on-stdin-eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}
