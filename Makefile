# make demo: reconstruct the sample scan.      make test: all checks, the default tests and a strict build of the site.
# make docs: build the site into build/site, after running the examples of its gallery.
# make docs-check: build it strictly without running them, in a folder that is thrown away.
# Both make the environment .venv first, if it is missing or a pyproject.toml or constraints.txt changed.
# Another Python: make demo PYTHON=/path/to/python3.12
# make test-matrix: other Pythons and dependencies.      make dist, make sbom: the files of a release, in dist/.

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Real Siemens scans lie in the source package of twixtools.
TWIX = (cd .venv && bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-binary twixtools -d . twixtools==0.24 \
    && mkdir -p twixtools && tar -xzf twixtools-0.24.tar.gz -C twixtools --strip-components=1)

.PHONY: demo test docs docs-check test-matrix dist sbom clean constraints

demo: .venv/ready
	@mkdir -p demo
	.venv/bin/firenet recon sample_data/brain_8coil.h5 -o demo/brain.nii.gz \
	    --reference sample_data/brain_8coil_reference.nii.gz --overwrite

# One thread a process: the tests' problems are small, and threads cost them more than they give.
test: .venv/ready-for-tests .venv/ready-for-docs
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto --dist loadfile
	$(CHECK_DOCS)

# All pages, links, anchors and the reference are those of the site; the examples' pictures are not.
CHECK_DOCS = .venv/bin/python -m pytest -q -m slow tests/docs_site/test_site.py -k built_strictly

docs-check: .venv/ready-for-tests .venv/ready-for-docs
	$(CHECK_DOCS)

# Strict: a link or an anchor that leads nowhere fails. EXAMPLES=name runs one example only; the
# others must have been run before.
docs: .venv/ready-for-docs
	.venv/bin/python tools/docs_site/gallery.py $(EXAMPLES)
	.venv/bin/python tools/docs_site/assemble.py
	.venv/bin/zensical build --strict --config-file build/mkdocs.yml
	@echo "The site is in build/site; look at it with: python3 -m http.server -d build/site"

# Other Pythons, each with the lowest and the newest dependencies: hours, and several GB at a time. A part:
# make test-matrix MATRIX="--python 3.10 --set lowest --tests smoke"
test-matrix: .venv-tools/ready
	PATH="$(CURDIR)/.venv-tools/bin:$$PATH" .venv-tools/bin/python tools/test_matrix.py $(MATRIX)

# With the public address of the repository, the README's links work on an index page: make dist URL=https://...
dist: .venv-tools/ready
	.venv-tools/bin/python tools/make_release.py $(if $(URL),--url $(URL))

# What a release brings with all extras, at the pinned versions, as a CycloneDX file.
sbom: .venv-tools/ready
	"$(PYTHON)" -m venv --clear .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[all]"
	.venv-sbom/bin/python -m pip uninstall --quiet --yes pip
	@mkdir -p dist
	.venv-tools/bin/cyclonedx-py environment .venv-sbom/bin/python --pyproject pyproject.toml \
	    --mc-type library --output-reproducible --output-format JSON -o dist/firenet_mri.cdx.json
	rm -rf .venv-sbom build

clean:
	rm -rf .venv .venv-tools .venv-sbom demo dist build/docs build/gallery build/site

# Renew the pins: the newest versions that pyproject.toml allows, but for torch, which stays.
constraints:
	"$(PYTHON)" -m venv --clear .venv-pins
	grep -E '^(#|torch==)' constraints.txt > .venv-pins/constraints.txt
	.venv-pins/bin/python -m pip install --quiet --disable-pip-version-check \
	    -c .venv-pins/constraints.txt -e ".[dev]" -e "./plugins/benchmark[speed]"
	.venv-pins/bin/python -m pip freeze --all --exclude-editable --exclude pip --exclude torch \
	    | grep -vE '^(nvidia-|cuda-|triton)' >> .venv-pins/constraints.txt
	mv .venv-pins/constraints.txt constraints.txt
	rm -rf .venv-pins

# .venv/ready is written last and holds the folder that it is for, so an environment that is half
# made, was moved with its folder, or lost its Python is made anew.
READY_IN := $(shell .venv/bin/python -c "" 2>/dev/null && cat .venv/ready 2>/dev/null)
ifneq "$(READY_IN)" "$(CURDIR)"
.PHONY: .venv/ready
endif

.venv-tools/ready:
	"$(PYTHON)" -m venv --clear .venv-tools
	.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check \
	    "uv>=0.9" "build>=1.2" "cyclonedx-bom>=7"
	@touch $@

.venv/ready: pyproject.toml plugins/benchmark/pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "The pinned packages need Python 3.11 or newer; use make PYTHON=/path/to/python3.11")'
	@echo "Installing pinned packages in .venv; the first time takes minutes."
	@test "$(READY_IN)" = "$(CURDIR)" || "$(PYTHON)" -m venv --clear .venv
	@rm -f $@
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation -e ".[all]" -e ./plugins/benchmark
	@echo "$(CURDIR)" > $@

.venv/ready-for-tests: .venv/ready
	@echo "Installing what the tests need in .venv."
	@$(INSTALL) --no-build-isolation -e ".[dev]" -e "./plugins/benchmark[speed]"
	@$(TWIX) || echo "The twix scans of twixtools' source package are not here; their tests skip."
	@touch $@

.venv/ready-for-docs: .venv/ready constraints-docs.txt
	@echo "Installing what the site needs in .venv."
	@$(INSTALL) -c constraints-docs.txt --no-build-isolation -e ".[docs]"
	@touch $@
