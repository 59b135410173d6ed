# Each target does all of its own set-up, from Python 3.11 or newer and a package index.
PYTHON ?= python3
ENV_MANAGER ?= uv
STEPS := $(patsubst %/MLproject,%,$(wildcard */MLproject))
EXAMPLES := $(patsubst %/MLproject,%,$(wildcard examples/*/*/MLproject))

# make 3.81, which macOS has, looks for a command on the exported PATH only if its shell is not the default one.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE # without byte-code every process compiles its imports again

# Without a network: everything comes out of the archive that `make bundle` made on a machine like this one.
ifdef BUNDLE
BUNDLED := $(shell $(PYTHON) -m scaffold.bundle open "$(BUNDLE)")
$(if $(BUNDLED),,$(error the bundle cannot be used))
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(BUNDLED)/wheels
export UV_OFFLINE := 1
export UV_NO_INDEX := 1
export UV_FIND_LINKS := $(BUNDLED)/wheels
export UV_PYTHON_DOWNLOADS := never
endif

.PHONY: toolchains licences sbom release audit bundle airgap kit dataset step new help run ci-report ci-comment retrain propose pull-request promote deploy image kubeflow kubeflow-local demo status watch test coverage torture lint types dependencies docs screenshots ui lock bench bench-scale fuzz clean
help:
	@echo "make run    the whole pipeline on the sample that ships, every step in its own environment (ARGS=\"training.seed=1\")"
	@echo "make demo   the whole story: broken rows, a champion, drift, a new champion"
	@echo "make watch  run again whenever a file changes that counts (ARGS=\"training.seed=1\")"
	@echo "make dataset CSV=sales.csv TARGET=churned   another table: its declaration, from a look at it"
	@echo "make test   the tests"
	@echo "make status where we stand      make ui   look at what ran, in a browser"
	@echo "make step NAME=feature_selection AFTER=data_cleaning [LANGUAGE=bash]   a step of your own"
	@echo "make new FOLDER=../churn   a repository of your own, without our data and history"
	@echo "make lint   style and layers      make lock   pin every environment anew"
	@echo "make docs   the pages as a site, in build/site"
	@echo "make types  static types          make dependencies   what is imported is declared"
	@echo "make bench  how fast it is        make bench-scale   on large data and long histories"
	@echo "make retrain   train, without promoting      make propose   what passed, for a person to approve"
	@echo "make promote   what was approved is champion      make deploy URL=http://…   see it live, or go back"
	@echo "make kubeflow TRACKING_URI=http://…   config.yaml as a pipeline of Kubeflow (docs/clusters.md)      make kubeflow-local   run it here"
	@echo "make ci-report BASE=origin/main   what this commit changes of the pipeline's results, as Markdown"
	@echo "make image IMAGE=pipeline:1   what pods run, built by buildah, podman or docker"
	@echo "make bundle all that make run needs in one archive; without a network: make run BUNDLE=FILE"
	@echo "make licences   of all packages      make sbom   bill of materials      make audit   known vulnerabilities"
	@echo "make clean  take away .venv/, outputs/ and build/; what was recorded (mlflow.db, mlruns/) stays"

# The locks have the hash of every file, which pip and uv insist on (a package's entry ends with a line that is not continued).
# plotly holds half of all files there are, of which Evidently imports one in forty: it is not compiled in advance.
INSTALL := .venv/bin/uv pip install --quiet --python .venv/bin/python
.venv/ready: requirements.lock requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@[ ! -L .venv ] || { echo "error: .venv is a link to $$(readlink .venv), which is older than the locks: remove the link, or bring that environment up to date and touch .venv/ready" >&2; exit 1; }
	@echo "setting up, 1 of 2: .venv, with the pipeline's packages and those of its tests"
	@$(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\]$$/p' requirements-dev.lock | .venv/bin/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@sed '/^plotly==/,/[^\]$$/d' requirements.lock requirements-dev.lock | $(INSTALL) --no-deps --compile-bytecode -r -
	@$(INSTALL) -r requirements.lock -r requirements-dev.lock
	@touch $@

# What make run needs not.
.venv/pages: requirements-pages.lock | .venv/ready
	$(INSTALL) -r requirements-pages.lock
	touch $@

.venv/spark: requirements-spark.lock | .venv/ready
	$(INSTALL) -r requirements-spark.lock
	touch $@

.venv/kubeflow/ready: requirements-kubeflow.lock | .venv/ready
	.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv/kubeflow
	.venv/bin/uv pip install --quiet --python .venv/kubeflow/bin/python -r requirements-kubeflow.lock
	touch $@

