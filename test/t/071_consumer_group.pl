# Committed positions are published to a consumer group for lag tools, and nothing depends on it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Events;
use CdcSink::Kafka;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $kafka = CdcSink::Kafka->new(CdcSink::Kafka::authorizer());
my $node = new_read_side('group');
create_server($node, 'postgres', $kafka->bootstrap);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $origin = sql('SELECT system_identifier FROM pg_control_system()') . '/' . sql('SELECT oid FROM pg_database WHERE datname = current_database()');
my $positions = "SELECT partition || ' ' || next_offset || ' cdc_sink $origin' FROM cdc_sink.position WHERE subscription = 's' ORDER BY partition";
my $next = 0;

sub row { my $id = shift; return { %{ inserted({ id => $id }) }, partition => $id % 2 }; }

# New records for both partitions, applied.
sub write_records
{
	my ($count, $title) = @_;
	$kafka->produce('rows', map { row($next++) } 1 .. $count);
	ok_caught_up($node, 's', $title);
	is(sql('SELECT count(*) FROM rows'), $next, 'every record is a row');
	return;
}

# The group comes to hold the positions of the table.
sub ok_published
{
	my ($group, $title) = @_;
	my $want = sql($positions);
	my $got = '';
	eval { wait_for(sub { ($got = $kafka->offsets($group, 'rows', 2)) eq $want }, $title) };
	is($got, $want, $title);
	return;
}

sub worker_pid { return sql("SELECT pid FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's'"); }

$kafka->create_topic('rows', 2);
sql(q(CREATE TABLE rows (id int PRIMARY KEY);
	SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"consumer_group": "lag"}');
	SELECT cdc_sink.add_mapping('s', 'rows', 'rows')));
write_records(7, 'records are applied');
ok_published('lag', 'the group holds the positions, with who wrote them');
write_records(4, 'more of them');
ok_published('lag', 'the group follows');

# --- the last ones are published before the worker ends
$kafka->produce('rows', map { row($next++) } 1 .. 10);
ok_caught_up($node, 's', 'records are applied');
sql("SELECT cdc_sink.disable_subscription('s')");
is($kafka->offsets('lag', 'rows', 2), sql($positions), 'a worker that ends has published its last positions');

# --- never read back
sql("SELECT cdc_sink.set_position('s', 'rows', NULL, 'earliest'); TRUNCATE rows; SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'it goes on where the table says, not the group');
is(sql('SELECT count(*) FROM rows'), $next, 'with all rows');

# --- a group that we may not write to
my $log = -s $node->logfile;
$kafka->deny('group', 'secret', 'READ');
sql(q(SELECT cdc_sink.alter_subscription('s', options => '{"consumer_group": "secret"}')));
$node->poll_query_until('postgres', "SELECT state = 'streaming' AND hint ~ 'not published to consumer group \"secret\"' FROM cdc_sink.pg_stat_cdc_sink_subscription")
  or die "no hint about the group:\n" . show_views($node);
pass('fault 64: a group that may not be written to is a hint');
my $pid = worker_pid();
write_records(5, "fault 64: records are applied all the same ($_)") foreach 1 .. 3;
is(worker_pid(), $pid, 'by the same worker');
my $lines = () = slurp_file($node->logfile, $log) =~ /could not publish positions of subscription "s" to consumer group "secret": /g;
cmp_ok($lines, '<=', 2, "the log tells once of each complaint ($lines)");
cmp_ok($lines, '>=', 1, 'at least');
my $start = time();
sql("SELECT cdc_sink.disable_subscription('s')");
cmp_ok(time() - $start, '<', 5, 'the worker ends in time');
sql("SELECT cdc_sink.enable_subscription('s')");
$kafka->allow('group', 'secret', 'READ');
ok_published('secret', 'when the right is there, positions are published by themselves');
$node->poll_query_until('postgres', 'SELECT hint IS NULL FROM cdc_sink.pg_stat_cdc_sink_subscription') or die "the hint stays:\n" . show_views($node);
pass('and the hint is gone');

# --- no coordinator at all
$kafka->stop('KILL');
wait_for_state($node, 's', qr/^retrying broker_down$/);
$start = time();
sql("SELECT cdc_sink.disable_subscription('s')");
cmp_ok(time() - $start, '<', 5, 'fault 64: without a broker the worker ends in time');
sql("SELECT cdc_sink.enable_subscription('s')");
$kafka->start;
write_records(3, 'the broker is back');
ok_published('secret', 'and the group holds the positions');

# --- by hand
sql("SELECT cdc_sink.disable_subscription('s')");
$kafka->produce('rows', row($next++));
sql("CALL cdc_sink.run_batches('s')");
is($kafka->offsets('secret', 'rows', 2), sql($positions), 'run_batches publishes what it has applied');

$node->stop('fast');
ok_no_crash($node);
done_testing();
