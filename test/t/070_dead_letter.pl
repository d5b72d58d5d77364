# fault 35: a record that cannot be applied becomes one dead letter, whatever falls meanwhile, and takes no other with it; then it can be retried.
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

my $broker = CdcSink::MockBroker->new;
# a server of tests stays down after a crash unless told otherwise
my $node = new_read_side('dead_letter', "restart_after_crash = on\n");
create_server($node, 'postgres', $broker->bootstrap);
my %made = (kills => 0, stops => 0);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A subscription of one topic and its table, with options.
sub subscribe
{
	my ($name, $partitions, $options) = @_;
	$broker->create_topic($name, $partitions);
	sql("CREATE TABLE $name (id int PRIMARY KEY, n int CHECK (n >= 0));
		SELECT cdc_sink.create_subscription('$name', 'kafka', options => '$options');
		SELECT cdc_sink.add_mapping('$name', '$name', '$name');");
	return;
}

sub row { return { id => $_[0], n => $_[1] }; }

sub worker_pid
{
	my $name = shift;
	return wait_for(sub { sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$name'") }, "a worker of $name");
}

# --- counters, list of errors, log
subscribe('few', 1, '{"on_error": "dead_letter"}');
$broker->produce('few', 0, inserted(row(1, 1)), inserted(row(2, 'no number')), inserted(row(3, -1)), inserted(row(4, 4)));
ok_caught_up($node, 'few', 'bad records do not stop their partition');
is(sql('SELECT id FROM few ORDER BY id'), "1\n4", 'those around them are applied');
is(sql('SELECT "offset", status, sqlstate, relation, op FROM cdc_sink.dead_letter ORDER BY id'), "1|open|22P02|few|c\n2|open|23514|few|c", 'each is a dead letter');
is(sql("SELECT records, dead_letters, errors, skipped, state FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'few'"), '4|2|2|0|streaming',
	'they are counted for the subscription');
is(sql("SELECT n_tup_ins, n_dead_letter FROM cdc_sink.pg_stat_cdc_sink_table WHERE subscription = 'few'"), '2|2', 'and for the table');
is(sql('SELECT "offset", sqlstate, disposition FROM cdc_sink.pg_stat_cdc_sink_error ORDER BY "offset"'), "1|22P02|dead_letter\n2|23514|dead_letter", 'and are in the list of errors');
like(slurp_file($node->logfile), qr/record at offset 1 of topic "few", partition 0 became a dead letter/, 'and in the log');

# --- superseded by a record that another run of the worker applies
my $pid = worker_pid('few');
kill('TERM', $pid);
wait_for(sub { my $new = worker_pid('few'); $new != $pid && $new }, 'another worker');
$broker->produce('few', 0, updated(row(2, 22)));
ok_caught_up($node, 'few', 'a later record of the key is applied');
is(sql('SELECT "offset", superseded_by FROM cdc_sink.dead_letter ORDER BY id'), "1|4\n2|", 'the dead letter of the key is superseded');
is(sql('SELECT r.ok, r.error FROM cdc_sink.dead_letter d, cdc_sink.retry_dead_letter(ARRAY[d.id]) r WHERE d."offset" = 1'),
	'f|nothing was applied: superseded by the record at offset 4 of the same key', 'it is not applied any more');
is(sql('SELECT n FROM few WHERE id = 2'), '22', 'the row is the later one');

# --- a retry in an open transaction: a later record of the key waits, and wins
sql('ALTER TABLE few DROP CONSTRAINT few_n_check');
my $session = $node->background_psql('postgres');
like($session->query('BEGIN; SELECT r.ok FROM cdc_sink.dead_letter d, cdc_sink.retry_dead_letter(ARRAY[d.id]) r WHERE d."offset" = 2;'), qr/^t$/m, 'a dead letter is retried');
$broker->produce('few', 0, deleted(row(3, 3)));
wait_for_state($node, 'few', qr/^waiting lock$/);
pass('a later record of its key waits for the end of the transaction');
$session->query('COMMIT;');
$session->quit;
ok_caught_up($node, 'few', 'and is applied then');
is(sql('SELECT id FROM few ORDER BY id'), "1\n2\n4", 'after the retried one');
is(sql('SELECT "offset", status, superseded_by FROM cdc_sink.dead_letter ORDER BY id'), "1|open|4\n2|retried|", 'which stays retried');

# --- the budget
subscribe('budget', 1, '{"on_error": "skip", "max_errors": 3, "error_window_ms": 3600000}');
$broker->produce('budget', 0, map { inserted(row($_, $_ % 2 ? 'bad' : $_)) } 1 .. 20);
wait_for_state($node, 'budget', qr/^stopped max_errors$/);
is(sql("SELECT next_offset FROM cdc_sink.position WHERE topic = 'budget'"), '6', 'the fourth error stops where three are allowed');
is(sql("SELECT skipped, dead_letters, errors FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'budget'"), '3|0|4', 'skipped ones are counted');
sql("SELECT cdc_sink.enable_subscription('budget')");
$node->poll_query_until('postgres', "SELECT next_offset = 12 FROM cdc_sink.position WHERE topic = 'budget'") or die 'it does not go on';
pass('enable_subscription counts anew');
sql(q(SELECT cdc_sink.alter_subscription('budget', options => '{"max_errors": 0}')));
ok_caught_up($node, 'budget', 'without limit it goes on to the end');
is(sql('SELECT count(*) FROM budget'), '10', 'with all good records');

# --- skip_record
subscribe('skips', 2, '{}');
$broker->produce('skips', 0, inserted(row(1, 1)), inserted(row(2, 'bad')), inserted(row(3, 3)));
$broker->produce('skips', 1, inserted(row(11, 11)));
wait_for_state($node, 'skips', qr/^stopped data_error$/);
sql("SELECT cdc_sink.skip_record('skips', 'skips', 0, 1, 'known')");
ok_caught_up($node, 'skips', 'skip_record resumes the partition that stopped there');
is(sql('SELECT id FROM skips ORDER BY id'), "1\n3\n11", 'the others are applied');
is(sql(q(SELECT partition, "offset", status, note FROM cdc_sink.dead_letter WHERE topic = 'skips')), '0|1|skipped|known', 'the skipped one is a dead letter of that status');
is(sql(q(SELECT count(skip_offset) FROM cdc_sink.position)), '0', 'the skip is over');
sql("SELECT cdc_sink.skip_record('skips', 'skips', 1, 2)");
$broker->produce('skips', 1, map { inserted(row($_, $_)) } 12, 13, 14);
ok_caught_up($node, 'skips', 'a record to come is skipped when it is reached');
is(sql('SELECT id FROM skips WHERE id > 10 ORDER BY id'), "11\n12\n14", 'and only that one');
my ($code, $out, $err) = $node->psql('postgres', "SELECT cdc_sink.skip_record('skips', 'skips', 1, 2)");
like($err, qr/has already been applied or passed over/, 'what is passed cannot be skipped');

# --- one dead letter an offset, whatever falls
my $partitions = 2;
my $records_a_round = 400;
subscribe('many', $partitions, '{"on_error": "dead_letter", "batch_rows": 5, "retry_backoff_ms": 10, "retry_backoff_max_ms": 50}');
my (@rows, @letters);
my @next = (0) x $partitions;

# The next records of each partition, some of them bad in one way or another.
sub write_records
{
	foreach my $partition (0 .. $partitions - 1)
	{
		my @records;
		foreach (1 .. $records_a_round)
		{
			my $offset = $next[$partition]++;
			my $id = $offset * $partitions + $partition;
			my $bad = $offset % 11 == 3 ? 'x' : $offset % 17 == 5 ? -1 : undef;
			push @records, inserted(row($id, $bad // $id));
			if (defined $bad) { $letters[$partition] .= "$partition|$offset|open\n" }
			else { push @rows, $id }
		}
		$broker->produce('many', $partition, @records);
	}
	return;
}

# One that ended before the signal came does not count: the next one is taken.
sub kill_worker
{
	my $end = '';
	while ($end !~ /signal 9/)
	{
		my ($log, $pid) = (-s $node->logfile, worker_pid('many'));
		kill('KILL', $pid) or next;
		($end) = wait_for(sub { slurp_file($node->logfile, $log) =~ /\(PID $pid\) (was terminated by signal 9|exited)/ && $1 }, 'the server notices the kill');
	}
	my $kills = ++$made{kills};
	wait_for(sub { (() = slurp_file($node->logfile) =~ /reinitializing/g) >= $kills }, 'the server starts anew');
	return;
}

my $seen = "SELECT count(*) FROM cdc_sink.dead_letter WHERE topic = 'many'";
foreach my $fault (qw(kill TERM kill stop TERM kill))
{
	my $before = sql($seen);
	write_records();
	wait_for(sub { sql($seen) > $before }, 'dead letters come');
	note("$fault after " . (sql($seen) - $before) . ' dead letters of the round');
	if ($fault eq 'stop')
	{
		$node->stop('immediate');
		$made{stops}++;
		$node->start;
	}
	elsif ($fault eq 'TERM')
	{
		kill('TERM', worker_pid('many'));
	}
	else
	{
		kill_worker();
	}
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
}
ok_caught_up($node, 'many', 'caught up without help');
is_text(sql(q(SELECT partition, "offset", status FROM cdc_sink.dead_letter WHERE topic = 'many' ORDER BY 1, 2)), join('', @letters) =~ s/\n\z//r, 'each bad record is one dead letter');
is_text(sql('SELECT id FROM many ORDER BY id'), join("\n", sort { $a <=> $b } @rows), 'each good one is a row');

# --- all of them retried
my $letters = sql($seen);
sql('ALTER TABLE many DROP CONSTRAINT many_n_check, ALTER n TYPE text');
is(sql(q(SELECT count(*) FILTER (WHERE ok), count(*) FROM cdc_sink.retry_dead_letter(ARRAY(SELECT id FROM cdc_sink.dead_letter WHERE topic = 'many')))),
	"$letters|$letters", 'after the repair all can be applied');
is(sql('SELECT count(*) FROM many'), $partitions * $next[0], 'and no row is missing');
is(sql("SELECT cdc_sink.purge_dead_letter('0')"), $letters + 3, 'what is closed can be purged');

$node->stop('fast');
ok_no_crash($node, %made);
done_testing();
