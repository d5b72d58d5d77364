# A schema is renamed, and another one takes its name: what was mapped is written, or nothing; never what bears the name now.
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
my $node = new_read_side('renamed');
sub sql { return $node->safe_psql($db, $_[0]); }
create_server($node, $db, $broker->bootstrap);
$broker->create_topic('app', 1);

# victim owns the table; mallory owns its schema, and the look-alikes; the gate holds a batch up while it is not empty
sql(<<'SQL');
CREATE ROLE sink LOGIN;
CREATE ROLE mallory LOGIN;
CREATE ROLE victim;
GRANT victim TO sink;
GRANT CREATE ON DATABASE postgres TO sink, mallory;
GRANT USAGE ON FOREIGN SERVER kafka TO sink;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink;
CREATE SCHEMA app AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA app TO PUBLIC;
CREATE TABLE app.items (id int PRIMARY KEY, v text);
ALTER TABLE app.items OWNER TO victim;
CREATE SCHEMA m AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA m TO PUBLIC;
SET ROLE mallory;
CREATE TABLE m.loot (who text);
GRANT INSERT ON m.loot TO PUBLIC;
CREATE FUNCTION m.steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO m.loot VALUES (current_user); RETURN COALESCE(NEW, OLD); END $$;
RESET ROLE;
CREATE SCHEMA s AUTHORIZATION sink;
SET ROLE sink;
CREATE TABLE s.closed ();
CREATE TABLE s.gate (id int PRIMARY KEY, v text);
CREATE FUNCTION s.pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN WHILE EXISTS (SELECT FROM s.closed) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END $$;
CREATE TRIGGER pass BEFORE INSERT ON s.gate FOR EACH ROW EXECUTE FUNCTION s.pass();
ALTER TABLE s.gate ENABLE ALWAYS TRIGGER pass;
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
SELECT cdc_sink.add_mapping('s', 'app', 'app.items', 'public.items');
SELECT cdc_sink.add_mapping('s', 'app', 's.gate', 'public.gate');
SQL

# Puts the look-alike where the table was.
sub rename_away
{
	is(as_role($node, 'mallory', <<'SQL') =~ s/\n//gr, '', 'the owner of the schema renames it and takes its name');
ALTER SCHEMA app RENAME TO old;
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO PUBLIC;
CREATE TABLE app.items (id int PRIMARY KEY, v text);
GRANT ALL ON app.items TO PUBLIC;
INSERT INTO app.items VALUES (1, 'look-alike'), (2, 'look-alike');
CREATE TRIGGER steal BEFORE INSERT OR UPDATE OR DELETE ON app.items FOR EACH ROW EXECUTE FUNCTION m.steal();
CREATE TRIGGER steal_all BEFORE TRUNCATE ON app.items FOR EACH STATEMENT EXECUTE FUNCTION m.steal();
ALTER TABLE app.items ENABLE ALWAYS TRIGGER steal;
ALTER TABLE app.items ENABLE ALWAYS TRIGGER steal_all;
SQL
	return;
}

# Nothing was done to the look-alike; with its name back, the table gets what it is due.
sub ok_untouched
{
	my ($what) = @_;
	ok_stops($node, 'app', 'configuration_error', qr/^42809 relation app\.items of the mapping of topic "app" is now called old\.items/, $what);
	is(sql('SELECT count(*) FROM m.loot'), '0', "$what: no code of the look-alike ran");
	is(sql('SELECT id, v FROM app.items ORDER BY id'), "1|look-alike\n2|look-alike", "$what: its rows are what they were");
	as_role($node, 'mallory', 'DROP SCHEMA app CASCADE; ALTER SCHEMA old RENAME TO app');
	$node->poll_query_until($db, 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription') or die 'it stays stopped';
	ok_caught_up($node, 's', "$what: with the name back it goes on by itself");
	return;
}

# Renames while a batch, which knows its tables already, waits at the gate.
my $gate = 100;
sub rename_within
{
	my ($what, @records) = @_;
	as_role($node, 'sink', "SELECT cdc_sink.disable_subscription('s'); INSERT INTO s.closed DEFAULT VALUES");
	$gate++;
	$broker->produce('app', 0, record_of('gate', 'c', { id => $gate, v => 'x' }), @records);
	as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')");
	$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker' AND wait_event = 'PgSleep'") or die 'no batch waits';
	rename_away();
	as_role($node, 'sink', 'DELETE FROM s.closed');
	ok_untouched($what);
	return;
}

$broker->produce('app', 0, map { record_of('items', 'c', { id => $_, v => 'x' }) } 1 .. 3);
$broker->produce('app', 0, record_of('items', 'u', { id => 1, v => 'u' }), record_of('items', 'd', { id => 3 }));
ok_caught_up($node, 's', 'updates and deletes have their plans');

# --- between two batches
rename_away();
$broker->produce('app', 0, record_of('items', 'u', { id => 1, v => 'first' }), record_of('items', 'd', { id => 2 }));
ok_untouched('between two batches');
is(sql('SELECT id, v FROM app.items ORDER BY id'), '1|first', 'the table is as its source');

# --- within a batch
rename_within('update', record_of('items', 'u', { id => 1, v => 'second' }));
rename_within('insert', map { record_of('items', 'c', { id => $_, v => 'x' }) } 2 .. 4);
rename_within('delete', record_of('items', 'd', { id => 4 }));
is(sql('SELECT id, v FROM app.items ORDER BY id'), "1|second\n2|x\n3|x", 'the table is as its source');
my @truncates = map { { key => undef, value => qq({"before":null,"after":null,"op":"t","ts_ms":1,"source":{"schema":"public","table":"$_"}}) } } qw(gate items);
rename_within('truncate', @truncates);
is(sql('SELECT count(*) FROM app.items'), '0', 'the table is empty');

$node->stop('fast');
ok_no_crash($node);
done_testing();
