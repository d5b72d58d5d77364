# Background workers of cdc_sink as pg_stat_activity shows them, and subscriptions that need no broker.
package CdcSink::Workers;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(worker_pids launcher_pid wait_for_workers wait_for_new_worker create_idle_subscription settle);

# Nothing listens there: a worker comes up, finds no broker and keeps trying.
my $nowhere = '127.0.0.1:1';

# Process ids of the apply workers of a database (of all: undef), in order.
sub worker_pids
{
	my ($node, $database) = @_;
	my $where = defined $database ? "AND datname = '$database'" : '';
	return split /\n/, $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' $where ORDER BY pid");
}

sub launcher_pid
{
	my ($node) = @_;
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'");
}

# Waits until so many apply workers run in a database; returns their process ids.
sub wait_for_workers
{
	my ($node, $database, $count) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND datname = '$database'")
	  or die "there are not $count apply workers in $database";
	return worker_pids($node, $database);
}

# Waits until the only worker of a database is another one than before; returns its process id.
sub wait_for_new_worker
{
	my ($node, $database, $old) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 AND min(pid) <> $old FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND datname = '$database'")
	  or die "no new apply worker in $database";
	return (worker_pids($node, $database))[0];
}

# A subscription with one mapping, at a server that nobody answers for; SQL options of create_subscription may follow.
sub create_idle_subscription
{
	my ($node, $database, $name, $options) = @_;
	$options //= '';
	$node->safe_psql($database, <<SQL);
DO \$\$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'nowhere') THEN
		CREATE SERVER nowhere FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '$nowhere');
	END IF;
END \$\$;
CREATE TABLE IF NOT EXISTS target (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('$name', 'nowhere' $options);
SELECT cdc_sink.add_mapping('$name', '$name', 'target');
SQL
	return;
}

# Waits until the launcher has acted on all that was committed in a database: a subscription that was created
# and enabled after it runs.
sub settle
{
	my ($node, $database) = @_;
	my $before = worker_pids($node, $database);
	create_idle_subscription($node, $database, 'settle');
	wait_for_workers($node, $database, $before + 1);
	$node->safe_psql($database, "SELECT cdc_sink.disable_subscription('settle')");
	$node->safe_psql($database, "SELECT cdc_sink.drop_subscription('settle')");
	return;
}

1;
