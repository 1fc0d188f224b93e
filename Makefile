# SPDX-License-Identifier: Apache-2.0
# Sahara: `make`, `make test`, `make install`; `make help` lists the rest.
#
#   CC=clang          another compiler            WERROR=1     warnings are errors
#   BUILD=folder      another build folder        SANITIZE=1   address and undefined-behaviour sanitizers
#                                                 THREADS=1    the thread sanitizer (clang)
#   PREFIX, DESTDIR   where `make install` puts things
#   NVCC, CUBLAS      CUDA's compiler, and the folder of cuBLAS's include/ and lib/, for the plugin that computes on a
#                     graphics card (docs/devices.md); it is built where both are found

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(patsubst %-gcc,%-g++,$(patsubst gcc%,g++%,$(patsubst clang%,clang++%,$(CC))))
endif
BUILD    ?= build
OBJCOPY  ?= objcopy
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
MANDIR   ?= $(PREFIX)/share/man
FUZZTIME ?= 60
FUZZ_CC  ?= clang

VERSION := $(shell sed -n 's/^\#define SAH_VERSION  *"\(.*\)"/\1/p' include/sahara.h)
SONAME  := libsahara.so.$(firstword $(subst ., ,$(VERSION)))

# ---- Flags ----------------------------------------------------------------------------------------------------

PACKAGES := jansson libpcre2-8 libutf8proc libxxhash cairo
# Debian's oneDNN has no pkg-config file.
LINKED   := -ldnnl -lm

WARNINGS := -Wall -Wextra -Wshadow -Wconversion $(if $(WERROR),-Werror)
OPTIMISE := -O3
ifdef SANITIZE
OPTIMISE := -O1 -DSAH_NO_CLONES -fno-omit-frame-pointer -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
endif
ifdef THREADS
OPTIMISE := -O1 -DSAH_NO_CLONES -fno-omit-frame-pointer -fsanitize=thread -Wno-pass-failed
endif

# Model files come from strangers: what a fault could do is bounded by the compiler, too (docs/security.md).
HARDEN      := -fstack-protector-strong -fstack-clash-protection
HARDEN_LINK := -Wl,-z,relro,-z,now
ifndef SANITIZE
HARDEN += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
ifneq ($(filter x86_64-% i%86-%,$(shell $(CC) -dumpmachine)),)
HARDEN += -fcf-protection
else ifneq ($(filter aarch64-%,$(shell $(CC) -dumpmachine)),)
HARDEN += -mbranch-protection=standard
# gcc 12 dies of these two where a loop widens floats for them (docs/architecture.md).
QUIRKS := $(if $(filter 12 12.%,$(shell $(CC) -dumpversion)),-fno-builtin-fmax -fno-builtin-fmin)
endif

# FLAGS go to the compiler and the linker alike. CFLAGS and LDFLAGS are the caller's.
# Multiply and add may fuse where the processor can (ISO mode would forbid it).
FLAGS     = -std=c17 $(OPTIMISE) -g -ffp-contract=fast -fopenmp $(QUIRKS) $(EXTRA_FLAGS)
CPPFLAGS_ = -D_GNU_SOURCE -Iinclude $(PACKAGE_CFLAGS) $(CPPFLAGS)
# The program and the examples see the public header alone.
INCLUDE_cli   := -Icli
INCLUDE_src   := -Isrc
INCLUDE_tests := -Isrc -Itests
INCLUDE_fuzz  := -Isrc
INCLUDE_bench := -Isrc
COMPILE   = $(CC) $(FLAGS) $(HARDEN) $(WARNINGS) -fPIC -fvisibility=hidden $(CPPFLAGS_) $(CFLAGS) -MMD -MP
LIBS      = $(PACKAGE_LIBS) $(LINKED)

# Where shells look for completion, below share/.
COMPLETIONS := bash-completion/completions/sahara zsh/site-functions/_sahara fish/vendor_completions.d/sahara.fish

PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
PACKAGE_LIBS   := $(shell pkg-config --libs $(PACKAGES))

