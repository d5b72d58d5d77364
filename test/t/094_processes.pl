# Workers among many: stopped and continued, in crowds, behind a dead standby, in databases that come and go; quiet in the log.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use POSIX ();
use Time::HiRes qw(time);
use CdcSink::Events;
use CdcSink::Faults;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for work_dir);
use CdcSink::Workers;

my $full = $ENV{CDC_SINK_FULL};
my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my $db = 'postgres';
my $subscriptions = $full ? 80 : 16;
my $slots = $subscriptions + 8;
my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('processes', "wal_level = replica\nmax_wal_senders = 2\ncdc_sink.max_workers = $slots\nmax_worker_processes = " . ($slots + 8) . "\n");
create_server($node, $db, $broker->bootstrap);
sub sql { return $node->safe_psql($db, $_[0]); }
my $retry = q("retry_backoff_ms": 10, "retry_backoff_max_ms": 20);

$broker->create_topic('items', 1);
sql(<<SQL);
CREATE TABLE items (id int PRIMARY KEY, n int);
CREATE TABLE log (id int, n int, __offset bigint);
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{$retry}');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{$retry, "batch_rows": 10}');
SELECT cdc_sink.add_mapping('log', 'items', 'log', options => '{"mode": "append"}');
SQL
my $next = 0;
sub put { my ($n) = @_; $broker->produce('items', 0, map { inserted({ id => ++$next, n => $next }) } 1 .. $n); return; }

sub ok_all
{
	my ($title) = @_;
	ok_caught_up($node, $_, "$title: $_ is caught up") foreach qw(s log);
	is(sql('SELECT (SELECT concat(count(*), $$ $$, sum(n)) FROM items), (SELECT concat(count(*), $$ $$, sum(n), $$ $$, count(DISTINCT __offset)) FROM log)'),
		"$next " . $next * ($next + 1) / 2 . "|$next " . $next * ($next + 1) / 2 . " $next", "$title: nothing lost, nothing twice");
	return;
}
put(100);
ok_all('to begin with');

# What the processes of an idle or waiting worker hold: xmin, xid and a transaction older than some seconds.
sub holds
{
	my $seconds = shift;
	return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdc_sink%' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < clock_timestamp() - interval '$seconds s'");
}

# --- 50
my $xid = sql('SELECT pg_current_xact_id()');
put(2000);
ok_all('two thousand rows');
cmp_ok(sql('SELECT pg_current_xact_id()') - $xid, '<', 600, 'fault 50: a batch takes one transaction id, not one a row');
my $held = 0;
foreach (1 .. 20) { $held += holds(0); select(undef, undef, undef, 0.05) }
is($held, 0, 'fault 50: an idle worker holds back no vacuum');
my $session = $node->background_psql($db);
$session->query_until(qr/locked/, "BEGIN;\nLOCK TABLE items;\n\\echo locked\n");
put(10);
wait_for_state($node, 's', qr/^waiting lock$/);
$held = 0;
foreach (1 .. 20) { $held += holds(2); select(undef, undef, undef, 0.1) }
is($held, 0, 'fault 50: nor does one that waits for a lock, for longer than a try');
$session->query_until(qr/done/, "COMMIT;\n\\echo done\n");
$session->quit;

# --- 58
my $log = -s $node->logfile;
my $outage = $full ? 300 : 8;
$broker->down;
wait_for_state($node, 's', qr/^retrying/);
$held = 0;
my $end = time + $outage;
while (time < $end) { $held += holds(0); select(undef, undef, undef, 0.2) }
is($held, 0, 'fault 50: nor does one without a broker');
my $lines = () = slurp_file($node->logfile, $log) =~ /^.*\] cdc_sink apply worker .*$/mg;
cmp_ok($lines, '<=', 20 + $outage / 10, "fault 58: an outage of $outage s leaves a few lines in the log ($lines)");
$broker->up;
ok_all('after the outage');
sql(q(CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$;
	CREATE TRIGGER f BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE items ENABLE ALWAYS TRIGGER f));