# At the same time, the root's own environment: MLflow would build it more slowly, and without byte-code.
mlflow.db: | .venv/ready
	@echo "setting up, 2 of 2: the environment of main.py, and a store (mlflow.db)"
	@python -m pipeline.execution.mlflow_internals $(CURDIR) $(ENV_MANAGER) & environment=$$!; \
	  python -m pipeline.tracking.store && wait $$environment

run: .venv/ready | mlflow.db
	mlflow run . --env-manager $(ENV_MANAGER) $(if $(ARGS),-P overrides='$(ARGS)')

demo: .venv/ready
	@python data/demo.py $(ARGS)

# A declaration for a table of one's own, and the two lines of config.yaml that name it.
dataset: .venv/ready
	@.venv/bin/python -m scaffold.new_dataset "$(CSV)" "$(TARGET)"

watch: .venv/ready | mlflow.db
	python main.py --watch $(ARGS)

# The quick tests with the branches they reach; then those with real processes, most of whose code is not in pytest's own.
test: coverage
	python -m pytest --numprocesses auto --dist worksteal -m integration

coverage: .venv/ready
	python -m pytest --numprocesses auto --dist worksteal -m "not integration" --cov --cov-report=
	coverage report --format=total

# Long: the histories, kills, requests and tables of the suite, many times over, and six pipelines at once.
torture: .venv/ready
	PIPELINE_TORTURE=10000 PIPELINE_KILLS=50 python -m pytest -s tests/pipeline/execution/test_torture.py tests/pipeline/execution/test_kills.py
	PIPELINE_REQUESTS=10000 python -m pytest -s tests/inference/test_serving_contract.py tests/inference/test_fleet.py
	PIPELINE_EXAMPLES=20000 python -m pytest -s tests/data_cleaning/test_any_csv.py
	PIPELINE_AT_ONCE=6 python -m pytest -s tests/pipeline/tracking/test_remote_store.py

lint: .venv/ready types dependencies docs
	ruff check .
	ruff format --check .
	lint-imports --no-logo
	actionlint .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# Each step by itself: it is a project of its own, and every step has a module named run.
