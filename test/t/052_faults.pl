# faults 1, 2, 5: whatever is killed while records come in, the tables end as the records say and an append table holds each record once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use IPC::Run qw(start finish);
use CdcSink::Process qw(wait_for work_dir);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Kafka;
use CdcSink::Node;

my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my @tables = qw(one two three);
my $partitions = 2;
my $records_a_round = 1500;
# killed worker, terminated worker, server stopped hard, broker stopped softly and hard
my @faults = qw(kill terminate kill terminate stop kill terminate broker kill terminate stop kill broker_kill terminate);
@faults = (@faults) x 5 if $ENV{CDC_SINK_FULL};

my $json = JSON::PP->new->canonical;
my (%rows, %version, %count);

# The next records of a table as lines for kafka-tool, and what they do to the table in %rows.
sub make_records
{
	my ($table, $count) = @_;
	my $lines = '';
	foreach (1 .. $count)
	{
		my $id = int(rand(200));
		my $old = $rows{$table}{$id};
		my $op = !$old ? 'c' : rand() < 0.2 ? 'd' : 'u';
		my $new = $op eq 'd' ? undef : { id => $id, version => ++$version{$table}, note => rand() < 0.1 ? undef : "note $id" };
		$rows{$table}{$id} = $new;
		my %common = (key => $json->encode({ id => $id }), partition => $id % $partitions);
		my $value = { before => undef, after => $new, op => $op, ts_ms => 1, source => { schema => 'public', table => $table } };
		$value->{before} = { id => $id, version => undef, note => undef } if $op eq 'd';
		$lines .= $json->encode({ %common, value => $json->encode($value) }) . "\n";
		$count{$table}++;
		if ($op eq 'd')
		{
			$lines .= $json->encode({ %common, value => undef }) . "\n";
			$count{tombstones}++ if $table eq 'one';
		}
	}
	return $lines;
}

my $kafka = CdcSink::Kafka->new;
# a server of tests stays down after a crash unless told otherwise
my $read = new_read_side('read_side', "restart_after_crash = on\n");
create_server($read, 'postgres', $kafka->bootstrap);
$kafka->create_topic("f.$_", $partitions) for @tables;
$read->safe_psql('postgres',
	join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, version int, note text);" } @tables)
	  . 'CREATE TABLE log (id int, version int, __op text, __partition int, __offset bigint);');
my $options = q({"batch_rows": 40, "retry_backoff_ms": 10, "retry_backoff_max_ms": 200});
$read->safe_psql('postgres', "SELECT cdc_sink.create_subscription('tables', 'kafka', options => '$options');"
	  . join('', map { "SELECT cdc_sink.add_mapping('tables', 'f.$_', '$_');" } @tables));
$read->safe_psql('postgres', "SELECT cdc_sink.create_subscription('log', 'kafka', options => '$options');"
	  . q(SELECT cdc_sink.add_mapping('log', 'f.one', 'log', columns => '{"note": null}', options => '{"mode": "append"}')));

my %made = (kills => 0, stops => 0);
my $moved = 'SELECT coalesce(sum(next_offset), 0) FROM cdc_sink.position';

foreach my $fault (@faults)
{
	$read->poll_query_until('postgres', 'SELECT true') or die 'the read side does not answer';
	my $before = $read->safe_psql('postgres', $moved);
	my @producers;
	foreach my $table (@tables)
	{
		my $file = work_dir('records') . "/$table";
		open(my $f, '>', $file) or die "$file: $!";
		print $f make_records($table, $records_a_round);
		close($f);
		push @producers, start([ $kafka->tool('produce', "f.$table") ], '<', $file, '>', '/dev/null');
	}
	# in the middle of the work: something came through, not all of it
	$read->poll_query_until('postgres', "SELECT ($moved) > $before") or die 'no record came through before the fault';
	if ($fault eq 'broker' or $fault eq 'broker_kill')
	{
		finish($_) for @producers;
		$kafka->restart($fault eq 'broker' ? 'TERM' : 'KILL');
	}
	elsif ($fault eq 'stop')
	{
		$read->stop('immediate');
		$made{stops}++;
		$read->start;
	}
	else
	{
		my $pid = wait_for(
			sub {
				$read->safe_psql('postgres',
					q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' ORDER BY random() LIMIT 1));
			},
			'an apply worker');
		if (kill($fault eq 'kill' ? 'KILL' : 'TERM', $pid) && $fault eq 'kill')
		{
			$made{kills}++;
			my $kills = $made{kills};
			wait_for(sub { (() = slurp_file($read->logfile) =~ /reinitializing/g) >= $kills }, 'the server notices the kill');
		}
	}
	finish($_) or die 'a producer failed' for @producers;
}

$read->poll_query_until('postgres', 'SELECT true');
foreach my $subscription (qw(tables log))
{
	ok_caught_up($read, $subscription, "$subscription: caught up without help");
}
foreach my $table (@tables)
{
	my $want = join("\n",
		map { join('|', $_->{id}, $_->{version}, $_->{note} // '') } grep { defined } map { $rows{$table}{$_} } sort { $a <=> $b } keys %{ $rows{$table} });
	is_text($read->safe_psql('postgres', "SELECT * FROM $table ORDER BY id"), $want, "table $table is as its records say");
}
is($read->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (__partition, __offset)) FROM log'),
	"$count{one}|$count{one}", 'the append table holds each record once');

$read->stop('fast');
ok_no_crash($read, %made);
done_testing();
