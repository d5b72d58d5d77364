# What the worker does to tables is in the server's statistics while it runs, so that autovacuum hears of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('statistics');
create_server($node, 'postgres', $broker->bootstrap);
$broker->create_topic('items', 1);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE items (id int PRIMARY KEY, n int, v text);
SELECT cdc_sink.create_subscription('s', 'kafka');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SQL
$broker->produce('items', 0, map { inserted({ id => $_, n => $_, v => 'x' }) } 1 .. 100);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 100 FROM items'), 'the rows are there');
ok( $node->poll_query_until('postgres', "SELECT n_tup_ins = 100 FROM pg_stat_user_tables WHERE relname = 'items'"),
	'and the statistics of the table know, while the worker runs');
is($node->safe_psql('postgres', "SELECT n_tup_ins FROM cdc_sink.pg_stat_cdc_sink_table WHERE relation = 'items'::regclass"),
	100, 'as do those of the subscription');
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal/, 'no process crashed');
unlike($log, qr/reinitializing/, 'the server was not restarted');
$node->stop;
done_testing();
