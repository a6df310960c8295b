//! Files without secrets: this repository's own, and generated ones full of what only looks like secrets.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Names and texts.
pub(crate) fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in
        ["infra", "proto", "docs", "libs/storage/src", "services/conversation/src", "Cargo.lock", "Makefile", "README.md"]
    {
        read(&root.join(folder), &mut files);
    }
    for seed in 0..4 {
        let mut make = Make(StdRng::seed_from_u64(seed));
        files.push((format!("generated log {seed}"), make.log()));
        files.push((format!("generated manifest {seed}"), make.manifest()));
        files.push((format!("generated certificate {seed}"), make.certificates()));
        files.push((format!("generated locks {seed}"), make.locks()));
        files.push((format!("generated code {seed}"), make.code()));
        files.push((format!("generated status {seed}"), make.status()));
    }
    files
}

fn read(path: &Path, files: &mut Vec<(String, String)>) {
    if path.is_dir() {
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path).expect("a directory").flatten().map(|e| e.path()).collect();
        inside.sort();
        inside.iter().for_each(|p| read(p, files));
    } else if path.ends_with("compose/compose.yaml") {
        // It holds the passwords of a development's database.
    } else if let Ok(text) = std::fs::read_to_string(path) {
        files.push((path.display().to_string(), text));
    }
}

struct Make(StdRng);

