# What one partition, one broker, one lock or one change of the server does to a worker does not slow down the rest of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $broker = CdcSink::MockBroker->new(2);
my $node = new_read_side('turns');
create_server($node, 'postgres', $broker->bootstrap);
sub sql { return $node->safe_psql('postgres', $_[0]); }

# A topic and a subscription of the same name, with a table.
sub subscribe
{
	my ($name, $partitions, $columns) = @_;
	$broker->create_topic($name, $partitions);
	sql("CREATE TABLE $name ($columns); SELECT cdc_sink.create_subscription('$name', 'kafka', options => '{\"retry_backoff_ms\": 50}'); SELECT cdc_sink.add_mapping('$name', '$name', '$name')");
	return;
}

# Seconds until a record has been applied.
sub latency
{
	my ($topic, $partition, $offset, $row) = @_;
	my $start = time();
	$broker->produce($topic, $partition, inserted($row));
	my $done = sql("SELECT cdc_sink.wait_for_offset('$topic', '$topic', $partition, $offset, '60 s')");
	my $seconds = time() - $start;
	note("offset $offset of partition $partition: $done, $seconds s");
	return $done eq 't' ? $seconds : 1000;
}

sub slowest { my $slowest = 0; foreach (@_) { $slowest = $_ if $_ > $slowest; } return $slowest; }

# --- a held record whose try met a transient error, and then has no reason to be tried
subscribe('held', 3, 'id int PRIMARY KEY, v text UNIQUE');
sql(<<'SQL');
CREATE TABLE fault (code text);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 1 AND EXISTS (SELECT FROM public.fault) THEN
		RAISE EXCEPTION 'the fault' USING ERRCODE = '40001';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON held FOR EACH ROW EXECUTE FUNCTION fail();
ALTER TABLE held ENABLE ALWAYS TRIGGER fail;
SQL
sub held_state { return sql("SELECT string_agg(state || ' ' || next_offset, ', ' ORDER BY partition) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'held'"); }
$broker->produce('held', 1, inserted({ id => 2, v => 'a' }), inserted({ id => 3, v => 'b', later => 1 }));
wait_for(sub { held_state() =~ /, stopped 1, / }, 'partition 1 stands before a missing column');
$broker->produce('held', 0, inserted({ id => 1, v => 'a' }));
wait_for(sub { held_state() =~ /^waiting 0, / }, 'partition 0 waits for it');
sql("INSERT INTO fault VALUES ('40001')");
my $retries = sql("SELECT retries FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'held'");
$broker->produce('held', 2, inserted({ id => 4, v => 'c' }));
ok($node->poll_query_until('postgres', "SELECT retries >= $retries + 5 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'held'"), 'a held record whose try met a transient error is tried again for that alone');
sql('DELETE FROM fault');
my $pid = sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'held'");
sub switches { my ($n) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m; return $n; }
my $calm = eval { wait_for(sub { my $before = switches(); sleep(1); return switches() - $before < 200; }, 'the worker is calm') };
ok($calm, 'and the worker does not spin afterwards');
sql("ALTER TABLE held ADD later int");
$broker->produce('held', 1, updated({ id => 2, v => 'moved' }));
$node->poll_query_until('postgres', "SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'held'");
ok_caught_up($node, 'held', 'it goes on');
sql("SELECT cdc_sink.drop_subscription('held')");

# --- a row of the extension is locked when a worker takes its partitions
subscribe('locked', 2, 'id int PRIMARY KEY');
$broker->produce('locked', $_, inserted({ id => $_ })) foreach 0, 1;
ok_caught_up($node, 'locked', 'there are positions');
sql("SELECT cdc_sink.disable_subscription('locked')");
my $session = $node->background_psql('postgres');
$session->query_until(qr/locked/, "BEGIN;\nSELECT FROM cdc_sink.position WHERE topic = 'locked' AND partition = 1 FOR UPDATE;\n\\echo locked\n");
sql("SELECT cdc_sink.enable_subscription('locked')");
wait_for_state($node, 'locked', qr/^waiting lock$/);
pass('a locked position is waited for');
$pid = sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'locked'");
like(sql("SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'locked'"), qr/topic "locked"/, 'and the hint says of which topic');
sleep(2);
$broker->produce('locked', 1, inserted({ id => 2 }));
$session->query_until(qr/unlocked/, "ROLLBACK;\n\\echo unlocked\n");
$session->quit;
ok_caught_up($node, 'locked', 'and taken when the lock is gone');
is(sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'locked'"), $pid, 'by the same worker');
is(sql('SELECT count(*) FROM locked'), 3, 'nothing is lost');
sql("SELECT cdc_sink.drop_subscription('locked')");

# --- the client is made anew
subscribe('altered', 1, 'id int PRIMARY KEY');
$broker->produce('altered', 0, inserted({ id => 0 }));
ok_caught_up($node, 'altered', 'a record comes');
foreach my $round (1 .. 3)
{
	sql(sprintf(q(ALTER SERVER kafka OPTIONS (%s "fetch.wait.max.ms" '%d')), $round == 1 ? 'ADD' : 'SET', 250 + $round));
	ok_caught_up($node, 'altered', "round $round: the server is altered");
	my ($first, @others) = map { latency('altered', 0, 5 * ($round - 1) + $_, { id => 10 * $round + $_ }) } 1 .. 5;
	cmp_ok($first, '<', 60, 'the first record waits for the client to connect');
	cmp_ok(slowest(@others), '<', 0.9, 'the worker is woken by its records, as before');
}
sql("SELECT cdc_sink.drop_subscription('altered')");

# --- one of two brokers is down, and somebody has asked for the ends
subscribe('ends', 2, 'id int PRIMARY KEY');
$broker->command('leader', 'ends', $_, $_ + 1) foreach 0, 1;
$broker->produce('ends', $_, inserted({ id => $_ })) foreach 0, 1;
ok_caught_up($node, 'ends', 'both partitions are read');
$broker->command('down', 2);
is(sql("SELECT cdc_sink.wait_for_catchup('ends', '1 s')"), 'f', 'with one broker down nobody is caught up');
latency('ends', 0, 1, { id => 11 });
cmp_ok(slowest(map { latency('ends', 0, $_, { id => 10 + $_ }) } 2 .. 6), '<', 3, 'the other broker\'s partition does not wait for that question again and again');
$broker->command('up', 2);
ok_caught_up($node, 'ends', 'when it is up again the question is answered');
sql("SELECT cdc_sink.drop_subscription('ends')");

# --- by hand, and no broker answers
subscribe('hand', 1, 'id int PRIMARY KEY');
sql("SELECT cdc_sink.disable_subscription('hand')");
$broker->down;
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nCALL cdc_sink.run_batches('hand')");
like($err, qr/ERROR:  08006: .*topic "hand"/, 'run_batches without a broker says so');
$broker->up;
$broker->produce('hand', 0, inserted({ id => 1 }));
sql("CALL cdc_sink.run_batches('hand')");
is(sql('SELECT count(*) FROM hand'), 1, 'and does its work with one');

$node->stop('fast');
ok_no_crash($node);
done_testing();
