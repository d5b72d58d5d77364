# faults 13, 15: a topic that was created anew while nobody looked stops its partitions, whatever it holds, and nothing of it is applied.
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

# topic => partitions before, partitions and records a partition after
my %topics = (
	fewer => [ 1, 1, 3 ],
	one_fewer => [ 1, 1, 4 ],
	equal => [ 1, 1, 5 ],
	more => [ 1, 1, 8 ],
	grown => [ 1, 2, 8 ],
	shrunk => [ 2, 1, 8 ]);
my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('recreated');
create_server($node, 'postgres', $kafka->bootstrap);

sub records
{
	my ($partitions, $n, $v) = @_;
	return map {
		my $p = $_;
		map { { %{ inserted({ id => $p * 1000 + $_, v => $v }) }, partition => $p } } 1 .. $n
	} 0 .. $partitions - 1;
}

sub states
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(format('%s %s %s', topic, partition, concat_ws(' ', state, state_reason)), ', ' ORDER BY topic, partition) FROM cdc_sink.pg_stat_cdc_sink_partition");
}

$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('s', 'kafka')");
foreach my $topic (sort(keys %topics), 'untouched')
{
	my ($partitions) = @{ $topics{$topic} // [1] };
	$kafka->recreate_topic($topic, $partitions, records($partitions, 5, 'old'));
	$node->safe_psql('postgres', "CREATE TABLE $topic (id int PRIMARY KEY, v text); SELECT cdc_sink.add_mapping('s', '$topic', '$topic')");
}
ok_caught_up($node, 's', 'the first records arrive');
is($node->safe_psql('postgres', 'SELECT count(*), count(anchor_offset), count(anchor_hash), count(anchor_ts), count(cluster_id), bool_and(anchor_offset = next_offset - 1) FROM cdc_sink.position'),
	'8|8|8|8|8|t', 'each position has its anchor and its cluster');
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");

# --- nothing happened: nothing is said
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'the same topics are caught up with after a restart');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT anchor, ' ') FROM cdc_sink.pg_stat_cdc_sink_partition"), 'verified', 'and known again');
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");

$kafka->recreate_topic($_, $topics{$_}[1], records($topics{$_}[1], $topics{$_}[2], 'new')) foreach sort keys %topics;
$kafka->produce('untouched', records(1, 1, 'newer'));

# --- by hand
my ($code, $out, $err) = $node->psql('postgres', "CALL cdc_sink.run_batches('s')");
like($err, qr/ERROR:  partition \d of topic "\w+" is stopped at offset \d+: .*(another record|is not in the log)/, 'run_batches notices');

# --- by the worker
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
my $want = join(', ',
	'equal 0 stopped topic_recreated',
	'fewer 0 stopped offset_out_of_range',
	'grown 0 stopped topic_recreated',
	'grown 1 stopped topic_recreated',
	'more 0 stopped topic_recreated',
	'one_fewer 0 stopped offset_out_of_range',
	'shrunk 0 stopped topic_recreated',
	'shrunk 1 stopped topic_recreated',
	'untouched 0 streaming');
my $states;
eval { wait_for(sub { ($states = states()) eq $want }, 'partitions stop') };
is($states, $want, 'every partition of a topic created anew stops, the other topic goes on');
($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.wait_for_catchup('s', '20 s')");
like($err, qr/is stopped\nDETAIL:  State: stopped, reason: (topic_recreated|offset_out_of_range)\./, 'who waits learns it');
is($node->safe_psql('postgres', join(' UNION ALL ', map { "(SELECT id, v FROM $_ WHERE v <> 'old')" } sort keys %topics)), '', 'nothing of the new topics is applied');
is($node->safe_psql('postgres', 'SELECT v FROM untouched WHERE id = 1'), 'newer', 'what came to the other topic is');
my %errors = map { split(/\t/, $_, 2) } split(/\n/, $node->safe_psql('postgres', <<'SQL'));
SELECT DISTINCT format(E'%s %s\t%s', topic, partition, message) FROM cdc_sink.pg_stat_cdc_sink_error
SQL
like($errors{'more 0'}, qr/^topic "more", partition 0 has at offset 4 another record than the one that was applied \(of 20\S+ \S+, now of 20\S+ \S+\)$/, 'the message names what was found');
is($errors{'fewer 0'}, 'offset 5 is not in the log, which holds 0 to 3: 2 offsets that were applied are not there, the topic was created anew or truncated', 'how much is missing');
is($errors{'one_fewer 0'}, 'offset 5 is not in the log, which holds 0 to 4: 1 offsets that were applied are not there, the topic was created anew or truncated', 'one, too');
is($errors{'shrunk 1'}, 'topic "shrunk" has 1 partitions now, and partition 1 is not among them', 'and what partition is gone');
is($node->safe_psql('postgres', q(SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE state_reason = 'topic_recreated' AND hint NOT LIKE 'The topic was created anew%set_position(''s'', ''' || topic || ''', NULL, ''earliest'')%enable_subscription(''s'').')),
	'0', 'the hint says what to do');

# --- enabling alone changes nothing
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
eval { wait_for(sub { ($states = states()) eq $want }, 'partitions stop again') };
is($states, $want, 'they stay stopped');

# --- as the hint says
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");
$node->safe_psql('postgres', "SELECT cdc_sink.set_position('s', '$_', NULL, 'earliest')") foreach sort keys %topics;
is($node->safe_psql('postgres', q(SELECT count(*), count(anchor_offset), count(cluster_id) FROM cdc_sink.position WHERE topic <> 'untouched')), '7|0|0', 'set_position forgets anchors, cluster, and the partition that is gone');
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'set_position repairs it');
is($node->safe_psql('postgres', join(' UNION ALL ', map { "(SELECT '$_', count(*) FROM $_ WHERE v = 'new')" } sort keys %topics)),
	"equal|5\nfewer|3\ngrown|16\nmore|8\none_fewer|4\nshrunk|8", 'all of the new topics is there');
wait_for_state($node, 's', qr/^streaming$/);
is($node->safe_psql('postgres', q(SELECT count(*) FROM cdc_sink.position WHERE anchor_offset = next_offset - 1 AND cluster_id IS NOT NULL)), '8', 'with new anchors');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/apply worker ERROR/, 'no worker fell');
ok_no_crash($node);
done_testing();
