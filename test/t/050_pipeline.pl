# The real pipeline: what happens on the writer appears on the read side, through Debezium, Kafka Connect and Kafka.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;

my $tables = <<'SQL';
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email varchar(120), balance numeric(12,2) NOT NULL DEFAULT 0);
CREATE TABLE lines (order_id bigint, line smallint, sku char(8) NOT NULL, attrs jsonb, at timestamptz, PRIMARY KEY (order_id, line));
SQL
my $customers = 'SELECT * FROM customers ORDER BY id';
my $lines = 'SELECT * FROM lines ORDER BY order_id, line';

my $kafka = CdcSink::Kafka->new;
$kafka->start_connect;
my $writer = new_writer();
$writer->safe_psql('postgres', $tables . "INSERT INTO customers VALUES (1, 'before the snapshot');");
$kafka->add_connector('shop', $writer, 'skipped.operations' => 'none', 'table.include.list' => 'public.customers,public.lines');

my $read = new_read_side();
create_server($read, 'postgres', $kafka->bootstrap);
$read->safe_psql('postgres', $tables . <<'SQL');
SELECT cdc_sink.create_subscription('shop', 'kafka');
SELECT cdc_sink.add_mapping('shop', 'shop.public.customers', 'public.customers');
SELECT cdc_sink.add_mapping('shop', 'shop.public.lines', 'public.lines');
SQL
ok_same_rows($writer, $read, $customers, 'rows of the snapshot arrive');

$writer->safe_psql('postgres', <<'SQL');
INSERT INTO customers VALUES (2, 'Alice', 'alice@example.com', 100.00), (3, 'Bob', NULL, -0.01), (4, 'Łukasz "Lu" O''Neil', '', 9999999999.99);
INSERT INTO lines SELECT o, l, 'sku ' || o, jsonb_build_object('o', o, 'l', l), timestamptz '2024-02-29 12:00:00+00' + o * interval '1 s'
  FROM generate_series(1, 50) o, generate_series(1, 4) l;
SQL
ok_same_rows($writer, $read, $customers, 'inserts arrive');
ok_same_rows($writer, $read, $lines, 'inserts of a composite key arrive');

$writer->safe_psql('postgres', "UPDATE customers SET balance = balance - 1.5, email = NULL WHERE id <> 3; UPDATE lines SET attrs = NULL WHERE line = 2");
ok_same_rows($writer, $read, $customers, 'updates arrive');
ok_same_rows($writer, $read, $lines, 'updates to NULL arrive');

$writer->safe_psql('postgres', 'DELETE FROM customers WHERE id = 2; DELETE FROM lines WHERE order_id % 3 = 0');
ok_same_rows($writer, $read, $customers, 'deletes arrive');
ok_same_rows($writer, $read, $lines, 'deletes of a composite key arrive');

$writer->safe_psql('postgres', 'UPDATE customers SET id = 40 WHERE id = 4; UPDATE lines SET order_id = order_id + 1000 WHERE line = 1');
ok_same_rows($writer, $read, $customers, 'a new key is a new row without the old one');
ok_same_rows($writer, $read, $lines, 'new keys of many rows arrive');

$writer->safe_psql('postgres', "TRUNCATE customers; INSERT INTO customers VALUES (5, 'after the truncate')");
ok_same_rows($writer, $read, $customers, 'a truncate arrives, and what follows it');

# the read side is away while the writer goes on
$read->stop('fast');
$writer->safe_psql('postgres', "INSERT INTO customers SELECT i, 'while away ' || i FROM generate_series(100, 199) i");
$read->start;
ok_same_rows($writer, $read, $customers, 'after a restart of the read side it follows from where it was');

$read->stop('immediate');
$writer->safe_psql('postgres', "UPDATE customers SET name = name || '!' WHERE id > 150");
$read->start;
ok_same_rows($writer, $read, $customers, 'after a crash of the read side it follows from where it was');

# the broker is away: nothing is lost and nobody helps
$kafka->stop;
wait_for_state($read, 'shop', qr/^retrying/);
$writer->safe_psql('postgres', 'DELETE FROM customers WHERE id BETWEEN 120 AND 130');
$kafka->start;
ok_same_rows($writer, $read, $customers, 'after a restart of the broker it follows by itself');
ok_caught_up($read, 'shop', 'wait_for_catchup says so');

# a second subscription takes the whole history, each event once
$read->safe_psql('postgres', <<'SQL');
CREATE TABLE history (id int, name text, email text, balance numeric, __op text, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('history', 'kafka', options => '{"batch_rows": 7}');
SELECT cdc_sink.add_mapping('history', 'shop.public.customers', 'public.history', options => '{"mode": "append"}');
SQL
ok_caught_up($read, 'history', 'the second subscription caught up');
my $records = $kafka->count_records('shop.public.customers');
my $others = qx{kcat -b @{[$kafka->bootstrap]} -C -t shop.public.customers -e -q -Z -f '%s\n' | grep -c -e '^NULL\$' -e '"op":"t"'};
is($read->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (__partition, __offset)) FROM history'),
	($records - $others) . '|' . ($records - $others), 'append mode holds each event once, without tombstones and truncates');

$kafka->remove_connector('shop', $writer);
$read->stop('fast');
ok_no_crash($read, stops => 1);
$writer->stop;
done_testing();
