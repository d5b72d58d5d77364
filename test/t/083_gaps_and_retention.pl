# faults 12, 28, 29: what compaction, aborted transactions and retention leave out causes no false alarm and no stall; how near retention is can be seen.
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
use CdcSink::Transaction;

my $kafka = CdcSink::Kafka->new(
	'log.cleaner.backoff.ms' => 100,
	'log.initial.task.delay.ms' => 100);
$kafka->create_topic('compacted', 1, 'cleanup.policy=compact', 'segment.ms=500', 'min.cleanable.dirty.ratio=0.001', 'min.compaction.lag.ms=0', 'max.compaction.lag.ms=100');
$kafka->create_topic($_, 1) foreach qw(aborted trimmed passed slow);
my $node = new_read_side('gaps');
create_server($node, 'postgres', $kafka->bootstrap);

sub records { my ($v, @ids) = @_; return map { inserted({ id => $_, v => $v }) } @ids; }
sub partition { my ($columns, $topic) = @_; return $node->safe_psql('postgres', "SELECT $columns FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = '$topic'"); }
sub restart { $node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s'); SELECT cdc_sink.enable_subscription('s')"); return; }
sub offsets { return join(' ', qx{kcat -b @{[$kafka->bootstrap]} -C -t $_[0] -e -q -f '%o\n' 2>/dev/null} =~ /\d+/g); }

$node->safe_psql('postgres', "SELECT cdc_sink.create_subscription('s', 'kafka')");
$node->safe_psql('postgres', "CREATE TABLE $_ (id int PRIMARY KEY, v text); SELECT cdc_sink.add_mapping('s', '$_', '$_')") foreach qw(compacted aborted trimmed passed slow);
$kafka->produce('compacted', records('a', 1, 2, 3));
$kafka->produce($_, records('a', 1 .. 10)) foreach qw(trimmed passed);
my $producer = CdcSink::Transaction->new($kafka, 'one');
$producer->transaction('commit', 'aborted', 0, records('a', 1, 2));
ok_caught_up($node, 's', 'the first records arrive');
is(partition("next_offset || ' ' || lag_records", 'aborted'), '3 0', 'a control record at the tail is passed');

# --- aborted at the tail, restart
foreach my $round (1 .. 2)
{
	$producer->transaction('abort', 'aborted', 0, records('aborted', 1 .. 5));
	ok_caught_up($node, 's', "round $round: an aborted transaction at the tail is passed");
	restart();
	ok_caught_up($node, 's', "round $round: and no alarm after a restart");
	is(partition("anchor || ' ' || next_offset", 'aborted'), 'verified ' . (3 + 6 * $round), "round $round: the record before is known again");
}

# --- retention up to the position, and beyond it
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");
$kafka->produce('passed', records('b', 11 .. 15));
$kafka->delete_records('trimmed', 0, 10);
$kafka->delete_records('passed', 0, 13);
# --- compaction takes the last record that was applied: 1 to 3 come again, and a newer segment lets them be cleaned
$kafka->produce('compacted', records('b', 1, 2, 3));
wait_for(sub { $kafka->produce('compacted', records('c', 4)); offsets('compacted') !~ /\b2\b/ }, 'compaction');
unlike(offsets('compacted'), qr/\b[012]\b/, 'the records that were applied are compacted away');
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
wait_for(sub { partition('state_reason', 'passed') eq 'offset_out_of_range' }, 'retention passed the position');
is($node->safe_psql('postgres', "SELECT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'passed'"), 'offset 10 is not in the log, which holds 13 to 15; 3 offsets are gone', 'the error says how many offsets are gone');
is(partition('retention_headroom', 'passed'), '-3', 'so does the view');
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'compacted', 0, 5)"), 't', 'a compacted topic goes on');
is($node->safe_psql('postgres', "SELECT string_agg(v, ' ' ORDER BY id) FROM compacted WHERE id < 4"), 'b b b', 'with what came since');
is(partition('anchor', $_), 'unverified', "$_: the record before is gone") foreach qw(compacted trimmed);
my $log = slurp_file($node->logfile);
like($log, qr/partition 0 of topic "compacted" goes on at offset 3 unverified\n.*The record at offset 2,/, 'the log says so');
like($log, qr/partition 0 of topic "trimmed" goes on at offset 10 unverified\n.*The record at offset 9,/, 'of retention, too');
$kafka->produce('trimmed', records('b', 11, 12));
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'trimmed', 0, 11)"), 't', 'and it goes on');
is($node->safe_psql('postgres', "SELECT anchor_offset FROM cdc_sink.position WHERE topic = 'trimmed'"), '11', 'with a new anchor');

# --- headroom, while running
$kafka->delete_records('trimmed', 0, 11);
wait_for(sub { partition('low_watermark', 'trimmed') eq '11' }, 'the low watermark is learned while nothing comes');
is(partition('retention_headroom', 'trimmed'), '1', 'headroom');
like(partition('retention_interval', 'trimmed'), qr/^\d+:\d\d:/, 'and the time it lasts at this pace');
is(partition('hint', 'trimmed'), '', 'who is not behind is not warned');
$kafka->produce('slow', records('a', 1 .. 10), { key => '{"id": 11}', value => 'no event' }, records('a', 12 .. 300));
wait_for(sub { partition('state_reason', 'slow') eq 'data_error' }, 'a bad record stops the partition');
unlike(slurp_file($node->logfile), qr/retention may overtake/, 'no warning as long as retention has taken nothing');
$kafka->delete_records('slow', 0, 9);
wait_for(sub { slurp_file($node->logfile) =~ /LOG:  retention may overtake subscription "s": partition 0 of topic "slow" is at offset 10, its log holds 9 to 300\n/ }, 'the warning');
pass('a stopped partition that retention comes near is warned of');
is(partition("concat_ws(' ', low_watermark, retention_headroom, lag_records)", 'slow'), '9 1 290', 'and its headroom is seen');

$node->stop('fast');
ok_no_crash($node);
done_testing();
