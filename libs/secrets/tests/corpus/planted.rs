//! Secrets of every kind, made from parts, in real contexts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SEEDS: u64 = 4;

/// A text with one secret in it.
pub(crate) struct Plant {
    pub(crate) kind: &'static str,
    pub(crate) secret: String,
    pub(crate) text: String,
}

/// Every kind in every context that it turns up in, with several values each.
pub(crate) fn all() -> Vec<Plant> {
    let mut plants = Vec::new();
    for seed in 0..SEEDS {
        let mut make = Make(StdRng::seed_from_u64(seed));
        for (kind, secret) in make.tokens() {
            plants.extend(in_contexts(kind, &secret));
        }
        for (kind, secret) in make.keys() {
            plants.extend(in_files(kind, &secret));
        }
        for (kind, context) in NAMED {
            let secret = make.named(kind);
            plants.push(Plant { kind, text: context.replace("{}", &secret), secret });
        }
        for password in make.passwords() {
            plants.extend(with_passwords(&password));
        }
        plants.extend(make.encoded());
    }
    plants
}

struct Make(StdRng);

impl Make {
    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..length).map(|_| char::from(alphabet[self.0.random_range(0..alphabet.len())])).collect()
    }

    fn alnum(&mut self, length: usize) -> String {
        self.text(&[UPPER, LOWER, DIGITS].concat(), length)
    }

    fn lower_alnum(&mut self, length: usize) -> String {
        self.text(&[LOWER, DIGITS].concat(), length)
    }

    fn word(&mut self, length: usize) -> String {
        self.text(&[UPPER, LOWER, DIGITS, "_-"].concat(), length)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.random()).collect()
    }

    /// Tokens that tell by themselves what they are.
    fn tokens(&mut self) -> Vec<(&'static str, String)> {
        let jwt = {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
            let claims = format!(r#"{{"sub":"{}","iss":"https://issuer.example.com","exp":1893456000}}"#, self.alnum(12));
            format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(self.bytes(64)))
        };
        vec![
            ("aws key id", format!("{}{}", "AKIA", self.text(BASE32, 16))),
            ("aws temporary key id", format!("{}{}", "ASIA", self.text(BASE32, 16))),
            ("github token", format!("{}_{}", "ghp", self.alnum(36))),
            ("github app token", format!("{}_{}", "ghs", self.alnum(36))),
            ("github fine-grained token", format!("{}_{}", "github_pat", self.alnum(82))),
            ("gitlab token", format!("{}-{}", "glpat", self.alnum(20))),
            ("slack bot token", format!("{}-{}-{}-{}", "xoxb", self.text(DIGITS, 12), self.text(DIGITS, 12), self.alnum(24))),
            ("stripe key", format!("{}_{}", "sk_live", self.alnum(24))),
            ("google key", format!("{}{}", "AIza", self.alnum(35))),
            ("sendgrid key", format!("{}.{}.{}", "SG", self.alnum(22), self.alnum(43))),
            ("npm token", format!("{}_{}", "npm", self.lower_alnum(36))),
            ("pypi token", format!("{}-{}{}", "pypi", "AgEIcHlwaS5vcmc", self.word(70))),
            ("openai key", format!("{}-{}{}{}", "sk", self.alnum(20), "T3BlbkFJ", self.alnum(20))),
            ("anthropic key", format!("{}-{}{}", "sk-ant-api03", self.alnum(93), "AA")),
            ("hugging face token", format!("{}_{}", "hf", self.text(LOWER, 34))),
            ("digitalocean token", format!("{}_{}", "dop_v1", self.text(HEX, 64))),
            ("vault token", format!("{}.{}", "hvs", self.alnum(95))),
            ("databricks token", format!("{}{}", "dapi", self.text(HEX, 32))),
            ("shopify token", format!("{}_{}", "shpat", self.text(HEX, 32))),
            ("doppler token", format!("{}.{}", "dp.pt", self.lower_alnum(43))),
            ("age key", format!("{}-1{}", "AGE-SECRET-KEY", self.text("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58))),
            ("grafana token", format!("{}_{}_{}", "glsa", self.alnum(32), self.text(HEX, 8))),
            ("json web token", jwt),
            ("long key", self.alnum(40)),
            ("longer key", self.alnum(64)),
        ]
    }

    /// Keys of several lines.
    fn keys(&mut self) -> Vec<(&'static str, String)> {
        let mut pem = |name: &str, bytes: usize| {
            let body = STANDARD.encode(self.bytes(bytes));
            let lines: Vec<_> = body.as_bytes().chunks(64).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            format!("-----BEGIN {name}-----\n{}\n-----END {name}-----", lines.join("\n"))
        };
        let private = |kind: &str| format!("{kind}{} KEY", "PRIVATE");
        vec![
            ("rsa key", pem(&private("RSA "), 1190)),
            ("ec key", pem(&private("EC "), 121)),
            ("pkcs8 key", pem(&private(""), 1218)),
            ("openssh key", pem(&private("OPENSSH "), 400)),
            ("encrypted key", pem(&private("ENCRYPTED "), 1330)),
        ]
    }

    fn passwords(&mut self) -> Vec<String> {
        let word = ["hunter", "dragon", "summer", "monkey"][self.0.random_range(0..4)];
        vec![
            format!("{word}{}", self.text(DIGITS, 4)),
            format!("{}!{}", self.alnum(6), self.alnum(5)),
            self.alnum(16),
            format!("{}-{}-{}", self.text(LOWER, 6), self.text(LOWER, 5), self.text(DIGITS, 3)),
        ]
    }

    fn named(&mut self, kind: &str) -> String {
        match kind {
            "aws secret" | "azure storage key" => STANDARD.encode(self.bytes(if kind == "aws secret" { 30 } else { 64 })),
            "hex token" => self.text(HEX, 40),
            "kubeadm token" => format!("{}.{}", self.lower_alnum(6), self.lower_alnum(16)),
            "basic" => STANDARD.encode(format!("admin:{}", self.alnum(12))),
            "crypt" => format!("$6${}${}", self.alnum(8), self.alnum(86)),
            "bcrypt" => format!("$2y$10${}", self.alnum(53)),
            "otp" => self.text(BASE32, 32),
            "webhook" => format!("T{}/B{}/{}", self.text(UPPER, 10), self.text(UPPER, 10), self.alnum(24)),
            _ => self.alnum(32),
        }
    }

    /// What is hidden in base64, once or twice.
    fn encoded(&mut self) -> Vec<Plant> {
        let token = format!("{}_{}", "ghp", self.alnum(36));
        let password = format!("{}!{}", self.alnum(8), self.text(DIGITS, 4));
        let key = self.keys().swap_remove(1).1;
        let inner = [
            ("encoded token", format!("GITHUB_TOKEN={token}\n")),
            ("encoded password", format!("user: admin\npassword: {password}\n")),
            ("encoded url", format!("postgres://app:{password}@db.internal:5432/app")),
            ("encoded key", key),
        ];
        let mut plants = Vec::new();
        for (kind, text) in inner {
            let once = STANDARD.encode(&text);
            let twice = STANDARD.encode(&once);
            for secret in [once, twice] {
                for context in
                    ["  config: {}\n", "blob={}\n", "{\"payload\": \"{}\", \"n\": 1}", "2026-11-25 received {} from peer"]
                {
                    plants.push(Plant { kind, text: context.replace("{}", &secret), secret: secret.clone() });
                }
            }
        }
        plants
    }
}

/// Where a token turns up that tells by itself what it is.
fn in_contexts(kind: &'static str, secret: &str) -> Vec<Plant> {
    const CONTEXTS: [&str; 19] = [
        "{\"path\":\"a.env\",\"old_text\":\"A=1\\n{}\\nB=2\"}",
        "{\"content\":\"# how\\n\\tTOKEN={}\\n\"}",
        "2026-11-25T10:30:00.123Z INFO  worker-3 refreshed credential {} for tenant 42\n",
        "time=2026-11-25 level=warn msg=\"denied\" token={}, attempt=3\n",
        "{\"level\":\"info\",\"msg\":\"request\",\"authorization\":\"Bearer {}\",\"status\":200}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  token: {}\n  mode: fast\n",
        "    env:\n    - name: SERVICE_TOKEN\n      value: \"{}\"\n    - name: MODE\n      value: fast\n",
        "LOG_LEVEL=info\nAPI_TOKEN={}\nPORT=8080\n",
        "export SERVICE_KEY='{}'\n",
        "let client = Client::new(\"https://api.example.com\", \"{}\");\n",
        "const token = `{}`;\nsend(token);\n",
        "curl -s 'https://api.example.com/v1/items?access_token={}&page=2'\n",
        "GET /hook?key={} HTTP/1.1\n",
        "Authorization: Bearer {}\r\nAccept: */*\r\n",
        "use the key ({}) and call me\n",
        "My key is {}.\nWhat is wrong with it?",
        "<add key=\"Token\" value=\"{}\" />\n",
        "[registry]\ntoken = \"{}\"\n",
        "{\"config\": \"{\\\"token\\\": \\\"{}\\\"}\"}",
    ];
    CONTEXTS.iter().map(|c| Plant { kind, secret: secret.to_owned(), text: c.replace("{}", secret) }).collect()
}

/// Where a key of several lines turns up.
fn in_files(kind: &'static str, key: &str) -> Vec<Plant> {
    let indented = key.replace('\n', "\n    ");
    let escaped = key.replace('\n', "\\n");
    let middle = key.lines().nth(1).unwrap_or_default().to_owned();
    let cut = key.rsplit_once("\n-----").map_or(key, |(before, _)| before);
    [
        format!("{key}\n"),
        format!("ssl:\n  key: |\n    {indented}\n  port: 443\n"),
        format!("{{\"private_key\": \"{escaped}\\n\", \"client_email\": \"x@example.com\"}}"),
        format!("2026-11-25 DEBUG loaded key {escaped} from disk\n"),
        format!("TLS_KEY=\"{key}\"\nPORT=1\n"),
        format!("the log was cut here: {cut}\n\nand goes on\n"),
    ]
    .into_iter()
    .map(|text| Plant { kind, secret: middle.clone(), text })
    .collect()
}

/// Values that are secrets because of what they are called.
const NAMED: [(&str, &str); 24] = [
    ("aws secret", "[default]\naws_secret_access_key = {}\nregion = eu-west-1\n"),
    ("aws secret", "{\"SecretAccessKey\": \"{}\", \"Expiration\": \"2026-11-25T11:00:00Z\"}"),
    ("aws secret", "AWS_SECRET_ACCESS_KEY={}\n"),
    ("azure storage key", "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net"),
    ("hex token", "  api_token: {}\n"),
    ("hex token", "auth_token=\"{}\"\n"),
    ("kubeadm token", "kubeadm join 10.0.0.1:6443 --token {} --discovery-token-ca-cert-hash sha256:00\n"),
    ("basic", "Authorization: Basic {}\n"),
    ("basic", "{\"auths\":{\"registry.example.com\":{\"auth\":\"{}\"}}}"),
    ("basic", "-H 'authorization: Basic {}' \\\n"),
    ("crypt", "root:{}:19000:0:99999:7:::\n"),
    ("bcrypt", "admin:{}\n"),
    ("otp", "otpauth://totp/shop:me?secret={}&issuer=shop"),
    ("webhook", "url: https://hooks.slack.com/services/{}\n"),
    ("key", "client_secret: {}\n"),
    ("key", "\"clientSecret\": \"{}\",\n"),
    ("key", "private_key = '{}'\n"),
    ("key", "X-Api-Key: {}\n"),
    ("key", "--api-key {} --verbose\n"),
    ("key", "SESSION_SECRET={}\n"),
    ("key", "secretKey: {}\n"),
    ("key", "https://{}@github.com/acme/shop.git\n"),
    ("key", "encryption_key: \"{}\"\n"),
    ("key", "{\"name\":\"APP_SECRET\",\"value\":\"{}\"}"),
];

/// Where passwords turn up.
fn with_passwords(password: &str) -> Vec<Plant> {
    const CONTEXTS: [(&str, &str); 26] = [
        ("password in yaml", "database:\n  user: app\n  password: {}\n  host: db\n"),
        ("password in yaml", "database:\n  password: \"{}\"\n"),
        ("password in yaml", "database:\n  password: '{}' # rotate\n"),
        ("password in yaml", "mysqlRootPassword: {}\n"),
        ("password in env", "DB_PASSWORD={}\nDB_HOST=db\n"),
        ("password in env", "export PGPASSWORD=\"{}\"\n"),
        ("password in json", "{\"user\":\"app\",\"password\":\"{}\"}"),
        ("password in json", "{\n  \"smtp_password\": \"{}\",\n  \"port\": 25\n}"),
        ("password in code", "db.connect(host=\"db\", password=\"{}\")\n"),
        ("password in code", "var dbPassword = '{}';\n"),
        ("password in code", "    passwd := \"{}\"\n"),
        ("password in log", "10:30 ERROR login failed user=app password={} ip=10.0.0.3\n"),
        ("password in log", "auth: trying with password: {}, attempt 2\n"),
        ("password in dsn", "Server=db;Database=shop;User Id=app;Password={};Encrypt=true\n"),
        ("password in url", "DATABASE_URL=postgres://app:{}@db.internal:5432/shop?sslmode=disable\n"),
        ("password in url", "dial amqp://worker:{}@mq-0.mq:5672/%2f failed\n"),
        ("password in url", "redis://:{}@cache:6379/0"),
        ("password in url", "git clone https://deploy:{}@git.example.com/acme/shop.git\n"),
        ("password in command", "mysqldump -u root --password={} shop\n"),
        ("password in command", "sshpass -p '{}' ssh root@10.0.0.1\n"),
        ("password in netrc", "machine git.example.com login deploy password {}\n"),
        ("secret in manifest", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  key: {}\n"),
        ("secret in manifest", "items:\n- apiVersion: v1\n  kind: Secret\n  stringData:\n    other: \"{}\"\n- kind: Pod\n"),
        (
            "secret in manifest",
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ include \"x.name\" . }}\nstringData:\n  {{- if .Values.on }}\n  key: {}\n  {{- end }}\n",
        ),
        ("secret in json", "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"stringData\":{\"any\":\"{}\"}}"),
        ("password in env list", "- name: POSTGRES_PASSWORD\n  value: {}\n"),
    ];
    let plant = |(kind, context): (&'static str, &str)| {
        let text = context.replace("{}", password);
        Plant { kind, secret: password.to_owned(), text }
    };
    let mut plants: Vec<_> = CONTEXTS.into_iter().map(plant).collect();
    let encoded = STANDARD.encode(password);
    let text = format!("apiVersion: v1\ndata:\n  any-name: {encoded}\nkind: Secret\nmetadata:\n  name: db\ntype: Opaque\n");
    plants.push(Plant { kind: "data of a secret", secret: encoded, text });
    plants
}