impl Make {
    fn hex(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b"0123456789abcdef"[self.0.random_range(0..16)])).collect()
    }

    fn uuid(&mut self) -> String {
        format!("{}-{}-4{}-a{}-{}", self.hex(8), self.hex(4), self.hex(3), self.hex(3), self.hex(12))
    }

    fn base64(&mut self, bytes: usize) -> String {
        let bytes: Vec<u8> = (0..bytes).map(|_| self.0.random()).collect();
        STANDARD.encode(bytes)
    }

    fn log(&mut self) -> String {
        let mut out = String::new();
        for n in 0..200 {
            let (id, sha, commit) = (self.uuid(), self.hex(64), self.hex(40));
            out += &match n % 10 {
                0 => format!("2026-11-25T10:30:00Z INFO request_id={id} path=/api/v1/users/{n} status=200\n"),
                1 => format!("10:30 user@host.example.com accepted publickey for deploy from 10.0.0.{n} port 51234 ssh2: RSA SHA256:{}\n", &self.base64(32)[..43]),
                2 => format!("pulled registry.example.com/team/app@sha256:{sha}\n"),
                3 => format!("level=debug msg=\"token bucket refilled\" key={id} tokens=42\n"),
                4 => format!("checked out {commit} (HEAD -> main), author: deploy, key: {commit}\n"),
                5 => format!("trace {} span {} parent {}\n", self.hex(32), self.hex(16), self.hex(16)),
                6 => "I1125 10:30:00.000001       1 reflector.go:351] Caches populated for *v1.PersistentVolumeClaim from k8s.io/client-go/informers/factory.go:150\n".into(),
                7 => format!("etag: \"{}\" content-md5: {}\n", self.hex(32), self.base64(16)),
                8 => "WARN password must have at least 12 characters; password reset requested; api key is missing; token expired\n".into(),
                _ => format!("com.example.shop.authentication.TokenAuthenticationProviderFactory: session {id} ended\n"),
            };
        }
        out
    }

    fn manifest(&mut self) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\n  uid: {}\n  annotations:\n    checksum/config: {}\n    checksum/secret: {}\nspec:\n  template:\n    spec:\n      automountServiceAccountToken: false\n      imagePullSecrets:\n      - name: registry-credentials\n      containers:\n      - name: shop\n        image: registry.example.com/shop@sha256:{}\n        env:\n        - name: DB_PASSWORD\n          valueFrom:\n            secretKeyRef:\n              name: shop-db-credentials\n              key: password\n        - name: TOKEN_FILE\n          value: /var/run/secrets/tokens/vault-token\n        - name: API_KEY\n          value: $(SHARED_API_KEY)\n        - name: JWT_SECRET\n          value: {{{{ .Values.jwtSecret | quote }}}}\n        envFrom:\n        - secretRef:\n            name: shop-env-7f9c4d\n      volumes:\n      - name: tls\n        secret:\n          secretName: shop-tls-2026\n      - name: token\n        projected:\n          sources:\n          - serviceAccountToken:\n              path: vault-token\n              expirationSeconds: 7200\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\ntype: Opaque\nstringData:\n  password: {{{{ .Values.password | quote }}}}\n  token: ${{TOKEN}}\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nspec:\n  secretStoreRef:\n    kind: SecretStore\n    name: vault-backend\n  data:\n  - secretKey: password\n    remoteRef:\n      key: shop/production/database\n      property: password\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nwebhooks:\n- clientConfig:\n    caBundle: {}\n",
            self.uuid(),
            self.hex(64),
            self.hex(64),
            self.hex(64),
            STANDARD.encode(self.pem("CERTIFICATE", 700)),
        )
    }

    fn pem(&mut self, name: &str, bytes: usize) -> String {
        let body = self.base64(bytes);
        let lines: Vec<_> = body.as_bytes().chunks(64).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
    }

    fn certificates(&mut self) -> String {
        let (leaf, chain, public) = (self.pem("CERTIFICATE", 1200), self.pem("CERTIFICATE", 900), self.pem("PUBLIC KEY", 294));
        let authority = STANDARD.encode(&chain);
        format!(
            "{leaf}{chain}{public}tls:\n  crt: |\n    {}\nclusters:\n- cluster:\n    certificate-authority-data: {authority}\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} deploy@host\nfingerprint: {}\n",
            leaf.trim_end().replace('\n', "\n    "),
            &self.base64(32)[..43],
            (0..20).map(|_| self.hex(2)).collect::<Vec<_>>().join(":"),
        )
    }

    fn locks(&mut self) -> String {
        let mut out = String::new();
        for n in 0..40 {
            out += &format!(
                "\"node_modules/pkg-{n}\": {{\n  \"resolved\": \"https://registry.npmjs.org/pkg/-/pkg-{n}.0.1.tgz\",\n  \"integrity\": \"sha512-{}\"\n}},\n",
                self.base64(64)
            );
            out += &format!(
                "github.com/acme/lib{n} v1.2.{n} h1:{}\ngithub.com/acme/lib{n} v1.2.{n}/go.mod h1:{}\n",
                self.base64(32),
                self.base64(32)
            );
            out += &format!("[[package]]\nname = \"token-{n}\"\nchecksum = \"{}\"\n", self.hex(64));
            out += &format!(
                "lodash@^4.{n}:\n  resolved \"https://registry.yarnpkg.com/lodash/-/lodash-4.{n}.tgz#{}\"\n",
                self.hex(40)
            );
            out += &format!("    {{file = \"key_lib-{n}-py3-none-any.whl\", hash = \"sha256:{}\"}},\n", self.hex(64));
        }
        out
    }

    fn code(&mut self) -> String {
        format!(
            "pub struct Login {{\n    pub password: String,\n    pub token: Option<SecretString>,\n}}\nlet password = std::env::var(\"DB_PASSWORD\")?;\nlet token = self.tokens.get(&user_id).cloned();\nconst PASSWORD_MIN_LENGTH: usize = 12;\npassword = request.form[\"password\"]\nself.api_key = config.get(\"api_key\", None)\nfinal String accessToken = authenticationService.createAccessTokenForUser(user);\ndef reset(password: str, new_password: str = None): ...\n<input type=\"password\" name=\"password\" autocomplete=\"current-password\">\n\"password\": \"Password\", \"passwordHint\": \"At least 8 characters\", \"wrongPassword\": \"Wrong password\"\nGIT_COMMIT = \"{}\"\nDIGEST = \"sha256:{}\"\nnamespace = uuid.UUID(\"{}\")\nkeyboardLayout = \"qwerty\"; monkeyPatch(tokenizer, encodeURIComponentWithFallback);\npassword_hash = hash_password(password)\nif token != expected_token {{ return Err(Error::InvalidToken) }}\nexport DB_URL=postgres://$USER:$PASSWORD@localhost/db\nurl = \"postgres://user:password@localhost:5432/db\"\nAPI_KEY=<your-api-key>\nSECRET_KEY=changeme\nTOKEN=${{GITHUB_TOKEN}}\n--token <token>   the token\n--password string   the password of the user\n",
            self.hex(40),
            self.hex(64),
            self.uuid(),
        )
    }

    fn status(&mut self) -> String {
        let mut out = String::from("NAME                      READY   STATUS             RESTARTS   AGE\n");
        for n in 0..30 {
            out += &format!("shop-api-{}-{}   1/1     Running            {n}          4d\n", self.hex(10), self.hex(5));
            out += &format!(
                "Successfully pulled image \"registry/shop:{}\" in 1.2s, container id containerd://{}\n",
                self.hex(40),
                self.hex(64)
            );
            out += &format!(
                "MountVolume.SetUp failed for volume \"kube-api-access-{}\" : secret \"shop-tls\" not found\n",
                self.hex(5)
            );
        }
        out
    }
}
