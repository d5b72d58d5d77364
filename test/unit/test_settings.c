/*-------------------------------------------------------------------------
 *
 * test_settings.c
 *		Debezium's settings: what is taken of a connector's configuration.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

static CdcSourceSettings settings;

/* Sets pairs of name and value, a NULL ends them. */
static void
set_all(const char *const *pairs)
{
	const char *problem;

	cdc_source_defaults(&settings);
	for (; *pairs != NULL; pairs += 2)
		cdc_source_set(&settings, pairs[0], pairs[1], &problem);
}

#define SET(...) set_all((const char *const[]) {__VA_ARGS__, NULL})

static void
takes(const char *name, const char *value, bool stored, bool problem)
{
	const char *text = "unset";
	bool		result;

	cdc_source_defaults(&settings);
	result = cdc_source_set(&settings, name, value, &text);
	unit_ok(result == stored && (text != NULL) == problem,
			"%s=%s is %s%s", name, value, stored ? "taken" : "ignored",
			problem ? ", with a problem" : "");
}

static void
test_modes(void)
{
	cdc_source_defaults(&settings);
	unit_is_int(settings.time_mode, CDC_TIME_ADAPTIVE, "default time mode");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_UNKNOWN,
				"no transform by default");
	unit_is_text(settings.op_field, 4, "__op", "default op field");
	unit_is_text(settings.placeholder, settings.placeholder_len,
				 "__debezium_unavailable_value", "default placeholder");
	SET("time.precision.mode", "adaptive_time_microseconds",
		"decimal.handling.mode", "STRING", "binary.handling.mode",
		"base64-url-safe", "interval.handling.mode", "string",
		"hstore.handling.mode", "map", "value.converter.decimal.format",
		"NUMERIC", "money.fraction.digits", "3");
	unit_is_int(settings.time_mode, CDC_TIME_ADAPTIVE_MICROSECONDS, "time");
	unit_is_int(settings.decimal_mode, CDC_DECIMAL_STRING, "decimals");
	unit_is_int(settings.binary_mode, CDC_BINARY_BASE64_URL_SAFE, "binary");
	unit_is_int(settings.interval_mode, CDC_INTERVAL_STRING, "interval");
	unit_is_int(settings.hstore_mode, CDC_HSTORE_MAP, "hstore");
	unit_is_int(settings.decimal_numeric, true, "decimal format");
	unit_is_int(settings.money_fraction_digits, 3, "money");
	takes("time.precision.mode", "isostring", true, false);
	takes("time.precision.mode", " isostring ", true, false);
	takes("time.precision.mode", "seconds", true, true);
	takes("binary.handling.mode", "", true, true);
	takes("money.fraction.digits", "two", true, true);
	takes("database.password", "secret", false, false);
	takes("value.converter", "x", false, false);
	takes("time.precision", "isostring", false, false);
	takes("transforms.route.regex", "secret", false, false);
	takes("transforms.route.type", "org.example.Route", false, false);
	takes("transforms.unwrap", "x", false, false);
}

static void
test_placeholder(void)
{
	SET("unavailable.value.placeholder", "gone");
	unit_is_text(settings.placeholder, settings.placeholder_len, "gone",
				 "placeholder");
	SET("unavailable.value.placeholder", "hex:00fFa1");
	unit_ok(settings.placeholder_len == 3 &&
			memcmp(settings.placeholder, "\0\xFF\xA1", 3) == 0,
			"placeholder in hexadecimal");
	takes("unavailable.value.placeholder", "hex:123", true, true);
	takes("unavailable.value.placeholder", "hex:zz", true, true);
}

#define TYPE "io.debezium.transforms.ExtractNewRecordState"

static void
test_flatten_modes(void)
{
	SET("transforms", "unwrap", "transforms.unwrap.type", TYPE);
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_TOMBSTONE, "default mode");
	unit_ok(settings.op_field == NULL, "no op without add.fields");
	SET("transforms.u.delete.tombstone.handling.mode", "delete-to-tombstone",
		"transforms.u.type", TYPE, "transforms", "a, u");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_DELETE_TO_TOMBSTONE,
				"in any order");
	SET("transforms", "a", "transforms.u.type", TYPE);
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_UNKNOWN,
				"a transform that is not listed does not count");
	SET("transforms", "a", "transforms.a.type", "org.example.Other",
		"transforms.a.add.fields", "op");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_UNKNOWN,
				"nor does one of another class");
	SET("transforms.u.type", TYPE, "transforms.u.drop.tombstones", "false");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_DELETE_TO_TOMBSTONE,
				"legacy: drop, tombstones kept");
	SET("transforms.u.type", TYPE, "transforms.u.drop.tombstones", "true");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_DROP, "legacy: drop");
	SET("transforms.u.type", TYPE, "transforms.u.delete.handling.mode",
		"rewrite");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_REWRITE, "legacy: rewrite");
	SET("transforms.u.delete.handling.mode", "rewrite",
		"transforms.u.drop.tombstones", "false");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_REWRITE_WITH_TOMBSTONE,
				"legacy: rewrite, tombstones kept");
	SET("transforms.u.type", TYPE, "transforms.u.delete.handling.mode",
		"none");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_TOMBSTONE, "legacy: none");
	SET("transforms.u.type", TYPE, "transforms.u.drop.tombstones", "false",
		"transforms.u.delete.tombstone.handling.mode", "rewrite");
	unit_is_int(settings.flatten_mode, CDC_FLATTEN_REWRITE,
				"the new setting wins");
	takes("transforms.u.delete.tombstone.handling.mode", "none", true, true);
}

static void
test_add_fields(void)
{
	SET("transforms.u.add.fields", "op,table, lsn,source.ts_ms,transaction.id,db:DB",
		"transforms.u.type", TYPE);
	unit_is_int(settings.nadd_fields, 6, "six fields");
	unit_is_text(settings.op_field, 4, "__op", "op");
	unit_is_text(settings.table_field, 7, "__table", "table");
	unit_is_text(settings.ts_ms_field, strlen(settings.ts_ms_field),
				 "__source_ts_ms", "source.ts_ms");
	unit_is_text(settings.add_fields[4], strlen(settings.add_fields[4]),
				 "__transaction_id", "transaction.id");
	unit_is_text(settings.db_field, strlen(settings.db_field), "__DB",
				 "new name");
	unit_ok(settings.schema_field == NULL, "what is not added is not there");
	SET("transforms.u.add.fields.prefix", "meta_", "transforms.u.type", TYPE,
		"transforms.u.add.fields", "op,ts_ms");
	unit_is_text(settings.op_field, strlen(settings.op_field), "meta_op",
				 "prefix");
	unit_ok(settings.ts_ms_field == NULL, "ts_ms is not the source's");
	SET("transforms.u.add.fields.prefix", "", "transforms.u.type", TYPE,
		"transforms.u.add.fields", "op");
	unit_is_text(settings.op_field, 2, "op", "empty prefix");
	SET("transforms.u.add.fields.prefix", "m.", "transforms.u.type", TYPE,
		"transforms.u.add.fields", "source.ts_ms,db:D.B");
	unit_is_text(settings.ts_ms_field, strlen(settings.ts_ms_field),
				 "m.source_ts_ms", "dot of a prefix");
	unit_is_text(settings.db_field, strlen(settings.db_field), "m.D.B",
				 "dot of a new name");
	SET("transforms.u.add.fields", "", "transforms.u.type", TYPE);
	unit_is_int(settings.nadd_fields, 0, "empty list");
}

int
main(void)
{
	test_modes();
	test_placeholder();
	test_flatten_modes();
	test_add_fields();
	return unit_done();
}
