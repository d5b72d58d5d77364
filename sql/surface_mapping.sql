-- Mappings: one for all of a topic, or several for single source tables.
SET client_min_messages = warning;
CREATE EXTENSION cdc_sink;
CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT cdc_sink.create_subscription('s', 'kafka', enabled => false);
CREATE TABLE one (id int PRIMARY KEY, note text);
CREATE TABLE two (id int PRIMARY KEY, note text);

SELECT cdc_sink.add_mapping('s', 'p.public.one', 'one', columns => '{"remark": "note", "secret": null}', options => '{"mode": "append", "key_columns": ["id"]}');
SELECT cdc_sink.add_mapping('s', 'routed', 'one', 'public.one');
SELECT cdc_sink.add_mapping('s', 'routed', 'two', 'public.two');
SELECT topic, source_table, relation, relation_name, columns, options FROM cdc_sink.mapping ORDER BY id;

-- mixtures and doubles
SELECT cdc_sink.add_mapping('s', 'routed', 'two');
SELECT cdc_sink.add_mapping('s', 'routed', 'two', 'public.two');
SELECT cdc_sink.add_mapping('s', 'p.public.one', 'two', 'public.one');
SELECT cdc_sink.add_mapping('s', 'other', 'two', 'two');
-- several topics may feed one relation
SELECT cdc_sink.add_mapping('s', 'q.public.one', 'one');

-- alter replaces columns and merges options
SELECT cdc_sink.alter_mapping('s', 'p.public.one', columns => '{"a": "note"}', options => '{"mode": null, "enabled": false}');
SELECT columns, options FROM cdc_sink.mapping WHERE topic = 'p.public.one';
SELECT cdc_sink.alter_mapping('s', 'routed', 'public.one', options => '{"enabled": false}');
SELECT cdc_sink.alter_mapping('s', 'routed');

-- targets
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
SELECT cdc_sink.add_mapping('s', 'late', 'late');
CREATE VIEW seen AS SELECT * FROM one;
SELECT cdc_sink.add_mapping('s', 'seen', 'seen');
SELECT cdc_sink.add_mapping('s', 'own', 'cdc_sink.position');
CREATE RULE quiet AS ON DELETE TO two DO INSTEAD NOTHING;
SELECT cdc_sink.add_mapping('s', 'ruled', 'two');
SET client_min_messages = notice;
CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY);
SELECT cdc_sink.add_mapping('s', 'fleeting', 'fleeting');
SET client_min_messages = warning;

-- with the last mapping of a topic go its positions
INSERT INTO cdc_sink.position (subscription, topic, partition, next_offset)
	SELECT 's', t, 0, 5 FROM unnest(ARRAY['routed', 'p.public.one', 'q.public.one']) AS t;
SELECT cdc_sink.remove_mapping('s', 'routed', 'public.one');
SELECT topic, next_offset FROM cdc_sink.position ORDER BY topic;
SELECT cdc_sink.remove_mapping('s', 'routed', 'public.two');
SELECT cdc_sink.remove_mapping('s', 'q.public.one', keep_position => true);
SELECT topic, next_offset FROM cdc_sink.position ORDER BY topic;
SELECT cdc_sink.remove_mapping('s', 'q.public.one');

DROP EXTENSION cdc_sink CASCADE;
DROP VIEW seen;
DROP TABLE one, two, late, fleeting;
