# Faults 23, 26, 27 of what a broker sends: answers too big, broken checksums, unknown compression and formats, and noise. The partition stops with
# its offset, or the answer is asked for again; nothing wrong is applied, and with a sound answer all goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for);
use CdcSink::Proxy;
use CdcSink::Workers;

my $seed = $ENV{CDC_SINK_SEED} // time();
note("CDC_SINK_SEED=$seed");

my $kafka = CdcSink::Kafka->new;
my $proxy = CdcSink::Proxy->new($kafka->bootstrap);
my $node = new_read_side('mangled', "restart_after_crash = on\n");
create_server($node, 'postgres', $proxy->bootstrap);
my $oracle = CdcSink::Oracle->new($node, $kafka);
my ($rows, $log) = $oracle->subscriptions;
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));

# --- bigger than the client takes
$proxy->command('mangle', 'big');
$oracle->produce(20);
wait_for_state($node, $_, qr/^retrying oversized_response$/) foreach $rows, $log;
like($node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$rows'"), qr/receive\.message\.max\.bytes/, 'fault 23: the view tells the limit');
$proxy->command('pass');
$oracle->ok_clean('fault 23: an answer bigger than the limit');

# --- batches that cannot be right
foreach my $how ([ 'crc', 'a wrong checksum' ], [ 'codec', 'an unknown compression' ], [ 'magic', 'an unknown format' ])
{
	my ($name, $title) = @$how;
	my ($seen, $at) = ($oracle->seen, scalar @{ $oracle->{produced}[0] });
	$proxy->command('mangle', $name);
	$oracle->produce(20);
	wait_for_state($node, $_, qr/^stopped corrupt_record$/) foreach $rows, $log;
	is($oracle->seen, $seen, "fault 26: $title: nothing is applied");
	is($node->safe_psql('postgres', "SELECT string_agg(next_offset::text, ' ') FROM cdc_sink.position"), join(' ', ($at) x 4), "fault 26: $title: no position moves");
	like($node->safe_psql('postgres', qq(SELECT string_agg(DISTINCT concat_ws(' ', topic, partition, "offset", disposition), ', ') FROM cdc_sink.pg_stat_cdc_sink_error WHERE subscription = '$log' AND "offset" = $at)),
		qr/items 0 $at stop/, "fault 26: $title: the error tells the offset");
	$proxy->command('pass');
	$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('$_')") foreach $rows, $log;
	$oracle->ok_clean("fault 26: $title, then a sound one");
}
$proxy->command('mangle', 'old');
$oracle->produce(20);
$oracle->ok_clean('fault 26: the format of Kafka 0.10');
$proxy->command('pass');

is(join(' ', worker_pids($node)), $workers, 'all by the same workers');

# --- noise: whatever comes of it, no process falls, and nothing wrong is applied. The library may be left with wrong brokers in mind: a new
# client has none.
foreach my $round (1 .. ($ENV{CDC_SINK_FULL} ? 60 : 6))
{
	my $before = (split / /, $proxy->command('stats'))[2];
	$proxy->command('mangle', 'noise', $seed + $round);
	$oracle->produce(20);
	# or until both clients have fallen silent, which noise may do to them
	my $end = time() + 20;
	wait_for(sub { (split / /, $proxy->command('stats'))[2] > $before + 2000 || time() > $end }, 'noise');
	$proxy->command('pass');
	$proxy->command('reset');
	foreach ($rows, $log)
	{
		$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('$_')");
		$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('$_')");
	}
	ok_caught_up($node, $_, "fault 27: noise $round: $_ goes on") foreach $rows, $log;
}
$oracle->ok_clean('fault 27: noise');
$node->stop('fast');
ok_no_crash($node);
done_testing();
