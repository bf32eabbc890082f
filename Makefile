# movielens_ingest, built by PGXS. `make help` lists the goals.

EXTENSION   = movielens_ingest
MODULE_big  = movielens_ingest
PGFILEDESC  = "movielens_ingest - load CSV files into tables in parallel"

# Where this file is: packages are built in folders of their own, one for each version of PostgreSQL (VPATH, as PGXS has it).
source := $(or $(VPATH),$(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST)))))

# One name a line; CMakeLists.txt lists the same files (test/check_sources.sh compares them).
SOURCES = \
	src/core/checksum.cpp \
	src/core/chunk_planner.cpp \
	src/core/copy_splitter.cpp \
	src/core/error_fate.cpp \
	src/core/field_splitter.cpp \
	src/core/file_kind.cpp \
	src/core/libcsv_splitter.cpp \
	src/core/number.cpp \
	src/core/plain_records.cpp \
	src/core/record_scanner.cpp \
	src/core/unquoted_records.cpp \
	src/pg/abandoned_import.cpp \
	src/pg/background_process.cpp \
	src/pg/batch.cpp \
	src/pg/batch_begin.cpp \
	src/pg/batch_ends.cpp \
	src/pg/batch_indexes.cpp \
	src/pg/batch_order.cpp \
	src/pg/cancel_import.cpp \
	src/pg/cancel_watch.cpp \
	src/pg/chunk_attempt.cpp \
	src/pg/chunk_loader.cpp \
	src/pg/chunk_work.cpp \
	src/pg/chunk_writer.cpp \
	src/pg/column_list.cpp \
	src/pg/data_set.cpp \
	src/pg/deferred_indexes.cpp \
	src/pg/error_text.cpp \
	src/pg/field_conversion.cpp \
	src/pg/foreign_keys.cpp \
	src/pg/header.cpp \
	src/pg/heap_extension.cpp \
	src/pg/heap_pages.cpp \
	src/pg/heap_writer.cpp \
	src/pg/identity.cpp \
	src/pg/import_lock.cpp \
	src/pg/import_options.cpp \
	src/pg/import_steps.cpp \
	src/pg/import_wait.cpp \
	src/pg/incarnation.cpp \
	src/pg/index_entries.cpp \
	src/pg/internal_function.cpp \
	src/pg/key_set.cpp \
	src/pg/launch.cpp \
	src/pg/launcher.cpp \
	src/pg/leader.cpp \
	src/pg/ledger.cpp \
	src/pg/ledger_batches.cpp \
	src/pg/ledger_cancels.cpp \
	src/pg/ledger_chunks.cpp \
	src/pg/ledger_crashes.cpp \
	src/pg/ledger_files.cpp \
	src/pg/ledger_guard.cpp \
	src/pg/ledger_indexes.cpp \
	src/pg/ledger_origin.cpp \
	src/pg/ledger_pending.cpp \
	src/pg/ledger_queue.cpp \
	src/pg/ledger_view.cpp \
	src/pg/ledger_witness.cpp \
	src/pg/library_build.cpp \
	src/pg/live_imports.cpp \
	src/pg/missing_parents.cpp \
	src/pg/ml_cancel.cpp \
	src/pg/ml_create_tables.cpp \
	src/pg/ml_import.cpp \
	src/pg/ml_import_dataset.cpp \
	src/pg/ml_load.cpp \
	src/pg/ml_resume.cpp \
	src/pg/ml_validate.cpp \
	src/pg/ml_wait.cpp \
	src/pg/module.cpp \
	src/pg/movielens_tables.cpp \
	src/pg/parallel_safety.cpp \
	src/pg/patience.cpp \
	src/pg/pending_records.cpp \
	src/pg/pending_writer.cpp \
	src/pg/piece_former.cpp \
	src/pg/piece_writer.cpp \
	src/pg/planned_insert.cpp \
	src/pg/planner.cpp \
	src/pg/process_permit.cpp \
	src/pg/progress.cpp \
	src/pg/queue.cpp \
	src/pg/raw_line.cpp \
	src/pg/record_reader.cpp \
	src/pg/record_rules.cpp \
	src/pg/record_text.cpp \
	src/pg/referenced_keys.cpp \
	src/pg/referenced_query.cpp \
	src/pg/refusal.cpp \
	src/pg/refused_rows.cpp \
	src/pg/register_import.cpp \
	src/pg/reject.cpp \
	src/pg/reject_buffer.cpp \
	src/pg/reject_limit.cpp \
	src/pg/risky_step.cpp \
	src/pg/row_description.cpp \
	src/pg/same_file.cpp \
	src/pg/scattered_records.cpp \
	src/pg/script_version.cpp \
	src/pg/seat.cpp \
	src/pg/self_references.cpp \
	src/pg/session.cpp \
	src/pg/settings.cpp \
	src/pg/shared_batch.cpp \
	src/pg/shared_chunks.cpp \
	src/pg/shared_progress.cpp \
	src/pg/shared_validation.cpp \
	src/pg/source_file.cpp \
	src/pg/speculative_insertion.cpp \
	src/pg/spi_writer.cpp \
	src/pg/statement_binding.cpp \
	src/pg/subscribed_table.cpp \
	src/pg/subtransaction.cpp \
	src/pg/table_share.cpp \
	src/pg/target.cpp \
	src/pg/target_storage.cpp \
	src/pg/tuple_former.cpp \
	src/pg/tuple_layout.cpp \
	src/pg/type_code.cpp \
	src/pg/validation.cpp \
	src/pg/validation_pool.cpp \
	src/pg/validation_worker.cpp \
	src/pg/worker.cpp \
	src/pg/worker_pool.cpp \
	src/pg/write_behind.cpp \
	src/pg/writer_choice.cpp

