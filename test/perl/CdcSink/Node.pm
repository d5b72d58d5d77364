# PostgreSQL servers of a pipeline: the writer that Debezium reads, and the read side with cdc_sink.
package CdcSink::Node;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Process qw(wait_for);

our @EXPORT = qw(new_writer new_read_side create_server subscription_state wait_for_state show_views ok_caught_up is_text ok_same_rows ok_no_crash);

# A started server that a Debezium connector can read: logical WAL, reachable on 127.0.0.1.
sub new_writer
{
	my $name = shift // 'writer';
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\nunix_socket_directories = '" . $node->host . "'\n");
	$node->append_conf('pg_hba.conf', "host all all 127.0.0.1/32 trust\n");
	$node->start;
	# the superuser is called as whoever runs the test
	$node->{cdc_superuser} = $node->safe_psql('postgres', 'SELECT current_user');
	return $node;
}

# A started server with cdc_sink loaded and, in the database postgres, created. Further settings as text.
sub new_read_side
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name // 'read_side');
	$node->init;
	$node->append_conf('postgresql.conf', <<CONF);
shared_preload_libraries = 'cdc_sink'
max_worker_processes = 32
log_line_prefix = '%m [%p] %b '
log_min_messages = info
CONF
	$node->append_conf('postgresql.conf', $settings) if $settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cdc_sink');
	return $node;
}

# The foreign server "kafka" of a database.
sub create_server
{
	my ($node, $database, $bootstrap) = @_;
	$node->safe_psql($database, qq{CREATE SERVER kafka FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '$bootstrap')});
	return;
}

# "state reason" of a subscription, as its view shows it.
sub subscription_state
{
	my ($node, $subscription, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = '$subscription'");
}

sub wait_for_state
{
	my ($node, $subscription, $want, $database) = @_;
	my $state;
	eval { wait_for(sub { ($state = subscription_state($node, $subscription, $database)) =~ $want }, "state $want of $subscription") }
	  or die $@ . "it is: $state\n" . show_views($node, $database);
	return;
}

# What the views say, for the report of a failure.
sub show_views
{
	my ($node, $database) = @_;
	my ($code, $out, $err) = $node->psql($database // 'postgres', <<'SQL');
SELECT subscription, state, state_reason, hint, records, retries, errors FROM cdc_sink.pg_stat_cdc_sink_subscription;
SELECT topic, partition, state, state_reason, next_offset, end_offset FROM cdc_sink.pg_stat_cdc_sink_partition ORDER BY 1, 2;
SELECT topic, partition, "offset", sqlstate, message, detail, disposition FROM cdc_sink.pg_stat_cdc_sink_error ORDER BY occurred_at DESC LIMIT 5;
SQL
	return "$out\n$err";
}

# Waits until a subscription has applied all that is in Kafka.
sub ok_caught_up
{
	my ($node, $subscription, $title, $database) = @_;
	my ($code, $out, $err) = $node->psql($database // 'postgres', "SELECT cdc_sink.wait_for_catchup('$subscription')");
	is("$out$err", 't', $title) or diag(show_views($node, $database));
	return;
}

# Compares texts of many lines; a failure shows the first lines that differ.
sub is_text
{
	my ($got, $want, $title) = @_;
	return 1 if ok($got eq $want, $title);
	my (@got, @want) = ();
	@got = split(/\n/, $got);
	@want = split(/\n/, $want);
	diag(scalar(@got) . ' lines instead of ' . scalar(@want));
	my $shown = 0;
	foreach my $i (0 .. ($#got > $#want ? $#got : $#want))
	{
		my ($g, $w) = ($got[$i] // '(none)', $want[$i] // '(none)');
		next if $g eq $w;
		diag("line $i: got $g, want $w");
		last if ++$shown == 3;
	}
	return 0;
}

# Both servers answer a query alike, at the latest within the time limit of tests.
sub ok_same_rows
{
	my ($writer, $read, $query, $title) = @_;
	my $want = $writer->safe_psql('postgres', $query);
	my $got = '';
	eval { wait_for(sub { ($got = $read->safe_psql('postgres', $query)) eq $want }, $title) };
	is_text($got, $want, $title) or diag(show_views($read));
	return;
}

# No process of the server ended by a signal, and it never went through crash recovery, but as often as the test made it:
# kills => processes that it killed, stops => immediate stops of the server.
sub ok_no_crash
{
	my ($node, %made) = @_;
	my ($kills, $stops) = ($made{kills} // 0, $made{stops} // 0);
	my $log = slurp_file($node->logfile);
	my @crashes = $log =~ /^(.*(?:terminated by signal (?!9\b)|TRAP:|PANIC:).*)$/mg;
	is(join("\n", @crashes), '', 'no process of ' . $node->name . ' crashed');
	my $killed = () = $log =~ /terminated by signal 9\b/g;
	my $reinitialized = () = $log =~ /reinitializing/g;
	my $recovered = () = $log =~ /was not properly shut down/g;
	is("$killed $reinitialized $recovered", "$kills $kills " . ($kills + $stops), 'kills, restarts and recoveries of ' . $node->name);
	return;
}

1;
