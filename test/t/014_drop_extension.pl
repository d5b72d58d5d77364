# fault 43: dROP EXTENSION stops the workers at commit; a rollback leaves them running; the extension can be created anew.
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
my $node = new_read_side('drop_extension');
create_idle_subscription($node, $db, 's');
my ($pid) = wait_for_workers($node, $db, 1);

$node->safe_psql($db, 'BEGIN; DROP EXTENSION cdc_sink CASCADE; ROLLBACK;');
is(join(' ', worker_pids($node, $db)), $pid, 'a rolled back DROP EXTENSION leaves the worker alone');
$node->safe_psql($db, "BEGIN; SAVEPOINT a; DROP EXTENSION cdc_sink CASCADE; ROLLBACK TO a; COMMIT;");
settle($node, $db);
is(join(' ', worker_pids($node, $db)), $pid, 'one in a subtransaction too');

my $log = -s $node->logfile;
my $rounds = $ENV{CDC_SINK_FULL} ? 200 : 10;
foreach my $i (1 .. $rounds)
{
	my ($old) = wait_for_workers($node, $db, 1);
	$node->safe_psql($db, 'DROP EXTENSION cdc_sink CASCADE');
	if ($i % 3 == 0)
	{
		# ids of subscriptions start again: the worker of the old one must go all the same
		$node->safe_psql($db, 'CREATE EXTENSION cdc_sink');
		create_idle_subscription($node, $db, 's');
		wait_for_new_worker($node, $db, $old);
	}
	else
	{
		wait_for_workers($node, $db, 0);
		$node->safe_psql($db, 'CREATE EXTENSION cdc_sink');
		create_idle_subscription($node, $db, 's');
	}
}
wait_for_workers($node, $db, 1);
pass("dropped and created anew $rounds times");

# --- ALTER EXTENSION
foreach my $change ('ADD FUNCTION public.extra()', 'DROP FUNCTION public.extra()')
{
	$node->safe_psql($db, 'CREATE FUNCTION public.extra() RETURNS int LANGUAGE sql RETURN 1') if $change =~ /^ADD/;
	my ($old) = wait_for_workers($node, $db, 1);
	$node->safe_psql($db, "BEGIN; ALTER EXTENSION cdc_sink $change; ROLLBACK");
	settle($node, $db);
	is(join(' ', worker_pids($node, $db)), $old, "fault 43: a rolled back ALTER EXTENSION $change leaves the worker alone");
	$node->safe_psql($db, "ALTER EXTENSION cdc_sink $change");
	wait_for_new_worker($node, $db, $old);
	pass("fault 43: after ALTER EXTENSION $change another worker runs");
}
$node->safe_psql($db, 'ALTER EXTENSION cdc_sink UPDATE');
settle($node, $db);
is(scalar(worker_pids($node, $db)), 1, 'ALTER EXTENSION UPDATE to the same version changes nothing');

$node->safe_psql($db, 'DROP EXTENSION cdc_sink CASCADE');
wait_for_workers($node, $db, 0);
$node->safe_psql($db, 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION cdc_sink');
settle($node, 'other');
is(scalar(worker_pids($node)), 0, 'none is left');
is(join("\n", slurp_file($node->logfile, $log) =~ /^(.*(?:launcher|worker) (?:FATAL|ERROR).*)$/mg), '', 'and no process met an error');

done_testing();
