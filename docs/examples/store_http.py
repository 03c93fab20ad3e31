"""Prices over HTTP: store_http.py API_URL STORE BINDINGS.csv PRICES.csv    (columns label,sku; sku,name,price,currency)

Exit code 0 if every label shows its price. With tokens configured, ESL_TOKEN is one. Interrupted or not, it may be run
again: the same prices are the same request.
"""
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request

api, store, bindings, prices = sys.argv[1:]


def ask(method, path, body=None, headers=None):
    """Asks until there is an answer: 503 says after how many seconds to ask again."""
    headers = dict(headers or {})
    if "ESL_TOKEN" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['ESL_TOKEN']}"
    while True:
        request = urllib.request.Request(api + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                sys.exit(f"{method} {path}: {error.read().decode()}")  # says what is wrong, and what to do
            time.sleep(int(error.headers.get("Retry-After", 1)))
        except OSError as error:
            print(f"again in a second: {error}", file=sys.stderr)
            time.sleep(1)


def read(path):
    with open(path, "rb") as file:
        return file.read()


bound = ask("PUT", f"/v1/stores/{store}/bindings", read(bindings), {"Content-Type": "text/csv"})
print(f"{bound['new']} labels bound, {bound['changed']} changed")

# The key makes a repeated request harmless: nothing is enqueued twice.
body = read(prices)
key = hashlib.sha256(store.encode() + b"/" + body).hexdigest()
headers = {"Content-Type": "text/csv", "Idempotency-Key": key}
accepted = ask("POST", f"/v1/stores/{store}/tasks?batch={key[:16]}", body, headers)
print(f"{len(accepted['task_ids'])} tasks for {accepted['labels']} labels are enqueued")

batch = {"complete": False}
while not batch["complete"]:
    batch = ask("GET", f"/v1/batches/{accepted['batch']}")
    print(batch["outcomes"], batch["waiting"], "to go", flush=True)
    time.sleep(0.5)

for label in ask("GET", f"/v1/stores/{store}/out-of-date")["labels"]:
    print("out of date:", json.dumps(label))
sys.exit(batch["outcomes"].get("shown", 0) < batch["labels"])
