# fault 47: where processes or slots run out, a subscription waits and says so; the log is not flooded.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Node;
use CdcSink::Workers;

my $db = 'postgres';
my $state = "SELECT subscription, state, state_reason FROM cdc_sink.pg_stat_cdc_sink_subscription ORDER BY 1";

# --- cdc_sink.max_workers
my $node = new_read_side('no_worker_slot', "cdc_sink.max_workers = 1\n");
create_idle_subscription($node, $db, 'a');
wait_for_workers($node, $db, 1);
create_idle_subscription($node, $db, 'b');
ok($node->poll_query_until($db, "SELECT state = 'waiting' AND state_reason = 'no_worker_slot' FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'b'"),
	'with cdc_sink.max_workers = 1 the second subscription waits');
$node->safe_psql($db, "SELECT cdc_sink.disable_subscription('a')");
ok($node->poll_query_until($db, "SELECT pid IS NOT NULL FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'b'"),
	'it gets the slot when the first is disabled');
$node->safe_psql($db, "SELECT cdc_sink.enable_subscription('a')");
is($node->safe_psql($db, "SELECT cdc_sink.wait_for_catchup('a', '1 ms')"), 'f', 'waiting for one without a slot ends at the time-out');
$node->safe_psql($db, "SELECT cdc_sink.drop_subscription('b')");
ok($node->poll_query_until($db, "SELECT pid IS NOT NULL FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'a'"),
	'and again when the other one is dropped');

# --- max_worker_processes: the launchers take two, so that one is left
create_idle_subscription($node, $db, 'b');
$node->append_conf('postgresql.conf', "cdc_sink.max_workers = 8\nmax_worker_processes = 3\n");
my $log = -s $node->logfile;
$node->restart;
ok($node->poll_query_until($db, "SELECT count(*) FILTER (WHERE pid IS NOT NULL) = 1 AND count(*) FILTER (WHERE state = 'waiting' AND state_reason = 'no_worker_slot') = 1 FROM cdc_sink.pg_stat_cdc_sink_subscription"),
	'with one process left one subscription runs and the other waits') or diag($node->safe_psql($db, $state));
my ($running) = $node->safe_psql($db, 'SELECT subscription FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE pid IS NOT NULL');
$node->safe_psql($db, "SELECT cdc_sink.disable_subscription('$running')");
ok($node->poll_query_until($db, "SELECT pid IS NOT NULL FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE enabled"),
	'it starts when the process of the first has ended') or diag($node->safe_psql($db, $state));
my $lines = () = slurp_file($node->logfile, $log) =~ /out of background worker slots for cdc_sink/g;
is($lines, 1, 'the log says it once');

done_testing();
