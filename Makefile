# `make demo` and `make test` are all a fresh machine needs: Debian or Ubuntu, Python 3.11+, a C++ compiler.
PYTHON ?= python3
VENV ?= .venv
# Any torch >= 2.5 works, the CPU build too; to choose another: make demo TORCH="torch==2.9.0"
TORCH ?= torch==2.13.0
RUN := runs/sample
bin := $(VENV)/bin
sources := $(shell find cuda -type f) CMakeLists.txt pyproject.toml

# Where no GPU could load it, the CUDA module is not built here (make cuda-check compiles it all the same).
export RECON_CUDA ?= $(if $(shell command -v nvidia-smi),AUTO,OFF)

.PHONY: demo test test-gpu lint dev cuda-check executor-asan arm64-check typing clean

demo: $(VENV)/installed
	@test ! -e $(RUN) || { echo "$(RUN) is there already; showing where it is. Remove it to fit again."; }
	@test -e $(RUN) || $(bin)/recon fit data/sample --preset fast --out $(RUN)
	@test -e $(RUN)/orbit.mp4 || $(bin)/recon render $(RUN) --path orbit --out $(RUN)/orbit.mp4
	@echo
	@echo "The scene:      $(RUN)/scene.ply  (drop it on any splat viewer)"
	@echo "A flight:       $(RUN)/orbit.mp4"
	@echo "Photo | render: $(RUN)/compare/"
	@echo "Your photos:    $(bin)/recon fit ~/photos"

test: $(VENV)/installed-test
	$(bin)/python -P -m pytest

lint: $(VENV)/installed-lint typing
	$(bin)/ruff check .
	$(bin)/clang-format --dry-run --Werror $$(git ls-files 'cuda/*.h' 'cuda/*.cpp' 'cuda/*.cu')
	$(bin)/mypy

# Every CUDA source compiles for two architectures with the registers and spills of cuda/check/registers.txt, and the
# module links and loads; skipped where there is no nvcc.
cuda-check: $(VENV)/python
	@$(bin)/python cuda/check/compile.py

# The CUDA drivers on a GPU against the CPU kernels and double precision; says so where there is none.
test-gpu: $(VENV)/installed-test
	@if $(bin)/python -c "from recon.ops import cuda; p = cuda.problem(); print('test-gpu: ' + (p or 'on the GPU')); exit(p is not None)"; \
	then RECON_TEST_DEVICE=cuda $(bin)/python -P -m pytest tests/gpu tests/ops/gsplat_backend_test.py tests/ops/volume_kernels_test.py; else echo "test-gpu skipped: no GPU to run on"; fi

# The CUDA drivers run on the processor under the address sanitizer; plain `make test` runs the same without it.
executor-asan: $(VENV)/installed-test
	@LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 RECON_EXECUTOR_ASAN=1 $(bin)/python -P -m pytest tests/gpu

# The kernels compile for arm64 without a warning, and their picture and gradients there are right (run in an emulator);
# skipped where there is no cross compiler (Debian, Ubuntu: apt install g++-aarch64-linux-gnu qemu-user-static).
ARM64 := aarch64-linux-gnu-g++ -std=c++17 -O2 -ffp-contract=off -fopenmp -Icuda -Wall -Werror
arm64-check:
	@if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null; then \
	  for f in $$(ls cuda/*/*.cpp | grep -v /bind.cpp); do echo "arm64 $$f" && $(ARM64) -fsyntax-only $$f || exit 1; done; \
	  mkdir -p build && $(ARM64) -static tests/native/lanes_check.cpp cuda/splat/splat.cpp -o build/lanes_check_arm64 \
	  && qemu-aarch64-static build/lanes_check_arm64; \
	else echo "arm64-check skipped: no aarch64-linux-gnu-g++ or no qemu-aarch64-static on PATH"; fi

# Links that let type checkers and editors see the top-level folders as parts of the package.
typing:
	@mkdir -p build/typing/recon
	@for f in recon/*; do ln -sfn "$(CURDIR)/$$f" build/typing/recon/$$(basename $$f); done
	@for d in app data viewer configs; do ln -sfn "$(CURDIR)/$$d" build/typing/recon/$$d; done

dev: $(VENV)/installed-test typing

$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	$(bin)/pip install --quiet --upgrade pip
	$(bin)/pip install --quiet $(TORCH)
	$(bin)/pip install --quiet "scikit-build-core>=1.1" "nanobind>=3.1" "cmake>=3.24" ninja
	@touch $@

$(VENV)/installed: $(VENV)/python $(sources)
	$(bin)/pip install --quiet --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(bin)/pip install --quiet --no-build-isolation --editable ".[test]"
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed
	$(bin)/pip install --quiet --no-build-isolation --editable ".[test,lint]"
	@touch $@

clean:
	rm -rf $(VENV) build
