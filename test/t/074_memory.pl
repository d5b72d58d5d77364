# fault 37: a worker takes no more memory after a million changes of every kind than after the first of them.
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
use CdcSink::Process qw(wait_for work_dir);

my $rounds = 10;
my $records_a_round = $ENV{CDC_SINK_FULL} ? 100_000 : 5_000;
# what contexts and process may grow by from the second round on
my %growth = (contexts => 1024 * 1024, process => 16 * 1024 * 1024);

my $kafka = CdcSink::Kafka->new;
my $node = new_read_side('memory', "log_min_messages = warning\n");
create_server($node, 'postgres', $kafka->bootstrap);
$kafka->create_topic('rows', 1);
$kafka->create_topic('letters', 1);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub row { return { id => $_[0], n => $_[1], v => 'v' x 80 }; }
sql(q(CREATE TABLE rows (id int PRIMARY KEY, n int, v text);
	SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"on_error": "dead_letter", "dead_letter_topic": "letters", "consumer_group": "lag", "batch_rows": 2000}');
	SELECT cdc_sink.add_mapping('s', 'rows', 'rows')));

my $pid;
my $id = 0;

# A round of inserts, updates, deletes and a few records that become dead letters.
sub write_round
{
	my $file = work_dir('memory') . '/records';
	open(my $f, '>', $file) or die "$file: $!";
	for (my $n = 0; $n < $records_a_round; $n += 10)
	{
		my $first = ($id += 5);
		my @records = (
			(map { inserted(row($first + $_, $_)) } 0 .. 4),
			(map { updated(row($first + $_, $n)) } 0 .. 2),
			deleted(row($first + 3, 3)),
			$n % 1000 ? deleted(row($first + 4, 4)) : inserted(row($first + 4, 'bad')));
		print $f "$_->{key}\t$_->{value}\n" foreach @records;
	}
	close($f);
	system_or_bail('kcat', '-P', '-b', $kafka->bootstrap, '-t', 'rows', '-K', "\t", '-l', $file);
	return;
}

# Bytes in all memory contexts of the worker, and of its process.
sub memory
{
	my $log = -s $node->logfile;
	sql("SELECT pg_log_backend_memory_contexts($pid)");
	my $contexts = wait_for(sub { slurp_file($node->logfile, $log) =~ /\[$pid\].*Grand total: \d+ bytes in \d+ blocks; \d+ free \(\d+ chunks\); (\d+) used/ && $1 }, 'the memory of the worker');
	my ($kbytes) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return { contexts => $contexts, process => 1024 * $kbytes };
}

my ($second, $last);
foreach my $round (1 .. $rounds)
{
	write_round();
	my ($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.wait_for_catchup('s', '10 min')");
	$out eq 't' or die "round $round: $out$err\n" . show_views($node);
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cdc_sink.dead_letter WHERE unpublished') or die 'dead letters stay unpublished';
	my $now = sql('SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription');
	$pid //= $now;
	$now == $pid or die "round $round: another worker";
	$last = memory();
	$second = $last if $round == 2;
	note("round $round: $last->{contexts} bytes in contexts, $last->{process} of the process");
}
is(sql('SELECT records FROM cdc_sink.pg_stat_cdc_sink_subscription'), $rounds * $records_a_round, 'all records were applied by one worker');
foreach my $what (sort keys %growth)
{
	cmp_ok($last->{$what} - $second->{$what}, '<', $growth{$what}, "fault 37: the $what did not grow from $second->{$what}");
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
