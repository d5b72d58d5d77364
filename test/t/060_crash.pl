# faults 1, 3, 65, 66: each event counts once, wherever a worker falls: just before its commit, just after it, or anywhere; nobody helps.
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

my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my @tables = qw(one two);
my $partitions = 2;
my $records_a_round = 800;
my @rounds = (qw(before_commit kill after_commit terminate twin broker), 'before_commit kill', 'after_commit kill', 'after_commit stop', 'broker kill', qw(stop terminate kill));
@rounds = (@rounds) x 5 if $ENV{CDC_SINK_FULL};

my $broker = CdcSink::MockBroker->new;
$broker->create_topic($_, $partitions) foreach @tables;
# a server of tests stays down after a crash unless told otherwise
my $node = new_read_side('crash', "restart_after_crash = on\n");
my $developer = $node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'cdc_sink.debug_fail_at'");
create_server($node, 'postgres', $broker->bootstrap);
my $options = q({"batch_rows": 25, "retry_backoff_ms": 10, "retry_backoff_max_ms": 50});
$node->safe_psql('postgres', join('', map { "CREATE TABLE $_ (id int PRIMARY KEY, version int);" } @tables) . <<SQL);
CREATE TABLE log (id int, version int, __op text, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('tables', 'kafka', options => '$options');
SELECT cdc_sink.add_mapping('tables', 'one', 'one');
SELECT cdc_sink.add_mapping('tables', 'two', 'two');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '$options');
SELECT cdc_sink.add_mapping('log', 'one', 'log', options => '{"mode": "append"}');
SQL

my (%rows, $version, %history);

# Random changes of a table by partition, and what they do to the model.
sub write_records
{
	my ($table) = @_;
	my @records;
	foreach (1 .. $records_a_round)
	{
		my $id = int(rand(100));
		my $old = $rows{$table}{$id};
		my $new = $old && rand() < 0.2 ? undef : { id => $id, version => ++$version };
		my $record = $new ? ($old ? updated($new) : inserted($new)) : deleted($old);
		$rows{$table}{$id} = $new;
		push @{ $records[ $id % $partitions ] }, $record;
		push @{ $history{$table} }, join('|', $id, $new ? ($old ? 'u' : 'c', $new->{version}) : ('d', ''));
	}
	$broker->produce($table, $_, @{ $records[$_] }) foreach 0 .. $partitions - 1;
	return;
}

my %made = (kills => 0, stops => 0);

sub set_debug_point
{
	my $point = shift;
	$node->safe_psql('postgres', "ALTER SYSTEM SET cdc_sink.debug_fail_at = '$point'");
	$node->reload;
	wait_for(sub { $node->safe_psql('postgres', 'SHOW cdc_sink.debug_fail_at') eq $point }, 'the server reads its settings');
	return;
}

my $retries = 'SELECT sum(retries) FROM cdc_sink.pg_stat_cdc_sink_subscription';

# Workers fall at a place in the code, over and over: with records that come then, as those of before may be through.
sub fail_at
{
	my $point = shift;
	my $log = -s $node->logfile;
	set_debug_point($point);
	write_records($_) foreach @tables;
	# the log tells of an end of a worker each time, of a batch that is tried again once a minute
	my $before = $node->safe_psql('postgres', $retries);
	wait_for(
		sub {
			my $falls = () = slurp_file($node->logfile, $log) =~ /stopped at debug point "$point"/g;
			return $falls + $node->safe_psql('postgres', $retries) - $before >= 5;
		},
		"falls at $point");
	return;
}

sub worker_pid
{
	return wait_for(
		sub { $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' ORDER BY random() LIMIT 1)) },
		'an apply worker');
}

# One that ended before the signal came does not count: the next one is taken.
sub kill_worker
{
	my $end = '';
	while ($end !~ /signal 9/)
	{
		my ($log, $pid) = (-s $node->logfile, worker_pid());
		kill('KILL', $pid) or next;
		($end) = wait_for(sub { slurp_file($node->logfile, $log) =~ /\(PID $pid\) (was terminated by signal 9|exited)/ && $1 }, 'the server notices the kill');
	}
	my $kills = ++$made{kills};
	wait_for(sub { (() = slurp_file($node->logfile) =~ /reinitializing/g) >= $kills }, 'the server starts anew');
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	return;
}

my %faults = (
	before_commit => sub { fail_at('before_commit') },
	after_commit => sub { fail_at('after_commit') },
	kill => \&kill_worker,
	terminate => sub { kill('TERM', worker_pid()) },
	# a twin claims the positions, and does nothing with them
	twin => sub { $node->safe_psql('postgres', "UPDATE cdc_sink.position SET generation = nextval('cdc_sink.generation_seq')") },
	stop => sub { $node->stop('immediate'); $made{stops}++; $node->start; },
	broker => sub { $broker->down; wait_for_state($node, 'tables', qr/^(?:retrying|starting)/); });

foreach my $round (@rounds)
{
	my @faults = split / /, $round;
	next if $faults[0] =~ /commit/ && !$developer;
	my $moved = 'SELECT coalesce(sum(next_offset), 0) FROM cdc_sink.position';
	my $before = $node->safe_psql('postgres', $moved);
	write_records($_) foreach @tables;
	# in the middle of the work
	wait_for(sub { $node->safe_psql('postgres', $moved) > $before }, 'records come through') unless $faults[0] =~ /commit/;
	$faults{$_}->() foreach @faults;
	$broker->up if $faults[0] eq 'broker';
	set_debug_point('') if $faults[0] =~ /commit/;
	ok_caught_up($node, $_, "$round: $_ caught up without help") foreach qw(tables log);
	is_text($node->safe_psql('postgres', "SELECT id, version FROM $_ ORDER BY id"), rows_of($_), "$round: table $_ is as its records say") foreach @tables;
	is_text($node->safe_psql('postgres', 'SELECT id, __op, version FROM log ORDER BY id, __offset'), in_order($history{one}), "$round: the append table holds each event once");
}

# The rows that a table must have.
sub rows_of
{
	my $rows = $rows{ $_[0] };
	return join("\n", map { "$_->{id}|$_->{version}" } grep { defined } map { $rows->{$_} } sort { $a <=> $b } keys %$rows);
}

# History by key, each key's in order of its events.
sub in_order
{
	my %of;
	foreach my $line (@{ $_[0] })
	{
		my ($id) = split /\|/, $line;
		push @{ $of{$id} }, $line;
	}
	return join("\n", map { @{ $of{$_} } } sort { $a <=> $b } keys %of);
}

is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT (__partition, __offset)) FROM log'), '0', 'no offset twice');
SKIP:
{
	skip 'falls at the commit need a library built with DEVELOPER=1', 1 unless $developer;
	like(slurp_file($node->logfile), qr/is consumed by another worker/, 'who falls after its commit does not apply the batch again');
}
$node->stop('fast');
ok_no_crash($node, %made);
done_testing();
