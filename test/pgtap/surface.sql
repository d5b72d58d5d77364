-- The SQL surface is the contract: names, arguments, defaults, result columns,
-- privileges, comments.
BEGIN;
CREATE EXTENSION cdc_sink;
SELECT no_plan();

SELECT results_eq($$
	SELECT p.proname::text COLLATE "default", pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prokind::text COLLATE "default"
	FROM pg_proc AS p WHERE p.pronamespace = 'cdc_sink'::regnamespace
	  AND p.proname !~ '^pg_stat_get_' ORDER BY p.proname COLLATE "C" $$, $$ VALUES
	('add_mapping', 'subscription name, topic text, relation regclass, source_table text DEFAULT NULL::text, columns jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'void', 'f'),
	('alter_mapping', 'subscription name, topic text, source_table text DEFAULT NULL::text, columns jsonb DEFAULT NULL::jsonb, options jsonb DEFAULT NULL::jsonb', 'void', 'f'),
	('alter_subscription', 'subscription name, server name DEFAULT NULL::name, owner regrole DEFAULT NULL::regrole, new_name name DEFAULT NULL::name, source jsonb DEFAULT NULL::jsonb, options jsonb DEFAULT NULL::jsonb', 'void', 'f'),
	('cdc_sink_validator', 'options text[], catalog oid', 'void', 'f'),
	('check_server', 'server name', 'TABLE(item text, ok boolean, detail text)', 'f'),
	('create_subscription', 'subscription name, server name, start_position text DEFAULT ''earliest''::text, enabled boolean DEFAULT true, source jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'void', 'f'),
	('disable_subscription', 'subscription name, wait boolean DEFAULT true', 'void', 'f'),
	('drop_subscription', 'subscription name, if_exists boolean DEFAULT false', 'void', 'f'),
	('enable_subscription', 'subscription name', 'void', 'f'),
	('peek', 'server name, topic text, partition integer DEFAULT NULL::integer, start text DEFAULT ''earliest''::text, max_records integer DEFAULT 10', 'TABLE(partition integer, "offset" bigint, ts timestamp with time zone, headers jsonb, key text, value text, kind text, op text, relation_hint text, error text)', 'f'),
	('purge_dead_letter', 'older_than interval', 'bigint', 'f'),
	('remove_mapping', 'subscription name, topic text, source_table text DEFAULT NULL::text, keep_position boolean DEFAULT false', 'void', 'f'),
	('reset_stats', 'subscription name DEFAULT NULL::name', 'void', 'f'),
	('resolve_dead_letter', 'ids bigint[], note text', 'void', 'f'),
	('retry_dead_letter', 'ids bigint[]', 'TABLE(id bigint, ok boolean, error text)', 'f'),
	('run_batches', 'IN subscription name, IN max_batches integer DEFAULT NULL::integer, IN timeout interval DEFAULT NULL::interval', NULL, 'p'),
	('set_position', 'subscription name, topic text, partition integer, new_position text', 'void', 'f'),
	('skip_record', 'subscription name, topic text, partition integer, "offset" bigint, note text DEFAULT NULL::text', 'void', 'f'),
	('wait_for_catchup', 'subscription name, timeout interval DEFAULT ''00:01:00''::interval', 'boolean', 'f'),
	('wait_for_offset', 'subscription name, topic text, partition integer, "offset" bigint, timeout interval DEFAULT ''00:01:00''::interval', 'boolean', 'f')
	$$, 'routines have the signatures of the contract');

SELECT results_eq($$
	SELECT c.relname::text COLLATE "default", string_agg(a.attname::text COLLATE "default", ',' ORDER BY a.attnum)
	FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind = 'v'
	GROUP BY c.relname ORDER BY c.relname COLLATE "C" $$, $$ VALUES
	('pg_stat_cdc_sink_error', 'subscription,occurred_at,topic,partition,offset,relation,sqlstate,message,detail,attempts,disposition,hint'),
	('pg_stat_cdc_sink_partition', 'subscription,topic,partition,pid,state,state_reason,hint,next_offset,low_watermark,end_offset,watermark_time,lag_records,lag_interval,retention_headroom,retention_interval,anchor'),
	('pg_stat_cdc_sink_subscription', 'subscription,owner,server,enabled,pid,state,state_reason,hint,state_since,next_retry,partitions,partitions_stopped,records,bytes,batches,retries,errors,dead_letters,skipped,last_receive_time,last_apply_time,last_commit_time,stats_reset'),
	('pg_stat_cdc_sink_table', 'subscription,relation,n_tup_ins,n_tup_upd,n_tup_del,n_truncate,n_noop,n_dead_letter,confl_update_missing,confl_delete_missing,last_apply_time')
	$$, 'views have the columns of the contract');

SELECT results_eq($$
	SELECT c.relname::text COLLATE "default", bool_and(c.relrowsecurity)
	FROM pg_class AS c WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind = 'r'
	GROUP BY c.relname ORDER BY c.relname COLLATE "C" $$, $$ VALUES
	('dead_letter', true), ('mapping', true), ('moved_row', true), ('position', true), ('subscription', true)
	$$, 'the five tables are there, each under row security');
SELECT matches(string_agg(attname, ',' ORDER BY attnum),
	'^id,subscription,topic,partition,offset,ts,key,value,headers,relation,op,old_row,new_row,sqlstate,message,detail,context,failed_at,attempts,status,superseded_by,resolved_at,note',
	'dead_letter begins with the columns of the contract')
	FROM pg_attribute WHERE attrelid = 'cdc_sink.dead_letter'::regclass AND attnum > 0;
SELECT matches(string_agg(attname, ',' ORDER BY attnum), '^subscription,topic,partition,next_offset',
	'position begins with the columns of the contract')
	FROM pg_attribute WHERE attrelid = 'cdc_sink.position'::regclass AND attnum > 0;

-- privileges
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc AS p
	WHERE p.pronamespace = 'cdc_sink'::regnamespace AND p.proname !~ '^pg_stat_get_cdc_sink_'
	  AND has_function_privilege('public', p.oid, 'EXECUTE') $$,
	'PUBLIC can execute nothing but pg_stat_get_cdc_sink_*');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc AS p
	WHERE p.pronamespace = 'cdc_sink'::regnamespace AND p.proname ~ '^pg_stat_get_cdc_sink_'
	  AND NOT has_function_privilege('public', p.oid, 'EXECUTE') $$,
	'PUBLIC can execute pg_stat_get_cdc_sink_*');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc AS p
	WHERE p.pronamespace = 'cdc_sink'::regnamespace AND (p.prosecdef OR p.provolatile <> 'v') $$,
	'no routine runs as its definer, all are VOLATILE');
