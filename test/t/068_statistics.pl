# What the worker does to tables is in the server's statistics while it runs, so that autovacuum hears of it; the views bear what a producer writes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Faults;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

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

# --- a producer may write any time into its records; a bad record behind leaves the partition behind
my $offset = 100;
foreach my $ms ('253402300800000', '9223372036854775', '9300000000000000', '9223372036854775807')
{
	$broker->command('timestamp', $ms);
	$broker->produce('items', 0, inserted({ id => 1000 + $offset, n => 1 }), inserted({ id => 0, n => 'none' }));
	ok_stops($node, 'items', 'data_error', qr/^22P02 /, "behind a record of the time $ms");
	wait_for(
		sub {
			# refused, for it is stopped; but the worker learns the end
			$node->psql('postgres', "SELECT cdc_sink.wait_for_catchup('s')");
			return $node->safe_psql('postgres', 'SELECT end_offset - next_offset FROM cdc_sink.pg_stat_get_cdc_sink_partition()') eq '1';
		},
		'the end is known');
	is($node->safe_psql('postgres', 'SELECT lag_records, lag_interval FROM cdc_sink.pg_stat_cdc_sink_partition'), '1|', 'the views work, and calculate with no such time');
	$offset += 2;
	$node->safe_psql('postgres', "SELECT cdc_sink.skip_record('s', 'items', 0, $offset - 1)");
	ok_caught_up($node, 's', 'and it goes on');
}
$broker->command('timestamp', 0);
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal/, 'no process crashed');
unlike($log, qr/reinitializing/, 'the server was not restarted');
$node->stop;
done_testing();
