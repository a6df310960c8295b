//! What looking costs, printed: `cargo test --release -p slipway-secrets --test speed -- --ignored --nocapture`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "the figures are what it is run for")]

use std::hint::black_box;
use std::time::Duration;

use slipway_secrets::{redact, scan};

/// How long this thread has had a processor: other work on the machine does not count.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn report(name: &str, text: &str) {
    let rounds = (8 << 20) / text.len().max(1) + 1;
    scan(text);
    let begun = busy();
    for _ in 0..rounds {
        black_box(redact(black_box(text)));
    }
    let each = (busy() - begun) / u32::try_from(rounds).unwrap();
    let rate = text.len() as f64 / each.as_secs_f64() / 1e6;
    println!("{name}: {} bytes, {} findings, {each:?} each, {rate:.0} MB/s", text.len(), scan(text).len());
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let log: String = (0..20_000)
        .map(|n| format!("2026-11-25T10:30:{:02}.{n:06}Z INFO request_id=6ba7b810-9dad-11d1-80b4-00c04fd4{n:04x} path=/api/v1/users/{n} status=200 took=3ms\n", n % 60))
        .collect();
    let yaml = include_str!("../../../infra/helm/slipway/values.yaml").repeat(20);
    let code = include_str!("../src/kubernetes.rs");
    let prose =
        "Please scale the deployment of the shop to five replicas, and tell me which of the pods was restarted most often. ";
    report("log", &log);
    report("yaml", &yaml);
    report("code", code);
    report("a prompt of 4 KiB", &prose.repeat(36));
    report("a prompt of 4 KiB of code", &code[..4096]);
    report("a short prompt", &prose[..60]);
}
