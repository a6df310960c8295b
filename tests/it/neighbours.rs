//! Who calls whom: read from the code and held against `tests/golden/who_calls_whom.txt`. A new arrow is a reviewed diff.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::story::repository;

const SERVICES: [&str; 5] = ["conversation", "embedding", "file-store", "inference", "planner"];

/// `FileStoreServiceClient::<method>` as it shows in the code: the generated client's module and the snake-case methods.
fn calls(service: &str) -> BTreeSet<String> {
    let mut text = String::new();
    let folder = repository().join("services").join(service).join("src");
    let files = [folder.join("clients.rs")]
        .into_iter()
        .chain(std::fs::read_dir(folder.join("clients")).into_iter().flatten().flatten().map(|e| e.path()));
    for file in files {
        text.push_str(&std::fs::read_to_string(file).unwrap_or_default());
    }
    let mut found = BTreeSet::new();
    for method in crate::raw::methods() {
        let owner = method.parent_service();
        let package = owner.package_name().split('.').nth(1).unwrap_or_default().to_owned();
        let client = format!("{}Client", owner.name());
        let mut snake = String::new();
        for c in method.name().chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        if text.contains(&client) && text.contains(&format!(".{snake}(")) {
            found.insert(format!("{package}.{}", method.name()));
        }
    }
    found
}

#[test]
fn who_calls_whom_is_as_reviewed() {
    let mut now = String::new();
    for service in SERVICES {
        let calls = calls(service);
        if calls.is_empty() {
            let _ = writeln!(now, "{service} -> nobody");
        }
        for call in calls {
            let _ = writeln!(now, "{service} -> {call}");
        }
    }
    let golden = repository().join("tests/golden/who_calls_whom.txt");
    if std::env::var_os("SLIPWAY_TEST_ACCEPT").is_some() {
        std::fs::write(&golden, &now).expect("the golden file is written");
    }
    let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(reviewed, now, "accept the change with SLIPWAY_TEST_ACCEPT=1 and review it");
}
