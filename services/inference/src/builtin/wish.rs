//! What a request wants, as far as the engine understands it: sentences become wishes.

use super::words::{Word, fragments, words};
use super::yaml::Value;

mod access;
mod read;
mod vocabulary;
mod workload;

/// Which component a wish is for: the words that name it, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Words that must name something.
    pub(super) words: Vec<String>,
    /// Words such as `service` or `app`, which name something only when it is called so.
    pub(super) generic: Vec<String>,
    /// `all`, `every`.
    pub(super) all: bool,
}

impl Target {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.all
    }
}

/// Which side of a container's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Requests,
    Limits,
    Both,
}

/// What a label or an annotation is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    Any,
    Pods,
    Service,
    Ingress,
    Common,
}

/// One change that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Replicas {
        count: u64,
    },
    Image {
        repository: Option<String>,
        tag: Option<String>,
    },
    ChartVersion {
        app: bool,
        version: String,
    },
    Resources {
        amounts: Vec<(Bound, &'static str, String)>,
    },
    Env {
        name: String,
        value: Option<String>,
    },
    Port {
        port: u64,
        container: bool,
    },
    Ingress {
        enabled: bool,
        hosts: Vec<String>,
        more: bool,
        class: Option<String>,
        tls: bool,
        secret: Option<String>,
    },
    Autoscaling {
        enabled: bool,
        min: Option<u64>,
        max: Option<u64>,
        cpu: Option<u64>,
    },
    Probe {
        which: Vec<&'static str>,
        path: Option<String>,
        port: Option<String>,
        fields: Vec<(&'static str, u64)>,
        removed: bool,
    },
    ServiceType {
        kind: &'static str,
    },
    Meta {
        annotation: bool,
        bearer: Bearer,
        key: String,
        value: Option<String>,
    },
    /// A key by its path; `None`: remove it.
    Path {
        path: String,
        value: Option<Value>,
    },
    /// A key in words: `the log level`.
    Key {
        words: Vec<String>,
        value: Value,
    },
    /// Something that is turned on or off.
    Switch {
        words: Vec<String>,
        on: bool,
    },
}

/// A wish with what it is for and how it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) target: Target,
    /// The file that was named, if any.
    pub(super) file: Option<String>,
    pub(super) said: String,
}

/// What the words of a request may refer to.
pub(super) trait Surroundings {
    /// True when this is a path of an existing key, or of a new key in an existing mapping.
    fn is_path(&self, text: &str) -> bool;
    /// The file of this name, whole or its last part.
    fn file(&self, name: &str) -> Option<String>;
    /// True when something that can be scaled is called so.
    fn is_component(&self, word: &str) -> bool;
}

/// The wishes of a request, in order; an error holds the words that were not understood.
pub(super) fn read(text: &str, around: &dyn Surroundings) -> Vec<Result<Request, String>> {
    let mut clauses: Vec<Clause> = Vec::new();
    for (hard, fragment) in fragments(&ranges(text)) {
        let before = clauses.last().filter(|_| !hard);
        let verb = read::begins_with_verb(&fragment);
        let request = read::request(&fragment, around, before.and_then(|c| c.request.as_ref()), verb);
        match (request, clauses.last_mut().filter(|_| !hard && !verb)) {
            (Some(request), Some(before)) if before.goes_on(&request, &fragment) => {
                let both = [before.words.clone(), fragment.clone()].concat();
                match read::request(&both, around, None, true) {
                    Some(request) => *before = Clause { words: both, request: Some(request) },
                    None => clauses.push(Clause { words: fragment, request: Some(request) }),
                }
            }
            (Some(request), Some(before)) if before.request.is_none() => {
                // "the cpu limit and request to 1": the first half makes sense only with the second.
                let both = [before.words.clone(), fragment.clone()].concat();
                match read::request(&both, around, None, true) {
                    Some(request) => *before = Clause { words: both, request: Some(request) },
                    None => clauses.push(Clause { words: fragment, request: Some(request) }),
                }
            }
            (Some(request), _) => clauses.push(Clause { words: fragment, request: Some(request) }),
            (None, Some(before)) => {
                let both = [before.words.clone(), fragment.clone()].concat();
                let request = read::request(&both, around, None, true);
                if request.is_some() || before.request.is_none() {
                    *before = Clause { words: both, request };
                } else {
                    clauses.push(Clause { words: fragment, request: None });
                }
            }
            (None, None) => clauses.push(Clause { words: fragment, request: None }),
        }
    }
    clauses.retain(|c| c.request.is_some() || !read::is_talk(&c.words));
    clauses.into_iter().map(|c| c.request.ok_or_else(|| said(&c.words))).collect()
}

