# fault 4: a server stops and a database is dropped within 5 s, while the broker is gone and while the worker's queue is full behind a lock.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Workers;

my $partitions = 4;
my $records = 3000;
my $limit = 5;

my $broker = CdcSink::MockBroker->new;
# the queue holds a quarter: 4 MB of the 12 MB that the topic has
my $node = new_read_side('busy', "cdc_sink.memory_limit = 16MB\n");
$broker->create_topic('big', $partitions);
$broker->create_topic('small', 1);

sub create_database
{
	my $db = shift;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION cdc_sink; CREATE TABLE big (id int PRIMARY KEY, v text); CREATE TABLE small (id int PRIMARY KEY, v text)');
	create_server($node, $db, $broker->bootstrap);
	$node->safe_psql($db, "SELECT cdc_sink.create_subscription('s', 'kafka', options => '{\"retry_backoff_ms\": 10}'); SELECT cdc_sink.add_mapping('s', 'small', 'small')");
	return;
}

sub ok_fast
{
	my ($title, $action) = @_;
	my $start = time;
	$action->();
	cmp_ok(time - $start, '<', $limit, "$title takes less than $limit s");
	return;
}

# A session that holds the table until it is ended, and a worker that waits for it with all its memory full.
sub fill_queue
{
	my $db = shift;
	my $session = $node->background_psql($db, on_error_stop => 0);
	$session->query_until(qr/locked/, "BEGIN;\nLOCK TABLE big IN SHARE MODE;\n\\echo locked\n");
	$node->safe_psql($db, "SELECT cdc_sink.add_mapping('s', 'big', 'big')");
	wait_for_state($node, 's', qr/^waiting lock$/, $db);
	return $session;
}

create_database('one');
$broker->produce('small', 0, inserted({ id => 1, v => 'a' }));
ok_caught_up($node, 's', 'a worker runs', 'one');

# --- the broker is gone
$broker->down;
wait_for_state($node, 's', qr/^retrying/, 'one');
ok_fast('a fast shutdown without a broker', sub { $node->stop('fast') });
$node->start;
wait_for_workers($node, 'one', 1);
ok_fast('a fast shutdown with a worker that never met a broker', sub { $node->stop('fast') });
$node->start;
wait_for_workers($node, 'one', 1);
wait_for_state($node, 's', qr/^retrying/, 'one');
ok_fast('DROP DATABASE WITH (FORCE) without a broker', sub { $node->safe_psql('postgres', 'DROP DATABASE one WITH (FORCE)') });
$broker->up;
is(scalar(worker_pids($node)), 0, 'its worker is gone');

# --- the queue is full
$broker->produce('big', $_, map { inserted({ id => $_, v => 'v' x 1000 }) } $_ * $records + 1 .. ($_ + 1) * $records) foreach 0 .. $partitions - 1;
create_database('two');
ok_caught_up($node, 's', 'another worker runs', 'two');
my $session = fill_queue('two');
ok_fast('a fast shutdown with a full queue', sub { $node->stop('fast') });
eval { $session->{run}->kill_kill };
$node->start;
ok_caught_up($node, 's', 'and afterwards it goes on where it was', 'two');
is($node->safe_psql('two', 'SELECT count(*), sum(length(v)) FROM big'), join('|', $partitions * $records, $partitions * $records * 1000), 'with all rows');

create_database('three');
$session = fill_queue('three');
$broker->down;
ok_fast('DROP DATABASE WITH (FORCE) with a full queue, when the broker goes, too', sub { $node->safe_psql('postgres', 'DROP DATABASE three WITH (FORCE)') });
eval { $session->{run}->kill_kill };
is(scalar(worker_pids($node, 'three')), 0, 'its worker is gone');
$broker->up;
create_database('four');
$session = fill_queue('four');
ok_fast('DROP DATABASE WITH (FORCE) with a full queue', sub { $node->safe_psql('postgres', 'DROP DATABASE four WITH (FORCE)') });
eval { $session->{run}->kill_kill };

ok_fast('at last, a fast shutdown', sub { $node->stop('fast') });
ok_no_crash($node);
done_testing();
