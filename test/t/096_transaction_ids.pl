# fault 50: where the server has run out of transaction ids, batches are tried again; no record is blamed, and after a vacuum it goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::Faults;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
$broker->create_topic('items', 1);
my $node = new_read_side('ids', "wal_level = logical\nmax_wal_senders = 2\nmax_replication_slots = 2\nautovacuum_naptime = 1s\n");
create_server($node, $db, $broker->bootstrap);
sub sql { return $node->safe_psql($db, $_[0]); }
sql(<<'SQL');
CREATE TABLE items (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"on_error": "dead_letter", "retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SQL
$broker->produce('items', 0, map { inserted({ id => $_, v => 'a' }) } 1 .. 50);
ok_caught_up($node, 's', 'a worker runs');

# an old slot keeps vacuum from moving the limit further than it is moved here, and the next transaction id is set just before it
my @databases = ($db, 'template0', 'template1');
sql("UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'");
sql("SELECT pg_create_logical_replication_slot('old', 'pgoutput')");
$node->safe_psql($_, 'VACUUM (FREEZE)') foreach @databases;
my ($oldest) = sql('SELECT min(datfrozenxid::text::bigint) FROM pg_database');
$node->stop('fast');
my $limit = $oldest + 2**31 - 1 - 3_000_000;
my $next = $limit - 40;
my $segment = $node->data_dir . sprintf('/pg_xact/%04X', $next / (8192 * 4 * 32));
append_to_file($segment, "\0" x (8192 * 32)) unless -e $segment;
command_ok([ 'pg_resetwal', '-x', $next, $node->data_dir ], 'the next transaction id is near the limit');
$node->start;
$node->psql($db, 'SELECT pg_current_xact_id()') foreach 1 .. 60;
my ($code, $out, $err) = $node->psql($db, 'SELECT pg_current_xact_id()');
like($err, qr/not (?:accepting commands|accepting commands that assign new)/, 'the server takes no more transactions');

$broker->produce('items', 0, map { inserted({ id => $_, v => 'b' }) } 51 .. 100);
wait_for_state($node, 's', qr/^retrying insufficient_resources$/);
pass('fault 50: the batch is tried again, whatever on_error says');
like(sql("SELECT sqlstate || ' ' || message FROM cdc_sink.pg_stat_cdc_sink_error ORDER BY occurred_at DESC LIMIT 1"), qr/^54000 database is not accepting commands/, 'the view says why');
is(sql('SELECT count(*) FROM items'), '50', 'nothing is applied meanwhile');
sql("SELECT pg_drop_replication_slot('old')");
my $done = eval { wait_for(sub { $node->psql($_, 'VACUUM (FREEZE)') foreach @databases; return subscription_state($node, 's') eq 'streaming' }, 'the limit moves') };
is($done, 1, 'after a vacuum it goes on by itself') or diag($@ . show_views($node));
ok_caught_up($node, 's', 'and is caught up');
is(sql('SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM cdc_sink.dead_letter)'), '100|0', 'nothing is lost, and nothing became a dead letter');

$node->stop('fast');
ok_no_crash($node);
done_testing();
