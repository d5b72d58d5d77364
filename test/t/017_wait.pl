# wait_for_catchup and wait_for_offset where the answer is an error or "no": none of it needs a broker.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Node;
use CdcSink::Workers;

my $db = 'postgres';
my $node = new_read_side('wait');

# What a script says, errors with their SQLSTATE, detail and hint.
sub errors_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql($db, "\\set VERBOSITY verbose\n$sql");
	return $err;
}

create_idle_subscription($node, $db, 's');
my ($pid) = wait_for_workers($node, $db, 1);

my $start = time;
is($node->safe_psql($db, "SELECT cdc_sink.wait_for_catchup('s', '1 s')"), 'f', 'without a broker the answer is false');
cmp_ok(time - $start, '>=', 1, 'not before the time is up');
cmp_ok(time - $start, '<', 5, 'and soon after');
is($node->safe_psql($db, "SELECT cdc_sink.wait_for_offset('s', 's', 0, 5, '10 ms')"), 'f', 'so for an offset');
is($node->safe_psql($db, "SELECT cdc_sink.wait_for_offset('s', 's', 77, 5, '10 ms')"), 'f', 'a partition that is not known is waited for');
is($node->safe_psql($db, "SELECT cdc_sink.wait_for_catchup('s', '-1 s')"), 'f', 'a negative time is up at once');

like(errors_of("SELECT cdc_sink.wait_for_offset('s', 'other', 0, 5)"), qr/42704: topic "other" is not mapped/, 'a topic that is not mapped');
like(errors_of("SELECT cdc_sink.wait_for_catchup('nobody')"), qr/42704: subscription "nobody" does not exist/, 'no such subscription');
like(errors_of("SELECT cdc_sink.wait_for_catchup('s', NULL)"), qr/22004/, 'no time-out');
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	like(errors_of("BEGIN ISOLATION LEVEL $level; SELECT cdc_sink.wait_for_catchup('s', '1 s');"), qr/25001: .*REPEATABLE READ or above/, "refused in $level");
}
$node->safe_psql($db, 'CREATE ROLE stranger; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO stranger');
like(errors_of("SET ROLE stranger; SELECT cdc_sink.wait_for_catchup('s', '1 s')"), qr/42501/, 'refused to who is no member of the owner');

# --- the caller stands in the way itself
my $changed = qr/55000: subscription "s" was changed in this transaction\nDETAIL:  State: waiting, reason: uncommitted_change\.\nHINT:/;
foreach my $change ("add_mapping('s', 'new', 'target')", "alter_subscription('s', options => '{\"batch_rows\": 5}')", "disable_subscription('s', wait => false)")
{
	like(errors_of("BEGIN; SELECT cdc_sink.$change; SELECT cdc_sink.wait_for_catchup('s', '1 s')"), $changed, "an uncommitted $change");
}
is(errors_of("BEGIN; SAVEPOINT a; SELECT cdc_sink.add_mapping('s', 'new', 'target'); ROLLBACK TO a; SELECT cdc_sink.wait_for_catchup('s', '10 ms')"), '',
	'a change that was rolled back is none');
# a worker that starts must read the mappings
$start = time;
like(errors_of("BEGIN; LOCK TABLE cdc_sink.mapping IN ACCESS EXCLUSIVE MODE; SELECT pg_terminate_backend($pid); SELECT cdc_sink.wait_for_catchup('s', '30 s')"),
	qr/55000: subscription "s" is waiting\nDETAIL:  State: waiting, reason: lock\.\nHINT:/, 'a worker that waits for a lock of the caller');
cmp_ok(time - $start, '<', 10, 'is found out soon');
$pid = wait_for_new_worker($node, $db, $pid);

$start = time;
$node->safe_psql($db, <<SQL);
BEGIN;
LOCK TABLE cdc_sink.mapping IN ACCESS EXCLUSIVE MODE;
SELECT pg_terminate_backend($pid);
DO \$\$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'cdc_sink.mapping'::regclass) LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
END \$\$;
SELECT cdc_sink.disable_subscription('s');
ROLLBACK;
SQL
cmp_ok(time - $start, '<', 10, 'disable_subscription does not wait for a worker that waits for the caller');
wait_for_workers($node, $db, 1);

# --- what does not run
$node->safe_psql($db, "SELECT cdc_sink.remove_mapping('s', 's')");
like(errors_of("SELECT cdc_sink.wait_for_catchup('s')"), qr/55000: subscription "s" is waiting\nDETAIL:  State: waiting, reason: no_mapping\.\nHINT:/, 'no mapping');
$node->safe_psql($db, "SELECT cdc_sink.add_mapping('s', 's', 'target', options => '{\"enabled\": false}')");
like(errors_of("SELECT cdc_sink.wait_for_offset('s', 's', 0, 5)"), qr/55000: .*\nDETAIL:  State: disabled, reason: mapping_disabled\.\nHINT:/, 'a disabled mapping');
$node->safe_psql($db, "SELECT cdc_sink.alter_mapping('s', 's', options => '{\"enabled\": true}')");
$node->safe_psql($db, "SELECT cdc_sink.disable_subscription('s')");
like(errors_of("SELECT cdc_sink.wait_for_catchup('s')"), qr/55000: subscription "s" is disabled\nDETAIL:  State: disabled, reason: disabled\.\nHINT:/, 'a disabled subscription');
$node->safe_psql($db, "SELECT cdc_sink.enable_subscription('s')");
wait_for_workers($node, $db, 1);

# --- the end of a wait
my $waiter = $node->background_psql($db, on_error_stop => 0);
$waiter->query_until(qr/waiting/, "\\echo waiting\nSELECT cdc_sink.wait_for_catchup('s', '1 hour');\n");
$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND state = 'active' AND pid <> pg_backend_pid()");
$node->safe_psql($db, "SELECT cdc_sink.disable_subscription('s')");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND state = 'active' AND pid <> pg_backend_pid()"),
	'a waiter learns that the subscription was disabled');
$node->safe_psql($db, "SELECT cdc_sink.enable_subscription('s')");
wait_for_workers($node, $db, 1);
$waiter->query_until(qr/again/, "\\echo again\nSELECT cdc_sink.wait_for_catchup('s', '1 hour');\n");
$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND state = 'active' AND pid <> pg_backend_pid()");
$node->safe_psql($db, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND state = 'active' AND pid <> pg_backend_pid()");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%1 hour%' AND state = 'active' AND pid <> pg_backend_pid()"),
	'and can be cancelled');
$waiter->quit;

# --- the owner is changed: another process, connected as the new one
$node->safe_psql($db, 'CREATE ROLE heir LOGIN; GRANT CREATE ON DATABASE postgres TO heir; GRANT USAGE ON FOREIGN SERVER nowhere TO heir; GRANT ALL ON target TO heir');
$node->safe_psql($db, "ALTER TABLE target OWNER TO heir; SELECT cdc_sink.alter_subscription('s', owner => 'heir')");
ok($node->poll_query_until($db, "SELECT usename = 'heir' FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'"),
	'a new owner is who the worker connects as');
$node->safe_psql($db, "SELECT cdc_sink.alter_subscription('s', new_name => 'renamed')");
ok($node->poll_query_until($db, "SELECT pid IS NOT NULL FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'renamed'"), 'a new name');

done_testing();
