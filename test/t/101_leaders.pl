# Faults 5, 7, 10 of a cluster of several brokers: leaders move, are not there or do not know that they are, brokers go one after the other.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Oracle;
use CdcSink::Process qw(wait_for);
use CdcSink::Proxy;
use CdcSink::Workers;

my $brokers = 3;
# requests, and what a broker answers that is no leader (any more), or not yet ready
my ($fetch, $list_offsets, $metadata) = (1, 2, 3);
my @moved = (6, 5, 3, 9, 74, 75, 76, 56, 7, -1);

my $broker = CdcSink::MockBroker->new($brokers);
my $proxy = CdcSink::Proxy->new($broker->bootstrap);
my $node = new_read_side('leaders');
$node->safe_psql('postgres', qq{CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$proxy->bootstrap]}', "socket.timeout.ms" '2000', "topic.metadata.refresh.interval.ms" '5000')});
my $oracle = CdcSink::Oracle->new($node, $broker, partitions => $brokers, settings => [$brokers]);
my ($rows, $log) = $oracle->subscriptions;

# Leader of each partition, by number of the partition; 0 would be none.
sub lead { my @leaders = @_; $broker->command('leader', 'items', $_, $leaders[$_]) foreach 0 .. $#leaders; return; }

sub partition_states
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(concat_ws(' ', state, state_reason), ', ' ORDER BY partition) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE subscription = '$rows'");
}

sub wait_for_partitions
{
	my ($want, $title) = @_;
	my $states = '';
	my $met = eval { wait_for(sub { ($states = partition_states()) =~ $want }, $title, 30) };
	ok($met, $title) or diag("states: $states\n" . show_views($node));
	return;
}

lead(1, 2, 3);
$oracle->produce(20);
$oracle->ok_clean('at first');
my $workers = join(' ', wait_for_workers($node, 'postgres', 2));

# --- leaders move while records come
foreach my $round (1 .. 6)
{
	$oracle->produce(40);
	lead(map { ($_ + $round) % $brokers + 1 } 0 .. $brokers - 1);
	$oracle->produce(40);
}
$oracle->ok_clean('fault 10: leaders that move');

# --- brokers that say they are none
$broker->command('request_errors', $fetch, @moved, @moved);
$oracle->produce(50);
$broker->command('request_errors', $fetch, reverse @moved);
$broker->command('request_errors', $list_offsets, @moved);
$broker->command('request_errors', $metadata, 5, 7, -1);
$oracle->ok_clean('fault 10: answers of brokers that do not lead');
$broker->command('clear_errors', $_) foreach $fetch, $list_offsets, $metadata;

# --- no leader
lead(1, 2, 3);
$oracle->produce(5);
$oracle->ok_clean('before a leader goes');
$broker->command('leader', 'items', 1, -1);
wait_for_partitions(qr/^streaming, retrying \w+, streaming$/, 'fault 10: a partition without a leader is shown');
lead(1, 3, 3);
wait_for_partitions(qr/^streaming, streaming, streaming$/, 'fault 10: and no longer when it has one');
$oracle->produce(20);
$oracle->ok_clean('fault 10: a leader after none');

# --- one broker of several is silent: its partition waits, the others go on
lead(1, 2, 3);
$oracle->produce(5);
$oracle->ok_clean('before a broker falls silent');
$proxy->command('drop', 2);
$oracle->produce(40);
foreach my $partition (0, 2)
{
	is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('$log', 'items', $partition, " . (@{ $oracle->{produced}[$partition] } - 1) . ')'),
		't', "fault 7: partition $partition goes on while the broker of another one is silent");
}
wait_for_partitions(qr/^streaming, retrying \w+, streaming$/, 'fault 7: the partition of a silent broker is shown');
$proxy->command('pass');
$oracle->ok_clean('fault 7: a silent broker of several');

# --- brokers are restarted, one after the other, with and without an orderly change of leaders
foreach my $orderly (1, 0)
{
	foreach my $number (1 .. $brokers)
	{
		lead(map { $_ == $number ? $_ % $brokers + 1 : $_ } 1 .. $brokers) if $orderly;
		$oracle->produce(20);
		$broker->command('down', $number);
		$oracle->produce(20) if $orderly;
		$broker->command('up', $number);
		lead(1 .. $brokers) if $orderly;
		$oracle->produce(20);
	}
	$oracle->ok_clean('fault 5: brokers restarted one after the other, ' . ($orderly ? 'leaders first' : 'at once'));
}

# --- all of them away
my $lines = -s $node->logfile;
$broker->down;
wait_for_state($node, $_, qr/^retrying broker_down$/) foreach $rows, $log;
$broker->up;
$oracle->produce(20);
$oracle->ok_clean('fault 5: all brokers away');
is(join("\n", slurp_file($node->logfile, $lines) =~ /^(.*cdc_sink apply worker (?!LOG:  .*statistics).*)$/mg), '', 'fault 5: the log is not flooded');
is(join(' ', worker_pids($node)), $workers, 'all by the same workers');

$node->stop('fast');
ok_no_crash($node);
done_testing();
