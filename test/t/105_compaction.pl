# Fault 29: a compacted topic has gaps, and tombstones go in time; neither stalls nor raises an alarm, and what is there is applied.
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

my $kafka = CdcSink::Kafka->new('log.cleaner.backoff.ms' => 200, 'log.cleaner.min.cleanable.ratio' => 0.01, 'log.initial.task.delay.ms' => 100);
$kafka->create_topic('items', 1, 'cleanup.policy=compact', 'segment.ms=500', 'min.cleanable.dirty.ratio=0.01', 'delete.retention.ms=500', 'max.compaction.lag.ms=500');
my $node = new_read_side('compaction');
create_server($node, 'postgres', $kafka->bootstrap);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE early (id int PRIMARY KEY, v int);
CREATE TABLE late (id int PRIMARY KEY, v int);
SELECT cdc_sink.create_subscription('early', 'kafka');
SELECT cdc_sink.add_mapping('early', 'items', 'early');
SELECT cdc_sink.create_subscription('late', 'kafka', enabled => false);
SELECT cdc_sink.add_mapping('late', 'items', 'late');
SQL

sub offsets { return qx{kcat -b @{[$kafka->bootstrap]} -C -t items -e -q -f '%o ' 2>/dev/null} =~ s/ $//r; }
sub rows { my $table = shift; return $node->safe_psql('postgres', "SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM $table"); }
sub next_offset { my $name = shift; return $node->safe_psql('postgres', "SELECT next_offset FROM cdc_sink.position WHERE subscription = '$name'"); }

# ten versions of three rows, one of which is deleted then
$kafka->produce('items', map { my $v = $_; map { updated({ id => $_, v => $v }) } 1 .. 3 } 1 .. 10);
$kafka->produce('items', deleted({ id => 3, v => 10 }), tombstone(3));
ok_caught_up($node, 'early', 'before the log is compacted');
is(rows('early'), '1 10, 2 10', 'early: all is there');
is(next_offset('early'), 32, 'early: the position');

# only the active segment is never compacted: records that come later close the one before. The tombstone goes last.
my $more = 0;
wait_for(
	sub {
		$kafka->produce('items', inserted({ id => 100, v => ++$more }));
		return offsets() !~ /\b(?:2[0-6]|29|30|31)\b/;
	},
	'compaction takes old versions and the tombstone');
my @left = split / /, offsets();
cmp_ok(scalar(@left), '<', 32 + $more, 'fault 29: the log has gaps: ' . scalar(@left) . ' records up to offset ' . $left[-1]);
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('late')");
ok_caught_up($node, $_, "fault 29: $_: gaps stall nobody") foreach qw(early late);
my $end = 32 + $more;
is(next_offset($_), $end, "fault 29: $_: the position is at the end") foreach qw(early late);
is(rows($_), "1 10, 2 10, 100 $more", "fault 29: $_: the rows are those of the source") foreach qw(early late);
is($node->safe_psql('postgres', 'SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_error'), '0', 'fault 29: nobody is alarmed');

# --- a position in a gap, and one whose record is gone
foreach my $at (1, 20, 31)
{
	$node->safe_psql('postgres', <<SQL);
SELECT cdc_sink.disable_subscription('late');
SELECT cdc_sink.set_position('late', 'items', 0, '$at');
SELECT cdc_sink.enable_subscription('late');
SQL
	ok_caught_up($node, 'late', "fault 29: from offset $at, which is in a gap");
	is(rows('late'), "1 10, 2 10, 100 $more", "fault 29: from offset $at: the same rows");
}

# --- a delete that was compacted away before it was read cannot be seen: the lag is what tells, while there is time
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE late IN SHARE MODE;');
$kafka->produce('items', inserted({ id => 101, v => 1 }));
ok_caught_up($node, 'early', 'early reads on');
my $lag = "FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 'late'";
ok($node->poll_query_until('postgres', "SELECT lag_records = 1 AND lag_interval > '1 second' $lag"), 'fault 29: the view tells the lag');
$session->query_safe('COMMIT;');
$session->quit;
ok_caught_up($node, 'late', 'late reads on');
is($node->safe_psql('postgres', "SELECT lag_records, lag_interval $lag"), '0|00:00:00', 'fault 29: and that there is none');

$node->stop('fast');
ok_no_crash($node);
done_testing();
