# faults 12, 13: a position that the log does not hold stops its partition, or goes on at the earliest record where the option says so.
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

# retention takes segments of 1 MB away as soon as it can
my $kafka = CdcSink::Kafka->new(
	'log.retention.check.interval.ms' => 300,
	'log.initial.task.delay.ms' => 300,
	'log.segment.delete.delay.ms' => 100);
$kafka->create_topic('items', 2, 'segment.bytes=1048576', 'retention.bytes=1048576');
$kafka->create_topic('short', 1);
my $node = new_read_side('range');
create_server($node, 'postgres', $kafka->bootstrap);

sub put
{
	my ($topic, $partition, $length, @ids) = @_;
	$kafka->produce($topic, map { { %{ inserted({ id => $_, v => 'v' x $length }) }, partition => $partition } } @ids);
	return;
}

sub low_watermark
{
	my $out = qx{kcat -b @{[$kafka->bootstrap]} -Q -t items:0:-2};
	return $out =~ /offset (\d+)/ ? $1 : 0;
}

sub states
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(concat_ws(' ', state, state_reason), ', ' ORDER BY topic, partition) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = '$_[0]'");
}

put('items', $_, 10, $_ * 1000 + 1 .. $_ * 1000 + 5) foreach 0, 1;
put('short', 0, 10, 1 .. 10);
foreach my $subscription ([ 'stops', '{}' ], [ 'goes_on', '{"on_offset_out_of_range": "earliest"}' ])
{
	my ($name, $options) = @$subscription;
	$node->safe_psql('postgres', <<SQL);
CREATE TABLE items_$name (id int PRIMARY KEY, v text);
CREATE TABLE short_$name (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('$name', 'kafka', options => '$options');
SELECT cdc_sink.add_mapping('$name', 'items', 'items_$name');
SELECT cdc_sink.add_mapping('$name', 'short', 'short_$name');
SQL
	ok_caught_up($node, $name, "$name: the first records arrive");
	$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('$name')");
}

# --- the log goes on without us: one partition loses its beginning, one topic is made anew and is shorter
put('items', 0, 20_000, 10 + $_ * 50 .. 59 + $_ * 50) foreach 0 .. 5;
put('items', 1, 10, 1006 .. 1010);
wait_for(sub { low_watermark() > 5 }, 'retention');
$kafka->drop_topic('short');
wait_for(sub { system("kcat -b @{[$kafka->bootstrap]} -L -t short 2>&1 | grep -q 'Unknown topic'") == 0 }, 'the topic is gone');
$kafka->create_topic('short', 1);
put('short', 0, 10, 21 .. 23);

$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('stops')");
wait_for(sub { states('stops') eq 'stopped offset_out_of_range, streaming, stopped offset_out_of_range' }, 'partitions stop');
pass('positions below and beyond the log stop their partitions, the other one goes on');
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('stops', 'items', 1, 9)"), 't', 'and can be waited for');
is($node->safe_psql('postgres', 'SELECT count(*) FROM items_stops WHERE id > 1000'), '10', 'with all its records');
my $errors = $node->safe_psql('postgres', <<'SQL');
SELECT string_agg(format('%s/%s@%s %s %s: %s', topic, partition, "offset", sqlstate, disposition, message), E'\n' ORDER BY topic)
FROM cdc_sink.pg_stat_cdc_sink_error WHERE subscription = 'stops'
SQL
my ($low) = $errors =~ /holds (\d+) to 305/;
$low //= 0;
is($errors, "items/0\@5 22023 stop: offset 5 is not in the log, which holds $low to 305; " . ($low - 5) . " offsets are gone\n"
	  . 'short/0@10 22023 stop: offset 10 is not in the log, which holds 0 to 3: 7 offsets that were applied are not there, the topic was created anew or truncated', 'the errors say what is gone');
is($node->safe_psql('postgres', <<'SQL'), '2|2', 'and what to do');
SELECT count(*), count(*) FILTER (WHERE hint LIKE '%set_position(''stops'', %''earliest'')%') FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = 'stops' AND state = 'stopped'
SQL
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT cdc_sink.wait_for_catchup('stops', '20 s')");
like($err, qr/55000: .*\nDETAIL:  State: stopped, reason: offset_out_of_range\.\nHINT:/, 'who waits learns it');

# --- as the hint says
$node->safe_psql('postgres', <<'SQL');
SELECT cdc_sink.disable_subscription('stops');
SELECT cdc_sink.set_position('stops', 'items', 0, 'earliest');
SELECT cdc_sink.set_position('stops', 'short', NULL, 'earliest');
SQL
my %low = (stops => $node->safe_psql('postgres', "SELECT next_offset FROM cdc_sink.position WHERE subscription = 'stops' AND topic = 'items' AND partition = 0"));
cmp_ok($low{stops}, '>=', $low, 'set_position goes to the beginning of the log');
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('stops')");
ok_caught_up($node, 'stops', 'set_position repairs it');

# --- earliest
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('goes_on')");
ok_caught_up($node, 'goes_on', 'with on_offset_out_of_range earliest it goes on by itself');
($low{goes_on}) = slurp_file($node->logfile) =~ /partition 0 of topic "items" goes on at its earliest offset (\d+) instead of 5/;
ok($low{goes_on}, 'the log says so');
foreach my $name (qw(stops goes_on))
{
	is($node->safe_psql('postgres', "SELECT string_agg(next_offset::text, ' ' ORDER BY topic, partition) FROM cdc_sink.position WHERE subscription = '$name'"), '305 10 3', "$name: to the ends");
	is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE id < 10), count(*) FILTER (WHERE id >= 10 AND id < 1000), count(*) FILTER (WHERE id > 1000) FROM items_$name"),
		'5|' . (305 - $low{$name}) . '|10', "$name: with what the log holds");
	is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE id < 20), count(*) FILTER (WHERE id > 20) FROM short_$name"), '10|3', "$name: of the topic made anew, too");
}

# --- a subscription that comes when the beginning has gone
my $lines = -s $node->logfile;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE items_late (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('late', 'kafka');
SELECT cdc_sink.add_mapping('late', 'items', 'items_late');
SQL
ok_caught_up($node, 'late', 'a new subscription takes what is there');
my @shortened = slurp_file($node->logfile, $lines) =~ /subscription "late" begins partition (\d) of topic "items" at offset (\d+): its log holds nothing before/g;
is(scalar @shortened, 2, 'and the log says once that the beginning is missing');
ok($shortened[0] == 0 && $shortened[1] >= $low{goes_on}, 'of the partition that has lost it');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/apply worker ERROR/, 'no worker fell');
ok_no_crash($node);
done_testing();