SELECT ok(has_schema_privilege('public', 'cdc_sink', 'USAGE'), 'PUBLIC has USAGE on the schema');
SELECT ok(NOT has_schema_privilege('public', 'cdc_sink', 'CREATE'), 'PUBLIC cannot create in the schema');
SELECT is_empty($$
	SELECT c.relname FROM pg_class AS c
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind IN ('r', 'v')
	  AND NOT has_table_privilege('public', c.oid, 'SELECT') $$, 'PUBLIC can read every table and view');
SELECT is_empty($$
	SELECT c.relname FROM pg_class AS c
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind IN ('r', 'v')
	  AND has_table_privilege('public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') $$,
	'PUBLIC can write none');
SELECT is_empty($$
	SELECT c.relname FROM pg_class AS c
	WHERE c.relnamespace = 'cdc_sink'::regnamespace
	  AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('public', c.oid, 'USAGE, SELECT, UPDATE') END $$, 'PUBLIC has nothing on sequences');
SELECT ok(NOT has_foreign_data_wrapper_privilege('public', 'cdc_sink', 'USAGE'), 'PUBLIC cannot create servers');

-- comments
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc AS p
	WHERE p.pronamespace = 'cdc_sink'::regnamespace AND coalesce(obj_description(p.oid, 'pg_proc'), '') = '' $$,
	'every routine is commented');
SELECT is_empty($$
	SELECT c.relname FROM pg_class AS c
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind IN ('r', 'v')
	  AND coalesce(obj_description(c.oid, 'pg_class'), '') = '' $$, 'every table and view is commented');
SELECT is_empty($$
	SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind IN ('r', 'v')
	  AND a.attnum > 0 AND coalesce(col_description(c.oid, a.attnum), '') = '' $$,
	'every column of a table or view is commented');

-- what pg_dump takes along
SELECT set_eq($$
	SELECT unnest(e.extconfig)::regclass::text FROM pg_extension AS e WHERE e.extname = 'cdc_sink' $$, $$
	SELECT c.oid::regclass::text FROM pg_class AS c
	WHERE c.relnamespace = 'cdc_sink'::regnamespace AND c.relkind IN ('r', 'S') $$,
	'all tables are dumped with their sequences');

-- the schema
SELECT is((SELECT count(*) FROM pg_depend WHERE classid = 'pg_namespace'::regclass
	AND objid = 'cdc_sink'::regnamespace AND deptype = 'e'), 1::bigint, 'the schema belongs to the extension');
SELECT is_empty($$ SELECT extrelocatable FROM pg_extension WHERE extname = 'cdc_sink' AND extrelocatable $$,
	'the extension cannot be moved');
DROP EXTENSION cdc_sink;
SELECT hasnt_schema('cdc_sink', 'DROP EXTENSION leaves nothing');
CREATE SCHEMA cdc_sink;
SELECT throws_ok('CREATE EXTENSION cdc_sink', '42P06', NULL::text, 'a schema that somebody prepared is refused');

SELECT * FROM finish();
ROLLBACK;
