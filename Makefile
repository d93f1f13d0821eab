# Only relative paths: the folder's own path may hold spaces. Programs of the environment are
# called as modules, since a script's first line cannot name a path with a space.
PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUTF8 := 1
unexport DJANGO_SETTINGS_MODULE

.DEFAULT_GOAL := help
.PHONY: help run test faults check bench console shots matrix

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: $(VENV)/.installed ## from a fresh clone to a seeded server on 127.0.0.1:8000; another port: PORT=
	@sh .ci/bubblewrap
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) -m asgi_project.demo --port '$(PORT)'
	@exec $(PY) -m djsci up --port '$(PORT)'

test: check ## everything that CI runs: the checks, the tests, the browser's tests
	@sh .ci/browser
	@sh .ci/bubblewrap
	@PY='$(PY)' sh .ci/tests

faults: $(VENV)/.tested ## every test, those too that `make test` leaves out for their time
	@sh .ci/browser
	@sh .ci/bubblewrap
	@PY='$(PY)' sh .ci/tests faults

check: $(VENV)/.tested ## lint, formatting, types, import layers
	$(PY) -m ruff check --quiet
	$(PY) -m ruff format --check --quiet
	$(PY) -m mypy --no-error-summary
	$(PY) -c "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

bench: $(VENV)/.tested ## measure djsci beside the alternatives, renew README's table; QUICK=1: two minutes
	$(PY) -m benchmarks.bench $(if $(QUICK),--quick)

console: $(VENV)/.made ## lint, type, test and build the console's script and style (needs no Node of yours)
	@sh .ci/node ci --silent
	@sh .ci/node run check
	@sh .ci/node test
	@sh .ci/node run build

shots: $(VENV)/.tested ## pictures of every page, light, dark and narrow, in build/shots; PICTURES=1: README's too
	@sh .ci/browser
	$(PY) -m tests.e2e.shots build/shots $(if $(PICTURES),--pictures docs/pictures)

matrix: ## the tests on every Python and Django that executes here; says why not where not
	@python=$$(sh .ci/python) && "$$python" tests/matrix.py

$(VENV)/.made:
	@python=$$(sh .ci/python) && echo "making $(VENV) with $$python" && "$$python" -m venv $(VENV)
	@$(PY) -m pip install -qq --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "installing djsci into $(VENV) (a few minutes at the first time)"
	@$(PY) -m pip install -qq --editable '.[standalone]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(PY) -m pip install -qq --group dev
	@$(PY) -m pip install -qq --upgrade --no-deps --target $(VENV)/beside --group beside
	@touch $@
