# cdc_sink: build and install with PGXS; see CONTRIBUTING.md for the tests.

EXTENSION = cdc_sink
MODULE_big = cdc_sink
DATA = sql/cdc_sink--1.0.sql
PGFILEDESC = "cdc_sink - Kafka consumer for Debezium topics inside PostgreSQL"

# by floor (CONTRIBUTING.md), the lowest first
OBJS = \
	src/guc.o src/debug_fail.o src/brokers.o src/properties.o src/errors.o src/source_settings.o \
	src/json.o \
	src/options.o src/shmem.o src/report.o src/batch.o src/value.o src/order.o src/anchor.o \
	src/convert_text.o src/convert_codec.o src/convert_calendar.o \
	src/notify.o src/launch_check.o src/launch_process.o src/kafka_conf.o src/kafka_open.o \
	src/kafka.o src/kafka_assign.o src/kafka_ask.o src/kafka_asker.o src/kafka_commit.o src/kafka_produce.o \
	src/kafka_trouble.o src/kafka_watch.o \
	src/partition.o src/decode_schema.o src/decode_read.o src/decode_source.o src/decode_rows.o \
	src/decode_flat.o src/decode_cloudevent.o src/decode_control.o src/decode_debezium.o \
	src/convert_time.o src/convert_number.o src/convert_numeric.o src/convert_interval.o \
	src/convert_binary.o src/convert_document.o src/convert_geo.o src/convert_array.o \
	src/convert_misc.o src/convert_placeholder.o src/catalog_sql.o \
	src/decode.o src/ahead.o src/convert.o src/target.o src/constraints.o src/catalog.o src/catalog_server.o \
	src/position.o src/launch_scan.o \
	src/catalog_write.o src/session.o src/relmap.o src/relkey.o src/row.o src/addcolumn.o \
	src/role.o src/moved.o src/deadletter.o src/deadletter_read.o \
	src/sqlargs.o src/route.o src/segment.o src/key_change.o src/coalesce.o src/apply_text.o src/apply_sql.o \
	src/native.o src/apply_upsert.o src/apply_append.o \
	src/apply.o \
	src/hold.o src/gate.o src/policy.o src/settle.o src/attempt.o src/pipeline.o \
	src/consumer.o src/consumer_pull.o src/consumer_anchor.o src/consumer_lost.o src/consumer_stalled.o src/consumer_topics.o \
	src/consumer_status.o src/consumer_group.o src/publisher.o src/retry.o src/launcher.o src/scan.o \
	src/wait.o src/wait_check.o src/oneshot.o src/oneshot_jobs.o src/oneshot_peek.o src/oneshot_sql.o \
	src/server.o src/sqlfuncs_subscription.o src/sqlfuncs_mapping.o src/sqlfuncs_position.o \
	src/sqlfuncs_deadletter.o src/stats.o src/testfuncs.o src/testfeed.o \
	src/worker.o src/run_batches.o src/oneshot_main.o src/cdc_sink.o

# pg_regress; one name a file of sql/
REGRESS += surface_subscription surface_mapping surface_views position_anchor apply_plans
REGRESS += deadletter_policy deadletter_retry constraints_deferred
REGRESS += apply_key apply_key_change apply_ddl apply_insert apply_inheritance
REGRESS += convert_text convert_number convert_time convert_binary convert_array convert_geo convert_placeholder

PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = $(shell $(PKG_CONFIG) --cflags rdkafka simdjson) -I$(srcdir)/src
# 15 leaves PGDLLEXPORT empty, and would export nothing under -fvisibility=hidden
PG_CPPFLAGS += -DPGDLLEXPORT='__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden -Wno-unused-parameter
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs rdkafka simdjson) -lstdc++ -lpthread

# make DEVELOPER=1 adds cdc_sink.debug_fail_at and the assertions
ifdef DEVELOPER
PG_CPPFLAGS += -DCDC_DEVELOPER -include $(srcdir)/src/debug_fail.h
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# no bitcode: nothing here is worth inlining into a query, and it needs clang
override with_llvm = no
include $(PGXS)

# server headers as system headers, so that -Wall -Wextra speaks of our code
override CPPFLAGS := $(patsubst -I$(includedir_server),-isystem $(includedir_server),$(CPPFLAGS))

src/json.o: src/json.cc src/json.h
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti \
		$(shell $(PKG_CONFIG) --cflags simdjson) $(CXXFLAGS_EXTRA) -c -o $@ $<

# every object sees every header: the tree is small and a stale object costs more
$(filter-out src/json.o,$(OBJS)): $(wildcard $(srcdir)/src/*.h)