# CUDA is where its compiler says, and so is cuBLAS, unless CUBLAS says otherwise.
NVCC := $(shell command -v nvcc)
ifneq ($(NVCC),)
CUDA         := $(realpath $(shell $(NVCC) --dryrun -c nothing.cu 2>&1 | sed -n 's/^\#\$$ TOP=//p'))
CUBLAS       ?= $(CUDA)
CUBLAS_TO    := $(firstword $(wildcard $(addprefix $(CUBLAS)/,lib64/libcublasLt.so lib/libcublasLt.so lib64/libcublasLt.so.* lib/libcublasLt.so.*)))
CUDA_INCLUDE := -isystem $(CUDA)/include -isystem $(CUBLAS)/include
# Cards from Turing (2018) on, as far as this compiler knows them; others by the first one's virtual machine code.
CUDA_ARCHS   := $(filter 75 80 86 87 89 90 100 103 120,$(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch)))
CUDA_CODE    := $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$a,code=sm_$a) -gencode arch=compute_$(firstword $(CUDA_ARCHS)),code=compute_$(firstword $(CUDA_ARCHS))
endif
HAS_CUDA := $(and $(NVCC),$(CUBLAS_TO),$(wildcard $(CUBLAS)/include/cublasLt.h))

# ---- What is built from what ------------------------------------------------------------------------------------

