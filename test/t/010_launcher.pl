# The launcher starts what should run, at commit, and keeps it running; nothing runs that should not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);
use CdcSink::Workers;

my $db = 'postgres';
my $node = new_read_side('launcher', "restart_after_crash = on\n");
my $state = "SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's'";

ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'"), 'the launcher runs');
is($node->safe_psql($db, "SELECT datname IS NULL FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'"), 't',
	'it is connected to no database');

# --- start at commit
$node->safe_psql($db, <<'SQL');
CREATE ROLE sink LOGIN;
GRANT CREATE ON DATABASE postgres TO sink;
GRANT ALL ON SCHEMA public TO sink;
CREATE SERVER nowhere FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
GRANT USAGE ON FOREIGN SERVER nowhere TO sink;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink;
SQL
$node->safe_psql($db, "BEGIN; SELECT cdc_sink.create_subscription('rolled_back', 'nowhere'); ROLLBACK;");
settle($node, $db);
is(scalar(worker_pids($node)), 0, 'fault 62: no worker for a subscription whose creation was rolled back');

$node->safe_psql($db, <<'SQL');
SET ROLE sink;
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('s', 'nowhere');
SELECT cdc_sink.add_mapping('s', 's', 't');
SQL
my ($pid) = wait_for_workers($node, $db, 1);
is($node->safe_psql($db, "SELECT usename || ' ' || datname FROM pg_stat_activity WHERE pid = $pid"), 'sink postgres',
	'a worker connects as the owner of its subscription');
is($node->safe_psql($db, "SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription"), $pid, 'the view names its process');

# --- kept running
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
$pid = wait_for_new_worker($node, $db, $pid);
pass('a terminated worker comes back');

my $launcher = launcher_pid($node);
$node->safe_psql($db, "SELECT pg_terminate_backend($launcher)");
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher' AND pid <> $launcher"),
	'a terminated launcher comes back');
settle($node, $db);
is(join(' ', worker_pids($node, $db)), $pid, 'and leaves the workers alone');

kill 'KILL', $pid;
$node->poll_query_until($db, "SELECT pg_postmaster_start_time() IS NOT NULL");
$pid = wait_for_new_worker($node, $db, $pid);
pass('after a crash of the server it comes back');

my $log = -s $node->logfile;
$node->stop('fast');
# what a process without a database knows of the shared catalogs; it is absent now and then
unlink $node->data_dir . '/global/pg_internal.init' or die "could not remove pg_internal.init: $!";
$node->start;
($pid) = wait_for_workers($node, $db, 1);
pass('after a restart it comes back');
is(join("\n", slurp_file($node->logfile, $log) =~ /^(.*launcher (?:FATAL|ERROR).*)$/mg), '', 'the launcher does without the file of shared indexes');

# --- stopped
$node->safe_psql($db, "BEGIN; SELECT cdc_sink.disable_subscription('s'); ROLLBACK;");
$pid = wait_for_new_worker($node, $db, $pid);
pass('a disable that was rolled back lets the worker start again');

is($node->safe_psql($db, <<'SQL'), "0\n0", 'disable_subscription returns when the worker has gone, and it stays so');
SET client_min_messages = warning;
SELECT FROM cdc_sink.disable_subscription('s');
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker';
SELECT FROM cdc_sink.enable_subscription('s');
SELECT FROM cdc_sink.disable_subscription('s');
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker';
SQL
settle($node, $db);
is(scalar(worker_pids($node)), 0, 'a disabled subscription has no worker');
$node->safe_psql($db, "SELECT cdc_sink.enable_subscription('s')");
($pid) = wait_for_workers($node, $db, 1);

$node->append_conf('postgresql.conf', "cdc_sink.enabled = off\n");
$node->reload;
wait_for_workers($node, $db, 0);
ok($node->poll_query_until($db, "SELECT ($state) = 'disabled server_disabled'"), 'cdc_sink.enabled = off stops all, the view says why');
$node->append_conf('postgresql.conf', "cdc_sink.enabled = on\n");
$node->reload;
($pid) = wait_for_workers($node, $db, 1);
pass('turned on again they start');

# --- an owner that cannot connect
$node->safe_psql($db, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until($db, "SELECT ($state) = 'stopped owner_cannot_connect'"), 'fault 45: an owner without CONNECT');
$node->safe_psql($db, 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');
($pid) = wait_for_workers($node, $db, 1);
pass('runs again by itself after the GRANT');
SKIP:
{
	skip 'from 17 on LOGIN is not needed', 2 if $node->safe_psql($db, 'SHOW server_version_num') >= 170000;
	$node->safe_psql($db, "ALTER ROLE sink NOLOGIN; SELECT pg_terminate_backend($pid)");
	ok($node->poll_query_until($db, "SELECT ($state) = 'stopped owner_cannot_login'"), 'fault 45: an owner without LOGIN');
	$node->safe_psql($db, 'ALTER ROLE sink LOGIN');
	($pid) = wait_for_workers($node, $db, 1);
	pass('runs again by itself after ALTER ROLE');
}

# --- back-off: a run without a batch makes the next pause longer
SKIP:
{
	skip 'needs a build with DEVELOPER=1', 2 if $node->psql($db, 'SHOW cdc_sink.debug_fail_at');
	$node->safe_psql($db, q{SELECT cdc_sink.alter_subscription('s', options => '{"retry_backoff_ms": 50, "retry_backoff_max_ms": 400}')});
	$node->append_conf('postgresql.conf', "cdc_sink.debug_fail_at = 'attached'\n");
	$node->reload;
	$log = -s $node->logfile;
	my $failures = qr/^\S+ (\S+) .*apply worker ERROR: .*stopped at debug point "attached"/m;
	$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
	wait_for(sub { scalar(() = slurp_file($node->logfile, $log) =~ /$failures/g) >= 6 }, 'six runs that fail');
	my @times = map { my ($h, $m, $s) = split /:/; ($h * 3600 + $m * 60 + $s) * 1000 } slurp_file($node->logfile, $log) =~ /$failures/g;
	# 100, 200, 400, 400, 400
	cmp_ok($times[5] - $times[0], '>=', 1500, 'pauses between runs that fail grow up to the limit');
	ok($node->poll_query_until($db, "SELECT ($state) = 'retrying worker_exited'"), 'the view says that it is retried');
	$node->append_conf('postgresql.conf', "cdc_sink.debug_fail_at = ''\n");
	$node->reload;
	($pid) = wait_for_workers($node, $db, 1);
}

$node->safe_psql($db, "SELECT cdc_sink.drop_subscription('s')");
wait_for_workers($node, $db, 0);
is($node->safe_psql($db, 'SELECT count(*) FROM cdc_sink.pg_stat_get_cdc_sink_error()'), '0', 'nothing is left of a dropped subscription');

$node->stop('fast');
done_testing();