OBJS = $(SOURCES:.cpp=.o)
DEPS = $(SOURCES:.cpp=.d)

# Scripts have "--" in their names, regression tests do not.
DATA    = $(patsubst $(source)/%,%,$(wildcard $(source)/sql/$(EXTENSION)--*.sql))
REGRESS = $(sort $(foreach f,$(wildcard $(source)/sql/*.sql),$(if $(findstring --,$(f)),,$(basename $(notdir $(f))))))

# What pg_regress writes stays under build/, and results do not depend on the server's locale.
REGRESS_OPTS = --outputdir=build/installcheck --encoding=UTF8 --no-locale
REGRESS_PREP = build/installcheck

# Nothing here may depend on pg_config: this part serves the goals that need no PostgreSQL too.
all:

help:
	@echo 'make                 build the extension for the pg_config on the path (or PG_CONFIG=...)'
	@echo 'make install         install it there'
	@echo 'make installcheck    run the regression tests against a running server'
	@echo 'make test            install what is missing, build, run every test on private servers'
	@echo '                     (SUITES="unit sanitize fuzz regress isolation tap chaos" and TESTS="name ..." select)'
	@echo '                     (PG=15 to 19: on that version; PG_CONFIG=...: on a copy of that installation)'
	@echo 'make versions-publish   put what the last runs on each version counted where README shows it'
	@echo 'make test-all        the same and the slow tests'
	@echo 'make emulated        unit tests and some on a server of another architecture, ARCH=arm64 or s390x, under an emulator'
	@echo 'make soak            random tables, files and encodings against COPY, for TIME=600 seconds, from SEED=n on'
	@echo 'make chaos           imports under signals, kills, restarts, locks, full disks, for TIME=600 seconds, from SEED=n on'
	@echo 'make fuzz TIME=60    let libFuzzer try the core, so many seconds for each target'
	@echo 'make bench           measure COPY and imports (SCALE=0.1 of MovieLens 20M, ROUNDS=3, WAYS="heap ratings"; PG=18)'
	@echo 'make bench-publish   put the results of the last `make bench` where README shows them'
	@echo 'make lint            formatting, static analysis, rules, two compilers'
	@echo 'make format          let clang-format rewrite the sources'
	@echo 'make demo            load a data set on a private server (DATA=file.csv or a directory)'
	@echo 'make demo-stop       stop that server and delete it'
	@echo 'make dist            the archives of the last commit, for PGXN and for packages, in build/dist'
	@echo 'make package-test    build Debian packages, install, use and remove them in clean roots (VERSIONS="15 17 18"; as root)'
	@echo 'make clean           remove everything built'

# What was asked for on the command line: a version, an installation, neither. PG_CONFIG in the environment is not meant for tests.
# PG_OLD_CONFIG: that of an older version, to go over from.
on_version = MOVIELENS_INGEST_OLD_PG_CONFIG='$(abspath $(PG_OLD_CONFIG))' test/versions/on '$(PG)' '$(if $(findstring command line,$(origin PG_CONFIG)),$(PG_CONFIG))'

test:
	@$(on_version) test/run.sh

test-all:
	@$(on_version) test/run.sh all

emulated:
	@test/emulated.sh '$(ARCH)'

soak:
	@$(on_version) test/soak.sh

chaos:
	@$(on_version) test/chaos.sh

versions-publish:
	@test/versions/publish

fuzz:
	@TIME="$(TIME)" test/fuzz.sh

bench:
	@$(on_version) test/bench/run.sh

bench-publish:
	mkdir -p test/bench/results
	cp build/bench/results.json build/bench/chart.svg build/bench/chart.png test/bench/results/

lint:
	@test/lint.sh

format:
	@test/lint.sh format

demo:
	@test/demo.sh start

demo-stop:
	@$(source)/test/demo.sh stop

dist:
	@test/package/dist

package-test:
	@VERSIONS='$(VERSIONS)' test/package.sh

build/installcheck:
	@mkdir -p $@

# The demo's server lives below build/.
clean: demo-stop

.PHONY: all help test test-all emulated fuzz soak chaos versions-publish bench bench-publish lint format demo demo-stop dist package-test clean

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

# PostgreSQL's headers are system headers: our warnings are not for them.
PG_CPPFLAGS = -I$(source)/src -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CXXFLAGS = -std=c++17 -Wall -Wextra -Werror -fvisibility=hidden -fvisibility-inlines-hidden -MMD -MP

# PostgreSQL 15 leaves PGDLLEXPORT empty, and nothing would be left visible.
PG_CXXFLAGS += '-DPGDLLEXPORT=__attribute__((visibility("default")))'

# Before PostgreSQL 18, PGXS adds COPT to the flags of C and of the linker only.
PG_CXXFLAGS += $(COPT)

# The flags and attributes that PostgreSQL was configured with are gcc's.
ifneq ($(findstring clang,$(CXX)),)
PG_CXXFLAGS += -Wno-unknown-warning-option -Wno-ignored-attributes
endif

SHLIB_LINK  = -lcsv -lxxhash
# Instances of the standard library's templates are visible whatever the flags: the linker hides them.
SHLIB_EXPORTS = src/exports.txt
EXTRA_CLEAN = build $(DEPS) $(SHLIB_EXPORTS:.txt=.list)

# PGXS would link with the C compiler, which knows nothing of libstdc++.
override COMPILER = $(CXX) $(CXXFLAGS)
# No LLVM bitcode: inlining these functions into queries gains nothing.
override with_llvm = no

include $(PGXS)

# Another server or compiler: other objects.
build/pgxs.flags: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(CXX)' | cmp -s - $@ || echo '$(VERSION) $(CXX)' >$@

$(OBJS): build/pgxs.flags

# A library knows the script that it was built with.
install_script := $(source)/sql/$(EXTENSION)--1.0.sql
src/pg/script_version.o: $(install_script)
src/pg/script_version.o: override CPPFLAGS += '-DMOVIELENS_INGEST_SCRIPT="$(firstword $(shell cksum <$(install_script)))"'

# It knows what it was compiled from, too.
compiled := $(sort $(SOURCES) $(patsubst $(source)/%,%,$(wildcard $(source)/src/core/*.hpp $(source)/src/pg/*.hpp)))
src/pg/library_build.o: $(compiled)
src/pg/library_build.o: override CPPFLAGS += '-DMOVIELENS_INGEST_BUILD="$(firstword $(shell cd $(source) && cat $(compiled) | cksum))"'

ifneq ($(source),.)
$(shell mkdir -p $(sort $(dir $(OBJS))))
endif

-include $(DEPS)

.PHONY: FORCE

else

all install installdirs uninstall installcheck:
	@echo "make $@ needs PostgreSQL's server headers, which '$(PG_CONFIG) --pgxs' does not find:" >&2
	@echo "install the package postgresql-server-dev-15, or name another pg_config: make $@ PG_CONFIG=..." >&2
	@exit 1

clean:
	rm -rf build $(OBJS) $(DEPS) $(MODULE_big).so

.PHONY: install installdirs uninstall installcheck

endif