$log = -s $node->logfile;
put(10);
wait_for(sub { sql("SELECT retries > 100 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's'") eq 't' }, 'a hundred tries');
$lines = () = slurp_file($node->logfile, $log) =~ /no room/g;
cmp_ok($lines, '<=', 3, "fault 58: a hundred tries of one batch are one line ($lines)");
sql('DROP TRIGGER f ON items');
ok_all('after the tries');
sql('ALTER TABLE items ADD CONSTRAINT c CHECK (n > 0); REVOKE ALL ON items FROM ' . sql('SELECT current_user') . '; CREATE ROLE keeper; ALTER TABLE items OWNER TO keeper; REVOKE ALL ON items FROM keeper');
$log = -s $node->logfile;
put(10);
wait_for_state($node, 's', qr/^stopped configuration_error/);
foreach my $i (1 .. 5) { sql("CREATE TABLE ddl$i (id int); DROP TABLE ddl$i"); select(undef, undef, undef, 1.1) }
$lines = () = slurp_file($node->logfile, $log) =~ /apply worker LOG: .*is stopped at offset/g;
is($lines, 1, 'fault 58: a partition that each DDL has try again is logged once');
sql('GRANT ALL ON items TO keeper');
$node->poll_query_until($db, 'SELECT sum(partitions_stopped) = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_all('after the GRANT');

# --- 60
my $pause = $full ? 300 : 6;
my @pids = worker_pids($node, $db);
kill('STOP', @pids);
put(500);
$broker->down;
select(undef, undef, undef, $pause / 2);
$broker->up;
put(500);
select(undef, undef, undef, $pause / 2);
is(sql("SELECT cdc_sink.wait_for_catchup('s', '1 s')"), 'f', 'who waits for a worker that stands still is told so');
kill('CONT', @pids);
ok_all("fault 60: after $pause s of standing still");
is(join(' ', worker_pids($node, $db)), join(' ', @pids), 'by the same processes');

# --- 63
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"synchronous_commit": "remote_apply"}')));
ok_all('with remote_apply and no standby');
sql("ALTER SYSTEM SET synchronous_standby_names = 'ghost'; ALTER SYSTEM SET synchronous_commit = local");
$node->reload;
put(10);
$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND wait_event = 'SyncRep'") or die 'the worker does not wait for the standby';
pass('fault 63: a commit waits for a standby that is dead');
is(sql("SELECT cdc_sink.wait_for_catchup('s', '1 s')"), 'f', 'and is not caught up');
is(sql("SELECT cdc_sink.wait_for_catchup('log')"), 't', 'a subscription that asks for less goes on');
my $waiting = worker_pid($node, 's');
sql("SELECT pg_cancel_backend($waiting)");
wait_for(sub { slurp_file($node->logfile) =~ /\[$waiting\] cdc_sink apply worker WARNING:  canceling wait for synchronous replication/ }, 'the wait is cancelled');
pass('fault 63: a cancel ends the wait');
put(10);
$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND wait_event = 'SyncRep'") or die 'the worker does not wait for the standby again';
sql("SELECT pg_terminate_backend(" . worker_pid($node, 's') . ')');
sql('ALTER SYSTEM RESET synchronous_standby_names; ALTER SYSTEM RESET synchronous_commit');
$node->reload;
ok_all('fault 63: after the standby is given up');

# --- 61
my ($topics, $partitions) = $full ? (10, 10) : (3, 4);
foreach my $t (1 .. $topics)
{
	$broker->create_topic("many$t", $partitions);
	$broker->produce("many$t", $_, map { inserted({ id => $_, n => 1 }) } $_ * 100 + 1 .. $_ * 100 + 10) foreach 0 .. $partitions - 1;
	sql("CREATE TABLE many$t (sub name DEFAULT current_setting('application_name'), id int, n int)");
}
foreach my $s (1 .. $subscriptions)
{
	sql("SELECT cdc_sink.create_subscription('many$s', 'kafka');" . join('', map { qq{SELECT cdc_sink.add_mapping('many$s', 'many$_', 'many$_', options => '{"mode": "append"}');} } 1 .. $topics));
}
my $slow = 0;
foreach my $s (1 .. $subscriptions) { $slow++ if sql("SELECT cdc_sink.wait_for_catchup('many$s')") ne 't' }
is($slow, 0, "fault 61: $subscriptions subscriptions of $topics topics with $partitions partitions");
is(sql(join(' + ', map { "(SELECT count(*) FROM many$_)" } 1 .. $topics) =~ s/^/SELECT /r), $subscriptions * $topics * $partitions * 10, 'each has every record');
my ($memory, $threads, $files) = (0, 0, 0);
foreach my $pid (worker_pids($node, $db))
{
	my $kb = memory_kb($pid);
	my @threads = glob("/proc/$pid/task/*");
	my @files = glob("/proc/$pid/fd/*");
	$memory = $kb if $kb > $memory;
	$threads = @threads if @threads > $threads;
	$files = @files if @files > $files;
}
cmp_ok($memory, '<', 60_000, "fault 61: the largest worker is small ($memory kB)");
cmp_ok($threads, '<', 16, "with few threads ($threads)");
cmp_ok($files, '<', 80, "and files ($files)");
foreach my $s (1 .. 8) { create_idle_subscription($node, $db, "more$s") }
ok($node->poll_query_until($db, "SELECT count(*) > 0 FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE state = 'waiting' AND state_reason = 'no_worker_slot'"), 'fault 61: beyond cdc_sink.max_workers a subscription waits, and says so');
sql("SELECT cdc_sink.drop_subscription(subscription) FROM cdc_sink.subscription WHERE subscription LIKE 'many%' OR subscription LIKE 'more%'");
wait_for_workers($node, $db, 2);