CUDA_SOURCES    := $(sort $(wildcard src/engine/cuda/*.c))
LIB_SOURCES     := $(filter-out $(CUDA_SOURCES),$(sort $(wildcard src/*/*.c src/*/*/*.c)))
CLI_SOURCES     := $(sort $(wildcard cli/*.c cli/commands/*.c))
EXAMPLE_SOURCES := $(sort $(wildcard examples/*.c))
BENCH_SOURCES   := $(sort $(wildcard bench/*.c))
FUZZ_SOURCES    := $(sort $(wildcard fuzz/fuzz_*.c))
TEST_SOURCES    := $(sort $(wildcard tests/*/test_*.c))
EMULATION       := $(sort $(filter-out $(TEST_SOURCES) tests/cuda/gpu.c,$(wildcard tests/cuda/*.c)))
# (far_plugin.c is a plugin alone: two cannot be one program.)
HELPER_SOURCES  := $(sort $(filter-out $(TEST_SOURCES) $(EMULATION) tests/cuda/gpu.c tests/models/far_plugin.c,$(wildcard tests/*.c tests/*/*.c)))
MAN_SOURCES     := $(sort $(wildcard man/*.scd))
EMBEDDED_TEXTS  := data/judge/refusals.txt data/judge/reference.txt data/judge/weights.txt

EMBEDDED_QUERIES := data/align/harmful-heldout.csv data/align/harmless-heldout.csv
EMBEDDED_PAGE    := src/report/page_style.css src/report/page_script.js vendor/plot/d3.min.js vendor/plot/plot.umd.min.js

LIB_OBJECTS    := $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/embedded.o $(BUILD)/embedded_queries.o $(BUILD)/embedded_page.o
CLI_OBJECTS    := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
HELPER_OBJECTS := $(HELPER_SOURCES:%.c=$(BUILD)/%.o)
EMULATED       := $(patsubst %,$(BUILD)/emulated/%.o,$(CUDA_SOURCES) $(EMULATION) src/engine/cuda/kernels.cu tests/cuda/faults.cu tests/cuda/emulator.cpp)
PLUGGED        := $(patsubst %,$(BUILD)/src/%.o,engine/device util/alloc util/error util/utf8)
RACED          := src/engine/cuda/kernels.cu tests/cuda/faults.cu tests/cuda/emulator.cpp tests/cuda/threads.cpp
EXAMPLES       := $(EXAMPLE_SOURCES:%.c=$(BUILD)/%)
BENCHES        := $(BENCH_SOURCES:%.c=$(BUILD)/%)
FUZZERS        := $(FUZZ_SOURCES:%.c=$(BUILD)/%)
TESTS          := $(TEST_SOURCES:%.c=$(BUILD)/%)
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine)),)
ON_TILES       := $(patsubst %,$(BUILD)/tests/tiles/test_%,tiles decode $(if $(SANITIZE),,block))
endif
MAN_PAGES      := $(MAN_SOURCES:man/%.scd=$(BUILD)/man/%)

STATIC := $(BUILD)/libsahara.a
SHARED := $(BUILD)/libsahara.so

.PHONY: all lib cuda test mutate asan threads interop fuzz fuzz-long bench man install uninstall format clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: lib $(BUILD)/sahara $(EXAMPLES) $(if $(HAS_CUDA),cuda)
cuda: $(BUILD)/libsahara-cuda.so
lib: $(STATIC) $(SHARED) $(BUILD)/sahara.pc

help:
	@echo "make            the program, the library, the examples, in $(BUILD)/"
	@echo "make lib        the library alone: libsahara.a, libsahara.so, sahara.pc"
	@echo "make cuda       libsahara-cuda.so alone: the plugin for NVIDIA cards (needs nvcc and cuBLAS)"
	@echo "make test       build and run every test"
	@echo "make mutate     faults put into a copy of the tree: which of them no test sees"
	@echo "make asan       the tests under the address and undefined-behaviour sanitizers, in build-asan/"
	@echo "make threads    everything built by clang, and what uses threads under the thread sanitizer, in build-tsan/"
	@echo "make interop    edited checkpoints in other programs (tests/interop/README.md)"
	@echo "make fuzz       run every fuzz target for FUZZTIME=$(FUZZTIME) seconds (clang), in build-fuzz/"
	@echo "make fuzz-long  ten million inputs for each of them"
	@echo "make bench      build and run the programs of bench/"
	@echo "make man        the manual pages (needs scdoc)"
	@echo "make install    to PREFIX=$(PREFIX) under DESTDIR; make uninstall takes it away"
	@echo "make format     clang-format over all sources"
	@echo "make clean      remove build folders"

# Objects depend on the command that makes them: another compiler or other flags build afresh. (Not so -Werror, which changes no object.)
$(BUILD)/command: FORCE
	@mkdir -p $(@D)
	@echo '$(filter-out -Werror,$(COMPILE) $(LDFLAGS))' | cmp -s - $@ || echo '$(filter-out -Werror,$(COMPILE) $(LDFLAGS))' > $@

$(BUILD)/%.o: %.c $(BUILD)/command
	@mkdir -p $(@D)
	$(COMPILE) $(INCLUDE_$(firstword $(subst /, ,$<))) -c $< -o $@

# Data files that the library must find wherever it is put.
$(BUILD)/embedded.c: $(EMBEDDED_TEXTS) scripts/embed-text
	@mkdir -p $(@D)
	scripts/embed-text $(EMBEDDED_TEXTS) > $@

$(BUILD)/embedded_queries.c: $(EMBEDDED_QUERIES) scripts/embed-text
	@mkdir -p $(@D)
	scripts/embed-text $(EMBEDDED_QUERIES) > $@

$(BUILD)/embedded_page.c: $(EMBEDDED_PAGE) scripts/embed-text
	@mkdir -p $(@D)
	scripts/embed-text $(EMBEDDED_PAGE) > $@

$(BUILD)/embedded.o $(BUILD)/embedded_queries.o $(BUILD)/embedded_page.o: %.o: %.c $(BUILD)/command
	$(COMPILE) -Isrc -c $< -o $@

$(STATIC): $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

# A plugin shows one symbol; what it uses of the library lies in it.
$(BUILD)/plugin.map:
	@mkdir -p $(@D)
	@echo '{ global: sah_plugin_get; local: *; };' > $@

ifneq ($(NVCC),)
NVCC_WARNINGS := -Xcompiler -Wall,-Wextra $(if $(WERROR),-Werror all-warnings -Xcompiler -Werror)
$(BUILD)/cuda/kernels.o: src/engine/cuda/kernels.cu $(BUILD)/command
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 $(CUDA_CODE) $(NVCC_WARNINGS) -Xcompiler -fPIC,-fvisibility=hidden -Iinclude -Isrc -MMD -MP -c $< -o $@

$(BUILD)/cuda/%.o: src/engine/cuda/%.c $(BUILD)/command
	@mkdir -p $(@D)
	$(COMPILE) -Isrc $(CUDA_INCLUDE) -c $< -o $@

$(BUILD)/libsahara-cuda.so: $(CUDA_SOURCES:src/engine/cuda/%.c=$(BUILD)/cuda/%.o) $(BUILD)/cuda/kernels.o $(PLUGGED) $(BUILD)/plugin.map
	$(CC) $(FLAGS) $(HARDEN_LINK) $(LDFLAGS) -shared -Wl,-z,defs -Wl,--version-script=$(BUILD)/plugin.map $(filter %.o,$^) $(CUBLAS_TO) $(CUDA)/lib64/libcudart_static.a -lstdc++ -lpthread -ldl -lrt -o $@
else
$(BUILD)/libsahara-cuda.so:
	@echo "make cuda: CUDA's compiler, nvcc, is not installed" >&2; exit 1
endif

# Only what sahara.h declares is visible outside. (Hidden visibility alone lets through what gcc makes of functions with clones.)
$(BUILD)/symbols.map: include/sahara.h
	@mkdir -p $(@D)
	@{ echo '{ global:'; grep -oE '\bsah_[a-z0-9_]+\(' $< | tr -d '(' | sort -u | sed 's/$$/;/'; echo 'local: *; };'; } > $@

$(SHARED): $(LIB_OBJECTS) $(BUILD)/symbols.map
	$(CC) $(FLAGS) $(HARDEN_LINK) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=$(BUILD)/symbols.map $(LIB_OBJECTS) $(LIBS) -o $(BUILD)/libsahara.so.$(VERSION)
	ln -sf libsahara.so.$(VERSION) $(BUILD)/$(SONAME)
	ln -sf $(SONAME) $@

# Afresh each time: it depends on PREFIX, which may differ from one call to the next.
$(BUILD)/sahara.pc: sahara.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@PACKAGES@|$(PACKAGES)|; s|@LINKED@|$(LINKED)|' $< > $@

$(BUILD)/sahara: $(CLI_OBJECTS) $(STATIC)
	$(CC) $(FLAGS) -pie $(HARDEN_LINK) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/helpers.a: $(HELPER_OBJECTS) Makefile
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $(HELPER_OBJECTS)

$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/helpers.a $(STATIC)
	$(CC) $(FLAGS) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) $(TEST_LIBS) -lcmocka -o $@

# What uses Intel's tiles, on emulated ones (tests/engine/emulated_tiles.h), whose objects stand before the library.
$(BUILD)/tests/tiles/%.o: src/engine/cpu/%.c tests/engine/emulated_tiles.h $(BUILD)/command
	@mkdir -p $(@D)
	$(COMPILE) -Isrc -include tests/engine/emulated_tiles.h -c $< -o $@
$(ON_TILES): $(BUILD)/tests/tiles/%: $(BUILD)/tests/engine/%.o $(BUILD)/tests/tiles/tiles.o $(BUILD)/tests/tiles/product.o $(BUILD)/tests/helpers.a $(STATIC)
	$(CC) $(FLAGS) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lcmocka -o $@

# src/engine/cuda/ on the processor (tests/cuda/emulator.h). Its blocks have few threads: each is a fiber.
EMULATE = -DSAH_CUDA_BLOCK=16 -Itests/cuda/shim -Isrc -Itests
CXX_COMPILE = $(subst $(CC) ,$(CXX) ,$(subst -std=c17,-std=c++17,$(COMPILE)))
$(BUILD)/emulated/%.c.o: %.c $(BUILD)/command
	@mkdir -p $(@D)
	$(COMPILE) $(EMULATE) -c $< -o $@
$(BUILD)/emulated/%.cu.o: %.cu $(BUILD)/command
	@mkdir -p $(@D)
	$(CXX_COMPILE) $(EMULATE) -x c++ -c $< -o $@
$(BUILD)/emulated/%.cpp.o: %.cpp $(BUILD)/command
	@mkdir -p $(@D)
	$(CXX_COMPILE) $(EMULATE) -c $< -o $@
# Plain loops, which would take most of the sanitizers' time.
$(BUILD)/emulated/tests/cuda/products.c.o: OPTIMISE = -O3
$(BUILD)/tests/cuda/emulation.a: $(EMULATED)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^
# Small, and whole under the thread sanitizer, whatever the rest is built with.
$(BUILD)/tests/cuda/threads: $(RACED) src/engine/cuda/kernels.h src/engine/device.h $(wildcard tests/cuda/shim/*.h) $(BUILD)/command
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O1 -g -fsanitize=thread $(WARNINGS) -Iinclude $(EMULATE) -x c++ $(RACED) -o $@ -pthread
$(BUILD)/tests/cuda/test_threads: $(BUILD)/tests/cuda/threads
# As a plugin.
$(BUILD)/tests/cuda/libsahara-cuda.so: $(EMULATED) $(PLUGGED) $(BUILD)/plugin.map
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(LDFLAGS) -shared -Wl,-z,defs -Wl,--version-script=$(BUILD)/plugin.map $(filter %.o,$^) -lstdc++ -lm -o $@
# A plugin's tests and times without any library (bench/gpu).
GPU_SOURCES := tests/cuda/gpu.c tests/engine/operations.c tests/engine/alone.c $(PLUGGED:$(BUILD)/%.o=%.c) src/engine/cpu/kl.c src/engine/cpu/elementwise.c src/model/family/shape.c
$(BUILD)/tests/cuda/gpu: $(GPU_SOURCES) $(wildcard tests/engine/*.h tests/cuda/plain/*.h src/engine/*.h src/engine/cuda/plugin.h) $(BUILD)/command
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(WARNINGS) -D_GNU_SOURCE -Itests/cuda/plain -Iinclude -Isrc -Itests $(GPU_SOURCES) -lm -ldl -o $@
USE_EMULATION := $(BUILD)/tests/engine/test_device $(filter $(BUILD)/tests/cuda/%,$(TESTS))
$(USE_EMULATION): $(BUILD)/tests/cuda/emulation.a
$(USE_EMULATION): TEST_LIBS = -lstdc++
$(USE_EMULATION:%=%.o): CPPFLAGS_ += -Itests/cuda/shim

# A device in a plugin, for tests: what it uses of the library lies in it, and nothing of that shows.
FAR := $(BUILD)/tests/far/libsahara-cuda.so
$(FAR): $(BUILD)/tests/models/far_plugin.o $(BUILD)/tests/models/far.o $(STATIC)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(HARDEN_LINK) $(LDFLAGS) -shared -Wl,-Bsymbolic -Wl,--exclude-libs,ALL $^ $(LIBS) -o $@
$(patsubst %,$(BUILD)/tests/%,cli/test_devices cli/test_python memory/test_failing_commands memory/test_failing_writes): $(FAR)

# They call the program in their own process, and a program has one main().
$(BUILD)/tests/memory/test_failing_commands $(BUILD)/tests/memory/test_failing_writes: $(BUILD)/tests/sahara_main.o $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJECTS))
$(BUILD)/tests/sahara_main.o: $(BUILD)/cli/main.o
	@mkdir -p $(@D)
	$(OBJCOPY) --redefine-sym main=sahara_main $< $@

$(EXAMPLES) $(BENCHES): $(BUILD)/%: $(BUILD)/%.o $(STATIC)
	$(CC) $(FLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(STATIC)
	$(CC) $(FLAGS) -fsanitize=fuzzer $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/man/%: man/%.scd
	@mkdir -p $(@D)
	scdoc < $< > $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- Jobs -------------------------------------------------------------------------------------------------------

test: all $(TESTS) $(ON_TILES)
	@# Those of memory first: under the sanitizers they take minutes, and one processor would wait for the last of them.
	@SAHARA=$(BUILD)/sahara BUILD=$(BUILD) scripts/run-tests $(BUILD)/test-counts $(filter $(BUILD)/tests/memory/%,$(TESTS)) $(filter-out $(BUILD)/tests/memory/%,$(TESTS)) $(ON_TILES)

mutate: all
	@BUILD=$(BUILD) CC="$(CC)" WERROR=$(WERROR) scripts/mutate

asan:
	@$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=1 test

# Sweep, snapshots, layers that come and go, decoding, journals, two models at once, callbacks that call back. (docs/security.md: why clang, and its options.)
THREADED := $(patsubst %,$(BUILD)/tests/%,attribution/test_threads attribution/test_callbacks engine/test_decode)
threads:
	@$(MAKE) --no-print-directory BUILD=build-tsan THREADS=1 CC=clang threaded

.PHONY: threaded
threaded: all $(TESTS)
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan-suppressions SAHARA=$(BUILD)/sahara BUILD=$(BUILD) scripts/run-tests $(BUILD)/test-counts $(THREADED)

interop: $(BUILD)/sahara
	@BUILD=$(BUILD) tests/interop/run

# The library is built with coverage for libFuzzer; what a target has found stays in build-fuzz/corpus/ (scripts/fuzz). What is compared is not traced: it took half of the time and
# found no more places, as a target's words are its dictionary (scripts/fuzz) and its mutations know numbers.
FUZZ_BUILD = --no-print-directory CC="$(FUZZ_CC)" BUILD=build-fuzz SANITIZE=1 EXTRA_FLAGS="-fsanitize=fuzzer-no-link -Wno-pass-failed -fno-sanitize-coverage=trace-cmp -O2" fuzzers
fuzz:
	@$(MAKE) $(FUZZ_BUILD)
	@scripts/fuzz $(FUZZTIME)

# Ten million inputs a format, however long it takes.
fuzz-long:
	@$(MAKE) $(FUZZ_BUILD)
	@scripts/fuzz 1000000 10000000

.PHONY: fuzzers
fuzzers: $(FUZZERS)

# One of them (scripts/mutate).
fuzzer-%:
	@$(MAKE) $(FUZZ_BUILD:fuzzers=build-fuzz/fuzz/$*)

bench: all $(BENCHES)
	@set -e; for program in $(BENCHES); do echo "== $$program"; $$program; done

man: $(MAN_PAGES)

install: all $(if $(shell command -v scdoc),man)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 755 $(BUILD)/sahara $(DESTDIR)$(PREFIX)/bin/
	install -m 644 include/sahara.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(STATIC) $(DESTDIR)$(LIBDIR)/
	install -d $(DESTDIR)$(PREFIX)/share/sahara
	install -m 644 $(EMBEDDED_TEXTS) $(DESTDIR)$(PREFIX)/share/sahara/
	install -m 755 $(BUILD)/libsahara.so.$(VERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libsahara.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsahara.so
	$(if $(HAS_CUDA),install -m 755 $(BUILD)/libsahara-cuda.so $(DESTDIR)$(LIBDIR)/)
	install -m 644 $(BUILD)/sahara.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	@# The loader's list of libraries, where it has this folder and may be written.
	@if [ -z "$(DESTDIR)" ] && [ -w /etc/ld.so.cache ] && PATH=$$PATH:/sbin ldconfig -Nv 2> /dev/null | grep -q "^$(LIBDIR):"; then PATH=$$PATH:/sbin ldconfig; fi
	@if $(BUILD)/sahara --version > /dev/null 2>&1; then \
	    cd $(DESTDIR)$(PREFIX)/share && mkdir -p $(dir $(COMPLETIONS)) && \
	    for file in $(COMPLETIONS); do case $$file in bash*) shell=bash ;; zsh*) shell=zsh ;; *) shell=fish ;; esac; \
	        $(abspath $(BUILD))/sahara completion $$shell > $$file || exit 1; done; \
	else echo "$(BUILD)/sahara does not run here: completion of shells left out"; fi
	@if command -v scdoc > /dev/null; then \
	    install -d $(DESTDIR)$(MANDIR)/man1 && \
	    install -m 644 $(filter %.1,$(MAN_PAGES)) $(DESTDIR)$(MANDIR)/man1/; \
	else echo "scdoc is not installed: manual pages left out"; fi

# What `make install` with the same settings put there, and the folders that are its own.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/sahara $(DESTDIR)$(PREFIX)/include/sahara.h
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,$(notdir $(STATIC)) libsahara.so $(SONAME) libsahara.so.$(VERSION) libsahara-cuda.so pkgconfig/sahara.pc)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(addprefix sahara/,$(notdir $(EMBEDDED_TEXTS))) $(COMPLETIONS))
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man1/,$(notdir $(filter %.1,$(MAN_PAGES))))
	@[ ! -d $(DESTDIR)$(PREFIX)/share/sahara ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX)/share/sahara

format:
	clang-format -i $(wildcard include/*.h src/*/*.[ch] src/*/*/*.[ch] cli/*.[ch] cli/*/*.[ch] examples/*.c bench/*.c fuzz/*.c tests/*.[ch] tests/*/*.[ch] tests/cuda/shim/*.h src/engine/cuda/*.cu tests/cuda/*.cu tests/cuda/*.cpp)

clean:
	rm -rf $(BUILD) build-asan build-fuzz build-tsan
