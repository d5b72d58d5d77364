# fault 49: whichever allocation, statement or call of librdkafka fails, the server stays up and every change takes effect once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

# all of them take long: without CDC_SINK_FULL one in so many
my %stride = $ENV{CDC_SINK_FULL} ? (palloc => 2, malloc => 1, spi => 1, kafka => 1) : (palloc => 181, malloc => 29, spi => 17, kafka => 13);
$stride{$_} = $ENV{ 'CDC_SINK_STRIDE_' . uc } // $stride{$_} foreach keys %stride;
# the first call that fails, to find one again
my $begin = $ENV{CDC_SINK_NTH} // 1;
my @kinds = split /,/, $ENV{CDC_SINK_KINDS} // 'spi,kafka,malloc,palloc';
# a kind is through when so many calls in a row were not reached
my $missed_most = 3;
# what a worker may grow by over all failures that it survives
my $growth = 4 * 1024 * 1024;

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('fail', "cdc_sink.debug_fail_at = ''\n");
if (($node->psql('postgres', 'SHOW cdc_sink.debug_fail_at'))[0] != 0
	or $node->safe_psql('postgres', "SELECT context FROM pg_settings WHERE name = 'cdc_sink.debug_fail_at'") ne 'sighup')
{
	$node->stop;
	plan skip_all => 'needs a library built with DEVELOPER=1, which has cdc_sink.debug_fail_at';
}
create_server($node, 'postgres', $broker->bootstrap);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub row { return { id => $_[0], n => $_[1] }; }

$broker->create_topic('rows', 2);
$broker->create_topic('dlq', 1);
sql(q(CREATE TABLE rows (id int PRIMARY KEY, n int CHECK (n >= 0), v text);
	SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"on_error": "dead_letter", "dead_letter_topic": "dlq", "consumer_group": "lag",
		"batch_rows": 4, "retry_backoff_ms": 10, "retry_backoff_max_ms": 20}');
	SELECT cdc_sink.add_mapping('s', 'rows', 'rows')));

my @next = (0, 0);
my $id = 0;
my (%rows, %letters);

# Changes of every kind, in several batches of two partitions, and what they leave behind.
sub write_changes
{
	foreach my $partition (0, 1)
	{
		my $first = $id;
		$id += 10;
		my @records = (
			(map { inserted(row($first + $_, $_)) } 1 .. 4),
			updated(row($first + 1, 11)),
			inserted(row($first + 5, 'bad')),
			deleted(row($first + 2, 2)),
			# a key change: the delete of the old and the insert of the new one
			deleted(row($first + 3, 3)),
			tombstone($first + 3),
			inserted(row($first + 6, 3)),
			inserted(row($first + 7, -1)),
			updated(row($first + 4, 44)));
		%rows = (%rows, $first + 1 => 11, $first + 4 => 44, $first + 6 => 3);
		$letters{"$partition " . ($next[$partition] + $_)} = 1 foreach 5, 10;
		$broker->produce('rows', $partition, @records);
		$next[$partition] += @records;
	}
	return;
}

# What is wrong in the database, or nothing.
sub difference
{
	my $got = sql('SELECT id, n FROM rows ORDER BY id');
	my $want = join("\n", map { "$_|$rows{$_}" } sort { $a <=> $b } keys %rows);
	return "rows: $got\nwanted: $want" if $got ne $want;
	$got = sql(q(SELECT partition || ' ' || "offset" FROM cdc_sink.dead_letter ORDER BY partition, "offset"));
	$want = join("\n", sort { my ($p, $o) = split ' ', $a; my ($q, $r) = split ' ', $b; $p <=> $q || $o <=> $r } keys %letters);
	return "dead letters: $got\nwanted: $want" if $got ne $want;
	$got = sql('SELECT next_offset FROM cdc_sink.position ORDER BY partition');
	return "positions: $got\nwanted: @next" if $got ne "$next[0]\n$next[1]";
	return '';
}