# --- 62: ten sessions that do anything to the same few subscriptions
my $sessions = 10;
my $seconds = $full ? 60 : 5;
my @children;
foreach my $child (1 .. $sessions)
{
	my $pid = fork() // die "could not fork: $!";
	if (!$pid)
	{
		srand($seed + $child);
		my $until = time + $seconds;
		while (time < $until)
		{
			my $name = 'c' . int(rand(4));
			my @calls = map { ("create_subscription('$name', 'nowhere')", "drop_subscription('$name', true)", "enable_subscription('$name')", "disable_subscription('$name', wait => " . (rand() < 0.5 ? 'true' : 'false') . ')',
				"alter_subscription('$name', options => '{\"batch_rows\": " . int(1 + rand(9)) . "}')", "add_mapping('$name', '$name', 'target')")[ int(rand(6)) ] } 1 .. 1 + int(rand(3));
			my $end = rand() < 0.3 ? 'ROLLBACK' : 'COMMIT';
			my ($code, $out, $err) = $node->psql($db, 'SET deadlock_timeout = 100; SET client_min_messages = error; BEGIN; ' . join('; ', map { "SELECT cdc_sink.$_" } @calls) . "; $end");
			# what the calls may say of each other; anything else is a fault
			next if $err eq '' || $err =~ /does not exist|already exists|mapped already|deadlock detected|duplicate key|could not serialize|current transaction is aborted|violates foreign key/;
			print STDERR "# session $child: @calls: $err\n";
			POSIX::_exit(1);
		}
		POSIX::_exit(0);
	}
	push @children, $pid;
}
my $bad = 0;
foreach my $pid (@children) { waitpid($pid, 0); $bad++ if $? }
is($bad, 0, "fault 62: $sessions sessions create, change, enable and drop the same subscriptions");
my $want = sql("SELECT string_agg(subscription, ' ' ORDER BY subscription) FROM cdc_sink.subscription WHERE enabled AND subscription LIKE 'c_'");
my $running = "SELECT coalesce(string_agg(substr(application_name, 10), ' ' ORDER BY application_name), '') FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND application_name LIKE 'cdc_sink c_'";
ok($node->poll_query_until($db, "SELECT ($running) = '" . ($want // '') . "'"), 'fault 62: what is enabled runs, and nothing else does') or diag(sql($running) . " instead of $want");
sql("SELECT cdc_sink.drop_subscription(subscription) FROM cdc_sink.subscription WHERE subscription LIKE 'c_'");
wait_for_workers($node, $db, 2);
pass('fault 62: no worker is left over');

# --- 44: six clients with databases
$node->safe_psql($db, 'CREATE DATABASE origin');
$node->safe_psql('origin', 'CREATE EXTENSION cdc_sink');
create_idle_subscription($node, 'origin', 's', ', enabled => false');
settle($node, 'origin');
@children = ();
$seconds = $full ? 60 : 6;
$log = -s $node->logfile;
foreach my $child (1 .. 6)
{
	my $pid = fork() // die "could not fork: $!";
	if (!$pid)
	{
		my $until = time + $seconds;
		while (time < $until)
		{
			my ($code, $out, $err) = $node->psql($db, "CREATE DATABASE d$child TEMPLATE origin");
			($code, $out, $err) = $node->psql("d$child", "SELECT cdc_sink.enable_subscription('s')") if $err eq '';
			($code, $out, $err) = $node->psql("d$child", "SELECT cdc_sink.disable_subscription('s')") if $err eq '' && $child % 2;
			($code, $out, $err) = $node->psql($db, "ALTER DATABASE d$child RENAME TO e$child; ALTER DATABASE e$child RENAME TO d$child") if $err eq '' && $child % 2;
			my $start = time;
			($code, $out, $err) = $node->psql($db, "DROP DATABASE d$child" . ($child % 2 ? '' : ' WITH (FORCE)')) if $err eq '';
			next if $err eq '' && time - $start < 20;
			print STDERR "# client $child: $err\n";
			POSIX::_exit(1);
		}
		POSIX::_exit(0);
	}
	push @children, $pid;
}
$bad = 0;
foreach my $pid (@children) { waitpid($pid, 0); $bad++ if $? }
is($bad, 0, 'fault 44: six clients create, rename and drop databases with subscriptions');
settle($node, $db);
wait_for_workers($node, $db, 2);
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'"), '2', 'no worker is left over');
is(join("\n", slurp_file($node->logfile, $log) =~ /^(.*launcher (?:FATAL|ERROR).*)$/mg), '', 'the launcher met no error');
put(100);
ok_all('after all of it');

$node->stop('fast');
ok_no_crash($node);
done_testing();
