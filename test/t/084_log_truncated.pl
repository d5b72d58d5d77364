# fault 11: a broker that lost the tail of its log stops the partition, also where the log has grown past the position again.
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

my @topics = qw(cut kept regrown);
my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('truncated');
create_server($node, 'postgres', $kafka->bootstrap);

sub records { my ($v, @ids) = @_; return map { inserted({ id => $_, v => $v }) } @ids; }

sub states
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(format('%s %s %s', subscription, topic, concat_ws(' ', state, state_reason)), ', ' ORDER BY subscription, topic) FROM cdc_sink.pg_stat_cdc_sink_partition");
}

foreach my $topic (@topics)
{
	$kafka->create_topic($topic, 1);
	$kafka->produce($topic, records('old', 1 .. 5));
	$kafka->produce($topic, records('old', 6 .. 8));
}
foreach my $name (qw(runs sleeps))
{
	$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('$name', 'kafka')");
	$node->safe_psql('postgres', "CREATE TABLE ${name}_$_ (id int PRIMARY KEY, v text); SELECT cdc_sink.add_mapping('$name', '$_', '${name}_$_')") foreach @topics;
	ok_caught_up($node, $name, "$name: the first records arrive");
}
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('sleeps')");

$kafka->stop('KILL');
$kafka->cut_log($_, 0, 1) foreach qw(cut regrown);
# nobody reads before the log has grown again: as when another broker became the leader
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'");
$node->safe_psql('postgres', "ALTER SYSTEM SET cdc_sink.enabled = off; ");
$node->reload;
$kafka->start;
$kafka->produce('regrown', records('new', 6 .. 12));
$kafka->produce('kept', records('new', 9));
$node->safe_psql('postgres', 'ALTER SYSTEM RESET cdc_sink.enabled');
$node->reload;
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('sleeps')");

my $want = join(', ', map { ("$_ cut stopped offset_out_of_range", "$_ kept streaming", "$_ regrown stopped topic_recreated") } qw(runs sleeps));
my $states;
eval { wait_for(sub { ($states = states()) eq $want }, 'partitions stop') };
is($states, $want, 'partitions that lost their tail stop, the other one goes on') or diag(show_views($node));
is($node->safe_psql('postgres', join(' UNION ALL ', map { ("(SELECT count(*), count(*) FILTER (WHERE v = 'old') FROM ${_}_cut)", "(SELECT count(*), count(*) FILTER (WHERE v = 'old') FROM ${_}_regrown)") } qw(runs sleeps))),
	join("\n", ('8|8') x 4), 'nothing that was written instead is applied');
is($node->safe_psql('postgres', "SELECT DISTINCT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'cut'"),
	'offset 8 is not in the log, which holds 0 to 5: 3 offsets that were applied are not there, the topic was created anew or truncated', 'the message says how much is missing');
like($node->safe_psql('postgres', "SELECT DISTINCT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'regrown'"),
	qr/^topic "regrown", partition 0 has at offset 7 another record than the one that was applied/, 'and what was found');

# --- from before the cut, by hand
$node->safe_psql('postgres', <<'SQL');
SELECT cdc_sink.disable_subscription('runs');
SELECT cdc_sink.set_position('runs', 'cut', 0, '5');
SELECT cdc_sink.set_position('runs', 'regrown', 0, '5');
SELECT cdc_sink.enable_subscription('runs');
SQL
ok_caught_up($node, 'runs', 'set_position repairs it');
is($node->safe_psql('postgres', "SELECT string_agg(v, ' ' ORDER BY id) FROM runs_regrown"), join(' ', ('old') x 5, ('new') x 7), 'with what is in the log now');

$node->stop('fast');
ok_no_crash($node);
done_testing();