struct Clause {
    words: Vec<Word>,
    request: Option<Request>,
}

impl Clause {
    /// True when a fragment is more of the same wish: "min 2 and max 5", "class nginx and TLS".
    fn goes_on(&self, next: &Request, fragment: &[Word]) -> bool {
        let kinds = ["liveness", "readiness", "startup"];
        match (self.request.as_ref().map(|r| &r.wish), &next.wish) {
            (Some(Wish::Autoscaling { .. }), Wish::Autoscaling { .. }) | (Some(Wish::Ingress { .. }), Wish::Ingress { .. }) => {
                true
            }
            (Some(Wish::Probe { .. }), Wish::Probe { .. }) => !fragment.iter().any(|w| w.is(&kinds)),
            _ => false,
        }
    }
}

/// The words as they were said.
pub(super) fn said(words: &[Word]) -> String {
    let shown = |w: &Word| if w.quoted && !w.text.contains('=') { format!("\"{}\"", w.text) } else { w.text.clone() };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

// "between 2 and 5" would fall into two fragments at its "and".
fn ranges(text: &str) -> String {
    let all = words(text);
    let mut out = text.to_owned();
    for window in all.windows(4) {
        let [a, low, and, high] = window else { continue };
        if a.is(&["between"]) && and.is(&["and"]) && low.number().is_some() && high.number().is_some() {
            for and in ["and", "AND", "And"] {
                let spoken = format!("{} {} {and} {}", a.text, low.text, high.text);
                out = out.replace(&spoken, &format!("min {} max {}", low.text, high.text));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Surroundings for Fixed {
        fn is_path(&self, text: &str) -> bool {
            ["gateway.service.port", "gateway.replicas", "gateway.extra", "logLevel"].contains(&text)
        }

        fn file(&self, name: &str) -> Option<String> {
            (name == "values-prod.yaml").then(|| name.to_owned())
        }

        fn is_component(&self, word: &str) -> bool {
            ["gateway", "worker"].contains(&word)
        }
    }

    fn wishes(text: &str) -> Vec<(Wish, Vec<String>)> {
        read(text, &Fixed)
            .into_iter()
            .map(|r| r.unwrap_or_else(|e| panic!("{text}: not understood: {e}")))
            .map(|r| (r.wish, r.target.words))
            .collect()
    }

    fn one(text: &str) -> (Wish, String) {
        let mut all = wishes(text);
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        let (wish, words) = all.remove(0);
        (wish, words.join(" "))
    }

    fn ingress(host: &str) -> Wish {
        Wish::Ingress { enabled: true, hosts: vec![host.into()], more: false, class: None, tls: false, secret: None }
    }

    #[test]
    fn replicas() {
        for text in [
            "run three gateway replicas",
            "Please scale the gateway to 3.",
            "set the gateway's replica count to 3",
            "increase gateway replicas from 1 to 3",
            "I want 3 replicas of the gateway",
            "run three gateways",
            "gateway replicas: 3",
            "can you run three instances of the gateway?",
            "bump gateway to 3 pods",
        ] {
            assert_eq!(one(text), (Wish::Replicas { count: 3 }, "gateway".into()), "{text}");
        }
        assert!(read("double the replicas", &Fixed)[0].is_err());
        assert!(read("add two more replicas", &Fixed)[0].is_err());
    }

    #[test]
    fn several_in_one_sentence() {
        let all = wishes("run three gateway replicas and put an ingress on slipway.example.com");
        assert_eq!(all[0], (Wish::Replicas { count: 3 }, vec!["gateway".into()]));
        assert_eq!(all[1], (ingress("slipway.example.com"), vec![]));
        let all = wishes("two gateway replicas, five worker replicas; set logLevel to debug");
        assert_eq!(all[0].0, Wish::Replicas { count: 2 });
        assert_eq!(all[1], (Wish::Replicas { count: 5 }, vec!["worker".into()]));
        assert_eq!(all[2].0, Wish::Path { path: "logLevel".into(), value: Some(Value::text("debug")) });
    }

    #[test]
    fn images() {
        let image = |r: Option<&str>, t: Option<&str>| Wish::Image { repository: r.map(Into::into), tag: t.map(Into::into) };
        assert_eq!(one("set the image tag to v1.4.2").0, image(None, Some("v1.4.2")));
        assert_eq!(one("upgrade the gateway to version 1.4.2"), (image(None, Some("1.4.2")), "gateway".into()));
        assert_eq!(
            one("use image ghcr.io/acme/web:2.0 for the gateway"),
            (image(Some("ghcr.io/acme/web"), Some("2.0")), "gateway".into())
        );
        assert_eq!(one("change the image to nginx").0, image(Some("nginx"), None));
        assert_eq!(one("use nginx:1.27").0, image(Some("nginx"), Some("1.27")));
        assert_eq!(one("set the chart version to 1.2.0").0, Wish::ChartVersion { app: false, version: "1.2.0".into() });
    }

    #[test]
    fn resources() {
        use Bound::{Both, Limits, Requests};
        let amounts = |text: &str| match one(text).0 {
            Wish::Resources { amounts } => amounts,
            other => panic!("{text}: {other:?}"),
        };
        let a = |b, m, q: &str| (b, m, q.to_owned());
        assert_eq!(amounts("set the gateway cpu limit to 500m"), [a(Limits, "cpu", "500m")]);
        assert_eq!(amounts("limit memory to 512Mi"), [a(Limits, "memory", "512Mi")]);
        assert_eq!(amounts("give the gateway 1Gi of memory"), [a(Both, "memory", "1Gi")]);
        assert_eq!(amounts("request 2 cpus"), [a(Requests, "cpu", "2")]);
        assert_eq!(
            amounts("set requests to cpu=100m memory=128Mi"),
            [a(Requests, "cpu", "100m"), a(Requests, "memory", "128Mi")]
        );
        assert_eq!(amounts("set the cpu limit and request to 500m"), [a(Both, "cpu", "500m")]);
        let all = wishes("set requests to 100m cpu and 128Mi memory and limits to 1 cpu and 512 MB of memory");
        let all: Vec<_> = all
            .into_iter()
            .flat_map(|(w, _)| match w {
                Wish::Resources { amounts } => amounts,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected =
            [a(Requests, "cpu", "100m"), a(Requests, "memory", "128Mi"), a(Limits, "cpu", "1"), a(Limits, "memory", "512M")];
        assert_eq!(all, expected);
    }

    #[test]
    fn environment_variables() {
        let env = |n: &str, v: Option<&str>| Wish::Env { name: n.into(), value: v.map(Into::into) };
        assert_eq!(one("set env LOG_LEVEL=debug").0, env("LOG_LEVEL", Some("debug")));
        assert_eq!(one("set LOG_LEVEL to debug on the gateway"), (env("LOG_LEVEL", Some("debug")), "gateway".into()));
        assert_eq!(
            one("add an environment variable FOO with value \"a b\" to the worker"),
            (env("FOO", Some("a b")), "worker".into())
        );
        assert_eq!(one("remove the env var FOO").0, env("FOO", None));
        assert_eq!(wishes("add env A_B=1 and C_D=2")[1].0, env("C_D", Some("2")));
    }

    #[test]
    fn network() {
        assert_eq!(one("change the service port to 8080").0, Wish::Port { port: 8080, container: false });
        assert_eq!(one("set the container port to 9090").0, Wish::Port { port: 9090, container: true });
        assert_eq!(one("enable ingress with host a.example.com").0, ingress("a.example.com"));
        assert_eq!(one("expose the gateway at https://a.example.com/"), (ingress("a.example.com"), "gateway".into()));
        assert_eq!(
            one("put an ingress on a.example.com with class nginx and tls").0,
            Wish::Ingress {
                enabled: true,
                hosts: vec!["a.example.com".into()],
                more: false,
                class: Some("nginx".into()),
                tls: true,
                secret: None
            }
        );
        assert_eq!(one("change the service type to LoadBalancer").0, Wish::ServiceType { kind: "LoadBalancer" });
        assert_eq!(one("expose the gateway through a load balancer").0, Wish::ServiceType { kind: "LoadBalancer" });
        assert!(matches!(one("disable the ingress").0, Wish::Ingress { enabled: false, .. }));
    }

    #[test]
    fn autoscaling_and_probes() {
        let scaling = |min, max, cpu| Wish::Autoscaling { enabled: true, min, max, cpu };
        assert_eq!(one("enable autoscaling between 2 and 10 replicas at 70% cpu").0, scaling(Some(2), Some(10), Some(70)));
        assert_eq!(one("autoscale the gateway from 2 to 6 pods").0, scaling(Some(2), Some(6), None));
        assert_eq!(one("enable autoscaling with min 2 and max 5").0, scaling(Some(2), Some(5), None));
        assert!(matches!(one("turn off autoscaling").0, Wish::Autoscaling { enabled: false, .. }));
        let probe = one("set the liveness probe path to /live and port to 9000").0;
        let expected = Wish::Probe {
            which: vec!["liveness"],
            path: Some("/live".into()),
            port: Some("9000".into()),
            fields: vec![],
            removed: false,
        };
        assert_eq!(probe, expected);
        let probe = one("increase the readiness probe's initial delay to 30 seconds").0;
        let fields = vec![("initialDelaySeconds", 30)];
        assert_eq!(probe, Wish::Probe { which: vec!["readiness"], path: None, port: None, fields, removed: false });
    }

    #[test]
    fn labels_and_annotations() {
        let meta = |annotation, bearer, k: &str, v: &str| Wish::Meta { annotation, bearer, key: k.into(), value: Some(v.into()) };
        assert_eq!(
            one("add label team=platform to the gateway pods"),
            (meta(false, Bearer::Pods, "team", "platform"), "gateway".into())
        );
        assert_eq!(one("annotate the service with a.b/c=d").0, meta(true, Bearer::Service, "a.b/c", "d"));
        assert_eq!(
            one("add the annotation prometheus.io/scrape: \"true\" to the pods").0,
            meta(true, Bearer::Pods, "prometheus.io/scrape", "true")
        );
        assert_eq!(wishes("add labels a=b and c=d")[1].0, meta(false, Bearer::Any, "c", "d"));
    }

    #[test]
    fn keys_by_path_and_in_words() {
        assert_eq!(
            one("set gateway.service.port to 8080").0,
            Wish::Path { path: "gateway.service.port".into(), value: Some(Value::number(8080)) }
        );
        assert_eq!(one("gateway.replicas=5").0, Wish::Path { path: "gateway.replicas".into(), value: Some(Value::number(5)) });
        assert_eq!(one("remove gateway.extra").0, Wish::Path { path: "gateway.extra".into(), value: None });
        let key = Wish::Key { words: vec!["termination".into(), "grace".into(), "period".into()], value: Value::number(60) };
        assert_eq!(one("set the termination grace period to 60").0, key);
        assert_eq!(one("enable metrics").0, Wish::Switch { words: vec!["metrics".into()], on: true });
        assert_eq!(
            read("set logLevel to debug in values-prod.yaml", &Fixed)[0].as_ref().unwrap().file.as_deref(),
            Some("values-prod.yaml")
        );
    }

    #[test]
    fn the_rest_is_not_understood() {
        for text in ["make it faster", "rewrite everything in Go", "what is this?"] {
            assert!(read(text, &Fixed).iter().any(Result::is_err), "{text}");
        }
        assert!(read("thanks!", &Fixed).is_empty());
    }
}
