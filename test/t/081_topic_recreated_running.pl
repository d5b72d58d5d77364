# faults 13, 14, 15: a topic that is created anew under a running worker stops it, however quickly that goes, and nothing of the new one is applied.
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
use CdcSink::Proxy;

my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('recreated');
create_server($node, 'postgres', $kafka->bootstrap);

sub records { my ($n, $v) = @_; return map { inserted({ id => $_, v => $v }) } 1 .. $n; }

# topic => partitions and records after; there are five of them before, in two partitions of "shrunk" and one of the others
my %topics = (fewer => [ 1, 2 ], equal => [ 1, 5 ], more => [ 1, 7 ], many => [ 1, 400 ], shrunk => [ 1, 9 ], grown => [ 3, 9 ]);
$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('s', 'kafka', options => '{\"workers\": 2}')");
foreach my $topic (sort(keys %topics), 'untouched', 'deleted')
{
	$kafka->recreate_topic($topic, $topic eq 'shrunk' ? 2 : 1, map { { %$_, partition => 0 } } records(5, 'old'));
	$node->safe_psql('postgres', "CREATE TABLE $topic (id int PRIMARY KEY, v text); SELECT cdc_sink.add_mapping('s', '$topic', '$topic')");
}
ok_caught_up($node, 's', 'the first records arrive');
wait_for_state($node, 's', qr/^streaming$/);

# --- a broker that comes back is the same
$kafka->restart('KILL');
$kafka->produce('untouched', records(1, 'newer'));
ok_caught_up($node, 's', 'after the broker was restarted, all goes on');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT anchor, ' ') FROM cdc_sink.pg_stat_cdc_sink_partition WHERE anchor IS NOT NULL"), 'verified', 'having looked');
is($node->safe_psql('postgres', "SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_error WHERE disposition = 'stop'"), '0', 'without a stop');

$kafka->recreate_topic($_, $topics{$_}[0], records($topics{$_}[1], 'new')) foreach sort keys %topics;
foreach my $topic (sort keys %topics)
{
	my $state = '';
	eval {
		wait_for(
			sub {
				$state = $node->safe_psql('postgres', "SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = '$topic' AND partition = 0");
				return $state =~ /^stopped/;
			},
			"$topic stops");
	};
	like($state, $topic eq 'fewer' ? qr/^stopped offset_out_of_range$/ : qr/^stopped (topic_recreated|offset_out_of_range)$/, "$topic stops")
	  or diag(show_views($node));
	is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE v = 'old'), count(*) FROM $topic"), '5|5', "nothing of the new $topic is applied");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM cdc_sink.position WHERE next_offset <> CASE WHEN topic = 'untouched' THEN 6 WHEN partition > 0 THEN 0 ELSE 5 END"), '0', 'no position moved');
$kafka->produce('untouched', records(2, 'newest'));
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'untouched', 0, 7)"), 't', 'the other topic goes on');

# --- what was read before is applied, with its position, and only then the partition stops
$kafka->recreate_topic('locked', 1, records(5, 'old'));
$node->safe_psql('postgres', "CREATE TABLE locked (id int PRIMARY KEY, v text); SELECT cdc_sink.create_subscription('l', 'kafka'); SELECT cdc_sink.add_mapping('l', 'locked', 'locked')");
ok_caught_up($node, 'l', 'the first records arrive');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE locked');
$kafka->produce('locked', map { inserted({ id => $_, v => 'read' }) } 6 .. 25);
wait_for_state($node, 'l', qr/^waiting lock$/);
$kafka->recreate_topic('locked', 1, records(3, 'new'));
wait_for(sub { $node->safe_psql('postgres', "SELECT anchor IS NULL FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'locked'") eq 't' }, 'the worker sees that nothing more can come');
$session->query_safe('COMMIT');
$session->quit;
wait_for_state($node, 'l', qr/^stopped offset_out_of_range$/);
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE v = 'new'), max(next_offset) FROM locked, cdc_sink.position p WHERE p.topic = 'locked'"), '25|0|25', 'what was read of the old topic is applied, and the position with it');

# --- the worker is busy while the topic is exchanged: its client sees one failed fetch, and the next brings records of the new topic, before it looks
my $proxy = CdcSink::Proxy->new($kafka->bootstrap);
sub to_clients { return (split / /, $proxy->command('stats'))[2]; }
$kafka->recreate_topic('busy', 1, records(5, 'old'));
$node->safe_psql('postgres', qq{CREATE SERVER proxied FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}');
	CREATE TABLE busy (id int PRIMARY KEY, v text);
	CREATE FUNCTION work() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.05); END LOOP; RETURN new; END \$\$;
	CREATE TRIGGER work BEFORE INSERT ON busy FOR EACH ROW EXECUTE FUNCTION work();
	ALTER TABLE busy ENABLE ALWAYS TRIGGER work;
	SELECT cdc_sink.create_subscription('b', 'proxied'); SELECT cdc_sink.add_mapping('b', 'busy', 'busy')});
ok_caught_up($node, 'b', 'the first records arrive');
$session = $node->background_psql('postgres');
$session->query_safe('SELECT pg_advisory_lock(1)');
$kafka->produce('busy', map { inserted({ id => $_, v => 'read' }) } 6 .. 25);
wait_for(sub { $node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND wait_event = 'PgSleep')) eq '1' }, 'the worker is busy');
foreach (1 .. 3)
{
	my $before = to_clients();
	wait_for(sub { to_clients() > $before }, 'an answer without records: the end of what there is stands in the queue');
}
my $bytes = to_clients();
$proxy->command('delay', 2000);
$kafka->recreate_topic('busy', 1, map { inserted({ id => $_, v => 'new' x 100 }) } 1 .. 400);
$proxy->command('pass');
wait_for(sub { to_clients() - $bytes > 300 * 300 }, 'the client has records of the new topic');
$session->quit;
wait_for_state($node, 'b', qr/^stopped topic_recreated$/);
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE v LIKE 'new%'), max(next_offset) FROM busy, cdc_sink.position p WHERE p.topic = 'busy'"), '25|0|25', 'nothing of it is applied');

# --- deleted, not made anew: waiting, and nothing is lost when it comes back with another beginning
$kafka->drop_topic('deleted');
wait_for(sub { $node->safe_psql('postgres', "SELECT string_agg(state_reason, ' ') FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'deleted'") eq 'topic_missing'
	  || $node->safe_psql('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'") eq 't' }, 'the worker lives');
$kafka->create_topic('deleted', 1);
$kafka->produce('deleted', records(3, 'new'));
wait_for(sub { $node->safe_psql('postgres', "SELECT state_reason FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'deleted'") =~ /^(offset_out_of_range|topic_recreated)$/ }, 'deleted stops');
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE v = 'old'), count(*) FROM deleted"), '5|5', 'nothing of a topic that was away for a while is applied');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/apply worker ERROR/, 'no worker fell');
ok_no_crash($node);
done_testing();
