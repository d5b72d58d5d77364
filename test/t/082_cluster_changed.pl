# fault 17: another Kafka cluster behind the same address stops every partition, also one whose records are the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('cluster');
create_server($node, 'postgres', $kafka->bootstrap);

sub records { my ($n, $v) = @_; return map { { %{ inserted({ id => $_, v => $v }) }, ts => 1_700_000_000_000 + $_ } } 1 .. $n; }

sub states
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(format('%s %s %s', subscription, topic, concat_ws(' ', state, state_reason)), ', ' ORDER BY subscription, topic, partition) FROM cdc_sink.pg_stat_cdc_sink_partition");
}

sub fill
{
	my ($partitions, $n, $v) = @_;
	$kafka->create_topic($_, $partitions) foreach qw(other mirror);
	$kafka->produce('other', records($n, $v));
	$kafka->produce('mirror', map { { %$_, partition => 0 } } records($n, 'same'));
	return;
}

fill(1, 5, 'first');
foreach my $name (qw(runs sleeps))
{
	$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('$name', 'kafka')");
	$node->safe_psql('postgres', "CREATE TABLE ${name}_$_ (id int PRIMARY KEY, v text); SELECT cdc_sink.add_mapping('$name', '$_', '${name}_$_')") foreach qw(other mirror);
	ok_caught_up($node, $name, "$name: the first records arrive");
}
my $cluster = $node->safe_psql('postgres', 'SELECT string_agg(DISTINCT cluster_id, \' \') FROM cdc_sink.position');
like($cluster, qr/^\S+$/, 'positions belong to one cluster');
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('sleeps')");

# --- another cluster with the same topics, more records and more partitions
$kafka->stop;
$kafka = CdcSink::Kafka->new(port => $kafka->port);
fill(2, 8, 'second');
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('sleeps')");
my $want = join(', ', map { ("$_ mirror stopped cluster_changed", "$_ other stopped cluster_changed") } qw(runs sleeps));
my $states;
eval { wait_for(sub { ($states = states()) eq $want }, 'partitions stop') };
is($states, $want, 'all partitions stop, under the running worker and at its start') or diag(show_views($node));
is($node->safe_psql('postgres', join(' UNION ALL ', map { "(SELECT count(*), count(*) FILTER (WHERE v IN ('first', 'same')) FROM ${_})" } qw(runs_other runs_mirror sleeps_other sleeps_mirror))),
	join("\n", ('5|5') x 4), 'nothing of the other cluster is applied');
is($node->safe_psql('postgres', 'SELECT count(*), string_agg(DISTINCT cluster_id, \' \') FROM cdc_sink.position'), "4|$cluster", 'and none of its partitions is taken');
like($node->safe_psql('postgres', "SELECT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE subscription = 'sleeps' AND topic = 'mirror' ORDER BY occurred_at DESC LIMIT 1"),
	qr/^topic "mirror", partition 0 was applied up to offset 5 from Kafka cluster \Q$cluster\E, and now cluster \S+ answers$/, 'the message names both clusters');
like($node->safe_psql('postgres', "SELECT string_agg(DISTINCT hint, ' ') FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 'runs'"),
	qr/bootstrap\.servers.*set_position/, 'the hint says what to do');
wait_for_state($node, $_, qr/^stopped cluster_changed$/) foreach qw(runs sleeps);

# --- the change is meant
$node->safe_psql('postgres', <<'SQL');
SELECT cdc_sink.disable_subscription('sleeps');
SELECT cdc_sink.set_position('sleeps', 'mirror', 0, '5');
SELECT cdc_sink.set_position('sleeps', 'mirror', 1, 'earliest');
SELECT cdc_sink.set_position('sleeps', 'other', NULL, 'earliest');
SELECT cdc_sink.enable_subscription('sleeps');
SQL
ok_caught_up($node, 'sleeps', 'set_position accepts the cluster');
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE v = 'second') FROM sleeps_other UNION ALL SELECT count(*), count(*) FROM sleeps_mirror"), "8|8\n8|8", 'and what is in it arrives');
isnt($node->safe_psql('postgres', "SELECT string_agg(DISTINCT cluster_id, ' ') FROM cdc_sink.position WHERE subscription = 'sleeps'"), $cluster, 'its name is kept now');
is($node->safe_psql('postgres', "SELECT count(*) FROM cdc_sink.position WHERE subscription = 'runs' AND cluster_id = '$cluster'"), '2', 'the other subscription is as it was');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/apply worker ERROR/, 'no worker fell');
ok_no_crash($node);
done_testing();
