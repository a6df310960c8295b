//! The data that comes with the binary, and the operator's file beside it.

use time::macros::date;

use super::*;

fn open(settings: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::open(&toml::from_str(settings).unwrap(), Metrics::new())
}

const PROVIDERS: &str = r#"
[providers.openai]
[providers.openrouter]
base_url = "https://openrouter.ai/api/v1"
[providers.local]
base_url = "http://127.0.0.1:8000/v1"
[providers.az]
base_url = "https://acme.openai.azure.com/openai/v1"
deployments = { chat = "gpt-4o" }
"#;

#[test]
fn what_comes_with_the_binary_is_found_by_every_spelling() {
    let catalogue = open(PROVIDERS).unwrap();
    let input = |id: &str| catalogue.find(id).and_then(|e| e.price(date!(2026 - 12 - 01)).map(|p| p.rates.input));
    assert_eq!(input("openai/gpt-4o"), Some(2_500_000));
    assert_eq!(input("openai/gpt-4o-2024-08-06"), Some(2_500_000));
    assert_eq!(input("openrouter/openai/gpt-4o"), Some(2_500_000));
    assert_eq!(input("openrouter/anthropic/claude-sonnet-4.5"), Some(3_000_000));
    assert_eq!(input("openrouter/meta-llama/llama-3.1-8b-instruct:free"), Some(0));
    assert_eq!(input("az/chat"), Some(2_500_000));
    assert_eq!(input("builtin/rules"), Some(0));
    assert_eq!(input("local/my-own-model"), None);
    assert_eq!(input("nobody/gpt-4o"), None);

    let entry = catalogue.find("openai/gpt-4o").unwrap();
    assert_eq!((entry.window, entry.max_output), (Some(128_000), Some(16_384)));
    assert!([Ability::Tools, Ability::Images, Ability::Json, Ability::Cache].into_iter().all(|a| entry.can(a)));
    assert!(!entry.can(Ability::Reasoning) && entry.deprecated.is_some());
    let price = entry.price(date!(2026 - 12 - 01)).unwrap();
    assert_eq!((price.rates.cached_input, price.rates.output), (1_250_000, 10_000_000));
    assert!(price.version.starts_with("litellm-"));
}

#[test]
fn windows_are_known_by_the_familys_name() {
    let catalogue = open(PROVIDERS).unwrap();
    let window = |id: &str| catalogue.find(id).and_then(|e| e.window);
    assert_eq!(window("local/gpt-4o-mini"), Some(128_000));
    assert_eq!(window("local/gpt-4-0613"), Some(8_192));
    assert_eq!(window("local/openai/gpt-4.1-nano"), Some(1_047_576));
    assert_eq!(window("local/meta-llama/Llama-3.1-8B-Instruct"), Some(131_072));
    assert_eq!(window("local/my-own-model"), None);
}

#[test]
fn every_price_that_comes_with_the_binary_makes_sense() {
    let book = file::read(LISTED).unwrap();
    assert!(book.models.len() > 500);
    for (key, entry) in &book.models {
        for price in &entry.prices {
            let rates = price.rates;
            // Per token, in dollars: the dearest model that was ever sold costs less than a tenth of a cent.
            assert!(rates.input <= 1_000_000_000 && rates.output <= 1_000_000_000, "{key}: {rates:?}");
            assert!(rates.cached_input <= rates.input || rates.input == 0, "{key}: {rates:?}");
        }
    }
}

#[test]
fn a_wrong_file_stops_the_start_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.json");
    std::fs::write(&path, "{\"version\":\"1\",\n\"models\":{\"local/x\":{\"window\":\"big\"}}}").unwrap();
    let settings = format!("[catalogue]\npath = \"{}\"", path.display());
    let error = open(&settings).unwrap_err().to_string();
    for part in ["mine.json", "models.local/x.window", "line 2"] {
        assert!(error.contains(part), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(&settings), Err(CatalogueError::Io { .. })));
}

#[test]
fn a_seller_that_nobody_lists_stops_the_start() {
    let settings = |seller: &str| format!("[providers.x]\nbase_url = \"http://127.0.0.1:9\"\ncatalogue = \"{seller}\"");
    open(&settings("groq")).unwrap();
    open(&settings("none")).unwrap();
    assert!(open(&settings("grok")).unwrap_err().to_string().contains("inference.providers.x.catalogue = \"grok\""));
}

#[test]
fn the_operators_file_goes_first_and_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.json");
    let write = |input: &str| {
        let price = format!(r#"[{{"from":"2026-01-01","input":{input},"output":7}}]"#);
        std::fs::write(&path, format!(r#"{{"version":"acme-1","models":{{"openai/gpt-4o":{{"prices":{price}}}}}}}"#)).unwrap();
    };
    write("5");
    let catalogue = open(&format!("{PROVIDERS}\n[catalogue]\npath = \"{}\"", path.display())).unwrap();
    let input = || catalogue.find("openai/gpt-4o").unwrap().prices[0].rates.input;
    let entry = catalogue.find("openai/gpt-4o").unwrap();
    assert_eq!((entry.window, entry.prices[0].version.as_ref()), (Some(128_000), "acme-1"));
    assert_eq!(input(), 5);

    write("77");
    catalogue.refresh();
    assert_eq!(input(), 77);

    write("\"dear\"");
    catalogue.refresh();
    assert_eq!(input(), 77);
    let page = catalogue.metrics.text().unwrap();
    assert!(page.contains(r#"slipway_inference_catalogue_refreshes_total{outcome="failed"} 1"#), "{page}");
    assert!(page.contains(r#"slipway_inference_catalogue_refreshes_total{outcome="ok"} 1"#), "{page}");
    // What has been seen to be wrong is not read again until it changes.
    catalogue.refresh();
    assert!(catalogue.metrics.text().unwrap().contains(r#"outcome="failed"} 1"#));

    std::fs::remove_file(&path).unwrap();
    catalogue.refresh();
    assert_eq!(input(), 77);
    write("8");
    catalogue.refresh();
    assert_eq!(input(), 8);
}
