# More partitions than shared memory has places for: nobody is told that they are caught up with, and the view says what to raise.
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
my $node = new_read_side('many', "cdc_sink.max_workers = 1\n");
sub sql { return $node->safe_psql('postgres', $_[0]); }
create_server($node, 'postgres', $broker->bootstrap);

# 1024 places and 64 for the worker
$broker->create_topic('a', 1000);
$broker->create_topic('b', 200);
sql(<<'SQL');
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY);
SELECT cdc_sink.create_subscription('s', 'kafka');
SELECT cdc_sink.add_mapping('s', 'a', 'a'), cdc_sink.add_mapping('s', 'b', 'b');
SQL
$broker->produce('b', $_, inserted({ id => $_ })) foreach (0, 199);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM b'), 'records of all partitions are applied');
is(sql("SELECT cdc_sink.wait_for_catchup('s', '5 s')"), 'f', 'but nobody is told that all are caught up with');
wait_for_state($node, 's', qr/^waiting no_partition_slot$/);
like(sql('SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription'), qr/^Shared memory has no place for the states of 112 partitions, .*Increase cdc_sink\.max_workers and restart/, 'the view says which setting to raise');
$node->append_conf('postgresql.conf', "cdc_sink.max_workers = 8\n");
$node->restart;
ok_caught_up($node, 's', 'with it raised all are');
unlike(subscription_state($node, 's'), qr/no_partition_slot/, 'and nothing is left to say of it');

$node->stop('fast');
ok_no_crash($node);
done_testing();