types: .venv/ready
	MYPYPATH=kit:data_cleaning mypy main.py pipeline $(wildcard docs/*.py) $(wildcard scaffold/*.py)
	MYPYPATH=. mypy --explicit-package-bases --cache-dir .mypy_cache/kubeflow deploy/kubeflow
	for step in $(STEPS) $(EXAMPLES); do MYPYPATH=$$step mypy --cache-dir .mypy_cache/$$step $$step || exit 1; done

# What is imported must be declared in the conda.yml beside it, and what is declared be imported; the root's is the union.
DECLARED = sed -n 's/^ *- \([A-Za-z].*==.*\)/\1/p' conda.yml
dependencies: .venv/ready
	$(DECLARED) > .declared && deptry pipeline --no-ansi --requirements-files .declared --ignore DEP002
	for step in $(STEPS); do \
	  (cd $$step && $(DECLARED) > ../.declared && deptry . --no-ansi --config ../pyproject.toml --requirements-files ../.declared) || exit 1; \
	done

# The pages as a site in build/site; a link that leads nowhere ends it, which --quiet would not. In their own folders,
# and the README with them: so their links hold here as they do in the repository.
docs: .venv/pages
	rm -rf build/pages && mkdir -p build/pages
	git ls-files -z --cached --others --exclude-standard '*.md' '*.png' '*.cff' docs LICENSE ':!scaffold' ':!tests' ':!.github' \
	  | tar --null -T - -cf - | tar -xf - -C build/pages
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# The pictures of pages in docs/screenshots, by the test that looks at these pages.
screenshots: .venv/pages
	PIPELINE_SCREENSHOTS=docs/screenshots python -m pytest tests/data/test_demo.py

# A step that runs at once: its folder, its block in config.yaml, its test (docs/your-step.md).
step: .venv/ready
	@python -m scaffold.new_step "$(NAME)" "$(AFTER)" "$(LANGUAGE)" "$(OUTPUT)"

# Needs nothing but Git and a Python.
new:
	@$(PYTHON) -m scaffold.new_project "$(FOLDER)" "$(NAME)"

ui: .venv/ready
	mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1

status: .venv/ready
	@python main.py status

bench: .venv/ready
	python benchmarks/orchestration.py $(ARGUMENTS)

bench-scale: .venv/ready
	python benchmarks/scale.py $(ARGUMENTS)

fuzz: .venv/ready
	$(INSTALL) --target build/atheris atheris==3.0.0
	PYTHONPATH=build/atheris python tests/data_cleaning/fuzz_csv.py -max_total_time=600 -max_len=300

# What steps share is edited in kit/, and copied to those that use it.
kit: .venv/ready
	python kit/vendor.py

lock: .venv/ready
	.venv/bin/python -m scaffold.locks

toolchains:
	examples/languages/install.sh

# On a pull request: the pipeline of the commit that it would go into (BASE), then this one's, in one store of their own;
# what differs, as Markdown. It fails where this one does.
ci-report: .venv/ready
	rm -rf build/ci && git worktree prune && mkdir -p build/ci
	git worktree add --quiet --detach build/ci/base "$(BASE)"
	export MLFLOW_TRACKING_URI=sqlite:///$(CURDIR)/build/ci/mlflow.db; \
	  (cd build/ci/base && python main.py $(ARGS)) || echo "the pipeline of $(BASE) failed"; \
	  python main.py $(ARGS); code=$$?; python main.py ci-report > build/ci/report.md; exit $$code

# The one comment of a pull request (NUMBER), kept up to date.
ci-comment:
	gh pr comment "$(NUMBER)" --edit-last --create-if-none --body-file build/ci/report.md

# Train on today's data, in the store that MLFLOW_TRACKING_URI names; what passes the gate waits for a person.
retrain: .venv/ready
	python main.py evaluation.promote=false $(ARGS)

propose: .venv/ready
	python deploy/release.py propose

# In CI: a pull request whose merging is the approval, if there is anything to approve.
pull-request:
	git switch --create "release-$$GITHUB_RUN_ID"
	git add deploy/release.yaml
	git diff --cached --quiet || { git -c user.name=retrain -c user.email=retrain@users.noreply.github.com commit --message "Release what passed" \
	  && gh auth setup-git && git push origin HEAD && gh pr create --fill --body-file build/release.md; }

promote: .venv/ready
	python deploy/release.py promote

deploy: .venv/ready
	python deploy/release.py deploy "$(URL)"

# What pods and servers run, by whichever of the three is here.
IMAGE ?= pipeline
BUILDER := buildah podman docker
image:
	@builder=$$(for one in $(BUILDER); do command -v $$one && break; done); \
	  [ -n "$$builder" ] || { echo "error: an image is built by one of $(BUILDER), and none is here: install one (apt-get install buildah)" >&2; exit 1; }; \
	  set -x; $$builder build --file deploy/Containerfile --tag "$(IMAGE)" $(ARGS) .

# For Kubeflow Pipelines, which runs it in IMAGE on the store at TRACKING_URI; kubeflow-local runs the file here.
TRACKING_URI ?= http://tracking:5000
kubeflow: .venv/kubeflow/ready
	@mkdir -p build; set -o pipefail; python -m deploy.kubeflow.composed $(ARGS) | .venv/kubeflow/bin/python -m deploy.kubeflow.compile \
	  build/kubeflow.yaml --image "$(IMAGE)" --tracking-uri "$(TRACKING_URI)"

kubeflow-local: .venv/kubeflow/ready
	@.venv/kubeflow/bin/python -m deploy.kubeflow.local build/kubeflow.yaml $(ARGS)

# What we depend on, looked at from an environment of its own. The steps' packages are among the root's.
build/audit/ready: requirements-audit.lock | .venv/ready
	.venv/bin/uv venv --quiet --clear --python .venv/bin/python build/audit
	.venv/bin/uv pip install --quiet --python build/audit/bin/python -r requirements-audit.lock
	touch $@

licences: build/audit/ready
	@build/audit/bin/pip-licenses --python .venv/bin/python --order license

# CycloneDX; the same bytes from the same lock.
sbom: build/audit/ready
	build/audit/bin/cyclonedx-py requirements --output-reproducible --output-file build/sbom.cdx.json requirements.lock

# In CI, for the tag that was pushed.
release: sbom
	gh release create "$$GITHUB_REF_NAME" --verify-tag --generate-notes build/sbom.cdx.json

# Asks the network for what is known of these versions; a package that nothing can be said of is a failure, too.
audit: build/audit/ready
	for lock in requirements*.lock; do \
	  build/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement $$lock || exit 1; \
	done

bundle: .venv/ready
	@.venv/bin/python -m scaffold.bundle make

# As on a machine without a network, with an empty home: the sources of the bundle, in a network namespace of their own.
airgap: bundle
	rm -rf build/airgap && mkdir -p build/airgap/home build/airgap/sources
	tar -xf build/mlflow-pipeline-*.tar -C build/airgap ./sources.tar && tar -xf build/airgap/sources.tar -C build/airgap/sources
	unshare --map-root-user --net env -i HOME=$(CURDIR)/build/airgap/home PATH="$(dir $(shell command -v $(PYTHON))):/usr/local/bin:/usr/bin:/bin" \
	  $(MAKE) -C build/airgap/sources run PYTHON=$(PYTHON) BUNDLE=$$(ls $(CURDIR)/build/mlflow-pipeline-*.tar)

clean:
	rm -rf .venv outputs build
