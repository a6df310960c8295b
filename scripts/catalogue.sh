#!/usr/bin/env bash
# Makes the catalogue of models again: windows, capabilities and prices from the table that LiteLLM publishes with its
# Python package (MIT), trimmed to the providers that Slipway speaks and to what it uses.
#
#   scripts/catalogue.sh [VERSION]       the package's version; default: the newest
#
# A price that has changed since the last time is added beside the old one, with the day from which it holds, so that
# calls of earlier days keep theirs. What is no longer listed stays as it is when `KEEP=1`, and goes otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

DATA=services/inference/data
DATE="${DATE:-$(date -u +%F)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest "$work" "litellm${1:+==$1}"
python3 - "$work" "$DATA" "$DATE" "${KEEP:-}" <<'PYTHON'
import glob, json, re, sys, zipfile
from decimal import Decimal

work, data, date, keep = sys.argv[1:]
wheel = glob.glob(f"{work}/litellm-*.whl")[0]
version = "litellm-" + re.search(r"litellm-([^-]+)-", wheel).group(1)
with zipfile.ZipFile(wheel) as package:
    table = json.loads(package.read("litellm/model_prices_and_context_window_backup.json"), parse_float=Decimal)
    licence = next(n for n in package.namelist() if n.endswith(".dist-info/licenses/LICENSE"))
    open(f"{data}/catalogue.LICENSE", "wb").write(package.read(licence))

FAMILIES = ("anthropic azure cerebras deepseek gemini groq mistral ollama openai openrouter perplexity together_ai xai").split()
ABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_reasoning": "reasoning",
    "supports_response_schema": "json",
    "supports_prompt_caching": "cache",
}
RATES = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_image_token": "image",
}


def micros(per_token):
    """Dollars for a token as micro-dollars for a million of them."""
    return int((Decimal(per_token) * 10**12).to_integral_value())


def rates(model, suffix=""):
    found = {ours: micros(model[theirs + suffix]) for theirs, ours in RATES.items() if model.get(theirs + suffix) is not None}
    for same, other in (("reasoning", "output"), ("image", "input")):
        if found.get(same) == found.get(other):
            found.pop(same, None)
    return found


def price(model):
    found = rates(model)
    if "input" not in found or "output" not in found:
        return None
    above = sorted({int(k) for key in model for k in re.findall(r"^input_cost_per_token_above_(\d+)k_tokens$", key)})
    if above:
        higher = rates(model, f"_above_{above[0]}k_tokens")
        found["above"] = {"tokens": above[0] * 1000, **higher}
    return found


def entry(model):
    made = {}
    if model.get("max_input_tokens"):
        made["window"] = int(model["max_input_tokens"])
    if model.get("max_output_tokens"):
        made["max_output"] = int(model["max_output_tokens"])
    can = [ours for theirs, ours in ABILITIES.items() if model.get(theirs)]
    if can:
        made["can"] = can
    if re.fullmatch(r"\d{4}-\d\d-\d\d", str(model.get("deprecation_date", ""))):
        made["deprecated"] = model["deprecation_date"]
    if model.get("successor_model"):
        made["successor"] = model["successor_model"]
    found = price(model)
    if found:
        made["prices"] = [{"from": date, **found}]
    return made


try:
    before = json.load(open(f"{data}/catalogue.json"))
except FileNotFoundError:
    before = {"models": {}, "version": ""}

models = dict(before["models"]) if keep else {}
for name, model in sorted(table.items()):
    family = model.get("litellm_provider")
    if family not in FAMILIES or model.get("mode") not in ("chat", "responses"):
        continue
    key = name if name.startswith(family + "/") else f"{family}/{name}"
    made = entry(model)
    if not made.get("window") and not made.get("prices"):
        continue
    old = before["models"].get(key, {}).get("prices", [])
    if old and made.get("prices"):
        bare = lambda p: {k: v for k, v in p.items() if k not in ("from", "version")}
        if bare(old[-1]) == bare(made["prices"][0]):
            made["prices"] = old
        else:
            for price_before in old:
                price_before.setdefault("version", before["version"])
            made["prices"] = old + made["prices"]
    models[key] = made

head = {
    "version": version,
    "date": date,
    "source": "model_prices_and_context_window.json of the PyPI package litellm, trimmed by scripts/catalogue.sh",
    "licence": "MIT, in catalogue.LICENSE",
}
line = lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
with open(f"{data}/catalogue.json", "w") as out:
    out.write("{\n")
    for key, value in head.items():
        out.write(f"{line(key)}:{line(value)},\n")
    out.write('"models":{\n')
    out.write(",\n".join(f"{line(key)}:{line(value)}" for key, value in sorted(models.items())))
    out.write("\n}}\n")
print(f"{data}/catalogue.json: {len(models)} models of {version}")
PYTHON