sub worker_pid { return sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's'"); }

# Bytes of all memory contexts of a worker.
sub memory
{
	my $pid = shift;
	my $log = -s $node->logfile;
	return 0 unless $pid && sql("SELECT pg_log_backend_memory_contexts($pid)") eq 't';
	return wait_for(sub { slurp_file($node->logfile, $log) =~ /\[$pid\].*Grand total: (\d+) bytes/ && $1 }, 'the memory of the worker');
}

# Has a value of the setting come to the worker?
sub set_fail_at
{
	my $value = shift;
	my $log = -s $node->logfile;
	sql("ALTER SYSTEM SET cdc_sink.debug_fail_at = '$value'");
	$node->reload;
	return if $value eq '';
	wait_for(sub { slurp_file($node->logfile, $log) =~ /cdc_sink\.debug_fail_at is "\Q$value\E"/ }, "the worker knows $value");
	return;
}

# One failure; $restart: while the worker starts, too. Returns whether there was such a call, dies when something is wrong.
sub try_nth
{
	my ($kind, $nth, $restart) = @_;
	my $log = -s $node->logfile;
	if ($restart)
	{
		sql("SELECT cdc_sink.disable_subscription('s')");
		sql("ALTER SYSTEM SET cdc_sink.debug_fail_at = '$kind:$nth'");
		$node->reload;
		sql("SELECT cdc_sink.enable_subscription('s')");
	}
	else
	{
		set_fail_at("$kind:$nth");
	}
	write_changes();
	my ($code, $out, $err) = ('', '', '');
	my $caught_up = sub {
		($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.wait_for_catchup('s', '20 s')");
		return $out eq 't';
	};
	# an error that counts as one of the configuration waits for a human
	if (!$caught_up->())
	{
		sql("SELECT cdc_sink.enable_subscription('s')") if $err =~ /stopped/;
		eval { wait_for($caught_up, 'caught up', 60) } or die "$kind:$nth: $out$err\n" . show_views($node);
	}
	my $wrong = difference();
	die "$kind:$nth: $wrong\n" . show_views($node) if $wrong;
	my $told = slurp_file($node->logfile, $log);
	die "$kind:$nth: a process crashed\n" if $told =~ /terminated by signal|reinitializing|TRAP:|PANIC:/;
	return $told =~ /failed on command: \Q$kind:$nth\E/;
}

write_changes();
ok_caught_up($node, 's', 'without a failure');
is(difference(), '', 'everything is applied');
my $postmaster = sql('SELECT pg_postmaster_start_time()');

foreach my $restart (0, 1)
{
	foreach my $kind (@kinds)
	{
		my ($failures, $missed, $nth, $survived, $first, $last) = (0, 0, $begin, 0, 0, 0);
		my $pid = worker_pid();
		my $title = "$kind " . ($restart ? 'from the start of the worker on' : 'while it runs');
		while ($missed < $missed_most)
		{
			my $hit = eval { try_nth($kind, $nth, $restart) };
			if (!defined $hit || $@)
			{
				fail($title);
				diag($@);
				last;
			}
			$failures += $hit ? 1 : 0;
			$missed = $hit ? 0 : $missed + 1;
			if (!$restart && $pid && worker_pid() eq $pid)
			{
				$last = memory($pid) if $survived % 20 == 5;
				$first ||= $last;
				$survived++;
			}
			else
			{
				($pid, $survived, $first, $last) = (worker_pid(), 0, 0, 0);
			}
			$nth += $stride{$kind};
		}
		# memory of batches is kept for the next: a worker that runs has nearly all it needs
		cmp_ok($failures, '>=', ($kind eq 'malloc' && !$restart) || $begin > 1 ? 0 : 1, "$title: $failures failures, up to call " . ($nth - $missed_most * $stride{$kind}));
		cmp_ok($last - $first, '<', $growth, "and the worker's memory does not grow over the $survived that it survived");
	}
}
set_fail_at('');
write_changes();
ok_caught_up($node, 's', 'afterwards');
is(difference(), '', 'everything is applied');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM cdc_sink.dead_letter WHERE unpublished') or die 'dead letters stay unpublished';
pass('and all dead letters were published');
is(sql('SELECT pg_postmaster_start_time()'), $postmaster, 'the server is the same');

$node->stop('fast');
ok_no_crash($node);
done_testing();
