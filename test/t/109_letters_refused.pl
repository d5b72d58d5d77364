# Many dead letters that the library refuses to send do not hold up the records that are applied.
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
my $node = new_read_side('refused');
create_server($node, 'postgres', $broker->bootstrap);
sub sql { return $node->safe_psql('postgres', $_[0]); }
$broker->create_topic('items', 1);
$broker->command('topic_error', 'letters', 3);
sql(q(CREATE TABLE items (id int PRIMARY KEY);
	SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"dead_letter_topic": "letters"}'); SELECT cdc_sink.add_mapping('s', 'items', 'items')));
$broker->produce('items', 0, inserted({ id => 0 }));
ok_caught_up($node, 's', 'a record comes');
sql(q(INSERT INTO cdc_sink.dead_letter (subscription, topic, partition, "offset", value, headers, message, status, unpublished)
	SELECT 's', 'items', 0, -n, 'x', '[]', 'by hand', 'skipped', true FROM generate_series(1, 60000) AS n;
	ANALYZE cdc_sink.dead_letter;
	SELECT cdc_sink.alter_subscription('s', options => '{"batch_rows": 500}')));
ok($node->poll_query_until('postgres', q(SELECT hint ~ 'Dead letters wait.*Local: Unknown topic' FROM cdc_sink.pg_stat_cdc_sink_subscription)), 'the letters cannot be published');

# from now on the library refuses each at once; a new round begins
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"batch_rows": 501}')));
sub letters_read { return sql(q(SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_all_tables WHERE relid = 'cdc_sink.dead_letter'::regclass)); }
my $before = letters_read();
foreach my $id (1 .. 8)
{
	sleep(1);
	$broker->produce('items', 0, inserted({ id => $id }));
	is(sql("SELECT cdc_sink.wait_for_offset('s', 'items', 0, $id)"), 't', 'a record is applied');
}
cmp_ok(letters_read() - $before, '<', 20_000, 'meanwhile the worker has not read all 60000 letters again and again');

$node->stop('fast');
ok_no_crash($node);
done_testing();
