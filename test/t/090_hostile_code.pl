# fault 42: whatever the owner of a table has attached to it runs as that owner and gets no further; what cannot be allowed stops its partition.
use strict;
use warnings;

use FindBin;
use JSON::PP;
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
my $node = new_read_side('hostile');
create_server($node, $db, $broker->bootstrap);
$broker->create_topic($_, 1) foreach qw(evil pair traps plain own asowner victim ruled grows meddles);

# keeper is the attacker: it owns tables that "sink" applies to, and wants to become sink, or the victim
$node->safe_psql($db, <<'SQL');
CREATE ROLE sink LOGIN;
CREATE ROLE keeper LOGIN;
CREATE ROLE victim;
GRANT keeper, victim TO sink;
GRANT CREATE ON DATABASE postgres TO sink, keeper;
GRANT USAGE ON FOREIGN SERVER kafka TO sink;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink, keeper;
CREATE SCHEMA k AUTHORIZATION keeper;
CREATE SCHEMA v AUTHORIZATION victim;
CREATE SCHEMA s AUTHORIZATION sink;
GRANT USAGE ON SCHEMA k TO PUBLIC;
SET ROLE victim;
CREATE TABLE v.items (id int PRIMARY KEY, note text);
CREATE TABLE v.secret (word text);
INSERT INTO v.secret VALUES ('secret');
-- an innocent trigger whose author trusted the search_path
CREATE FUNCTION v.tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := lower(NEW.note); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT ON v.items FOR EACH ROW EXECUTE FUNCTION v.tidy();
ALTER TABLE v.items ENABLE ALWAYS TRIGGER tidy;
SET ROLE keeper;
CREATE TABLE k.evil (id int PRIMARY KEY, what text);
CREATE TABLE k.loot (who text, what text);
GRANT INSERT ON k.loot TO PUBLIC;
CREATE FUNCTION k.break_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.what; RETURN NEW; END $$;
CREATE TRIGGER break_out BEFORE INSERT ON k.evil FOR EACH ROW EXECUTE FUNCTION k.break_out();
ALTER TABLE k.evil ENABLE ALWAYS TRIGGER break_out;
SQL
my $setup = as_role($node, 'sink', <<'SQL');
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
SELECT cdc_sink.add_mapping('s', 'evil', 'k.evil');
SELECT cdc_sink.add_mapping('s', 'victim', 'v.items');
SQL
is($setup =~ s/\n//gr, '', 'a plain role subscribes');

my $id = 0;
sub attack
{
	my ($topic, $what) = @_;
	$broker->produce($topic, 0, inserted({ id => ++$id, what => $what }));
	return;
}

# --- statements of a trigger: refused, and why
my @refused = (
	[ 'SET ROLE sink', qr/^42501 cannot set parameter "role"/ ],
	[ 'RESET ROLE', qr/^42501 cannot set parameter "role"/ ],
	[ 'SET SESSION AUTHORIZATION sink', qr/^42501 cannot set parameter "session_authorization"/ ],
	[ 'RESET SESSION AUTHORIZATION', qr/^42501 cannot set parameter "session_authorization"/ ],
	[ q{SELECT set_config('role', 'victim', false)}, qr/^42501 cannot set parameter "role"/ ],
	[ 'SET session_replication_role = origin', qr/^42501 permission denied to set parameter/ ],
	[ 'CREATE TEMP TABLE t (i int)', qr/^42501 cannot create temporary table/ ],
	[ 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', qr/^42501 cannot create a cursor WITH HOLD/ ],
	[ 'SELECT pg_terminate_backend(pg_backend_pid())', qr/^42501 (?:must be a member of|permission denied to terminate)/ ],
	[ 'SELECT * FROM v.secret', qr/^42501 permission denied for schema v/ ],
	[ 'UPDATE cdc_sink.position SET next_offset = 0', qr/^42501 (?:permission denied for table|query would be affected by row-level security policy for table) "?position/ ],
	[ 'INSERT INTO cdc_sink.subscription SELECT * FROM cdc_sink.subscription', qr/^42501 (?:permission denied for table|query would be affected by row-level security policy for table) "?subscription/ ],
	[ q{SELECT cdc_sink.drop_subscription('s')}, qr/^42501 permission denied for subscription "s"/ ],
	[ q{SELECT cdc_sink.disable_subscription('s')}, qr/^42501 permission denied for subscription "s"/ ],
	[ 'ALTER ROLE keeper SUPERUSER', qr/^42501 (?:must be superuser|permission denied to alter role)/ ],
	[ q{COPY (SELECT 1) TO PROGRAM 'true'}, qr/^42501 (?:must be superuser|permission denied to COPY)/ ],
	[ 'ALTER TABLE v.items OWNER TO keeper', qr/^42501 permission denied for schema v/ ],
	[ 'PREPARE p AS SELECT 1', qr/^42501 cannot execute PREPARE/ ],
	[ 'LISTEN it', qr/^42501 cannot execute LISTEN/ ],
	[ 'DISCARD ALL', qr/^42501 cannot execute DISCARD/ ]);
foreach my $case (@refused)
{
	my ($what, $why) = @$case;
	attack('evil', $what);
	ok_stops($node, 'evil', 'configuration_error', $why, "fault 42: a trigger cannot: $what");
	pass_over($node, 's', 'evil');
	ok_caught_up($node, 's', 'and its partition goes on behind it');
}
# COMMIT ends no transaction of ours; it is the record's error
attack('evil', 'COMMIT');
wait_for_state($node, 's', qr/^stopped/);
like(last_error($node, 'evil'), qr/^(?:0A000|2D000) /, 'fault 42: a trigger cannot: COMMIT');
pass_over($node, 's', 'evil');
ok_caught_up($node, 's', 'nor does it stop what comes behind');

# --- what is allowed has no effect beyond the trigger's owner
foreach my $what ("SET search_path = k", "SET DateStyle = 'SQL, DMY'", 'SET lock_timeout = 0', 'SET transaction_read_only = on', 'SET CONSTRAINTS ALL DEFERRED', 'SELECT pg_advisory_lock(1)',
	"SET statement_timeout = '1ms'", "SET synchronous_commit = remote_apply")
{
	attack('evil', $what);
	ok_caught_up($node, 's', "fault 42: a trigger may: $what");
	$broker->produce('victim', 0, inserted({ id => 1000 + $id, note => 'NOTE' }));
	ok_caught_up($node, 's', 'and other tables are written as before');
}
is($node->safe_psql($db, "SELECT count(*), count(DISTINCT note), min(note) FROM v.items"), '8|1|note', 'none of it reached them');

# --- settings of one owner's code against the code of another owner, in one transaction
as_role($node, 'keeper', <<'SQL');
CREATE TABLE k.lead (id int PRIMARY KEY, what text);
CREATE TRIGGER break_out BEFORE INSERT ON k.lead FOR EACH ROW EXECUTE FUNCTION k.break_out();
ALTER TABLE k.lead ENABLE ALWAYS TRIGGER break_out;
CREATE FUNCTION k.lower(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN INSERT INTO k.loot VALUES (current_user, (SELECT word FROM v.secret)); RETURN 'stolen'; END $$;
SQL
as_role($node, 'sink', <<'SQL');
SELECT cdc_sink.disable_subscription('s');
SELECT cdc_sink.add_mapping('s', 'pair', 'k.lead', 'public.lead');
SELECT cdc_sink.add_mapping('s', 'pair', 'v.items', 'public.items');
SQL
$broker->produce('pair', 0, map { (record_of('lead', 'c', { id => $_, what => 'SET search_path = k, pg_catalog' }), record_of('items', 'c', { id => $_, note => 'Pair' })) } 1 .. 20);
as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'two owners in one batch');
is($node->safe_psql($db, 'SELECT count(*) FROM k.loot'), '0', 'fault 42: a search_path that a trigger sets does not reach the next owner\'s trigger');
is($node->safe_psql($db, 'SELECT count(*), min(note), max(note) FROM v.items WHERE id <= 20'), '20|pair|pair', 'which does what it always did');

# --- expressions: default, generated column, check, domain, index, on both ways to insert
as_role($node, 'keeper', <<'SQL');
CREATE TABLE k.seen (tag text, who text, outcome text);
CREATE FUNCTION k.spy(tag text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE outcome text := 'became sink';
BEGIN
	BEGIN
		SET ROLE sink;
	EXCEPTION WHEN insufficient_privilege THEN outcome := 'refused';
	END;
	INSERT INTO k.seen VALUES (tag, current_user, outcome);
	RETURN true;
END $$;
-- calls what writes although it says that it is immutable
CREATE FUNCTION k.spy(tag text, v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM k.spy(tag); RETURN v; END $$;
CREATE FUNCTION k.spy_text(tag text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM k.spy(tag); RETURN tag; END $$;
CREATE DOMAIN k.dom AS int CHECK (k.spy('domain'));
CREATE TABLE k.traps (id int PRIMARY KEY, n k.dom, d text DEFAULT k.spy_text('default'), g int GENERATED ALWAYS AS (k.spy('generated', id)) STORED, CHECK (k.spy('check')));
CREATE INDEX ON k.traps (k.spy('index', id));
CREATE TABLE k.plain (id int PRIMARY KEY, n k.dom, CHECK (k.spy('plain check')));
CREATE INDEX ON k.plain (k.spy('plain index', id)) WHERE k.spy('plain predicate', id) > 0;
TRUNCATE k.seen;
SQL
as_role($node, 'sink', "SELECT cdc_sink.add_mapping('s', 'traps', 'k.traps'); SELECT cdc_sink.add_mapping('s', 'plain', 'k.plain')");
foreach my $topic (qw(traps plain))
{
	$broker->produce($topic, 0, inserted({ id => 1, n => 1 }), inserted({ id => 2, n => 2 }));
	ok_caught_up($node, 's', "rows of $topic arrive");
	$broker->produce($topic, 0, updated({ id => 1, n => 3 }), deleted({ id => 2, n => 2 }));
	ok_caught_up($node, 's', "and their changes");
}
is($node->safe_psql($db, "SELECT string_agg(DISTINCT tag, ', ' ORDER BY tag), string_agg(DISTINCT who, ', '), string_agg(DISTINCT outcome, ', ') FROM k.seen"),
	'check, default, domain, generated, index, plain check, plain index, plain predicate|keeper|refused', 'fault 42: all expressions of a table run as its owner, who stays that');

# --- the old key of a key change, which is read while rows are folded: another owner's event came last before
as_role($node, 'keeper', <<'SQL');
CREATE DOMAIN k.key AS int CHECK (k.spy('key'));
CREATE TABLE k.chg (id k.key PRIMARY KEY, v text);
INSERT INTO k.chg VALUES (1, 'kept');
GRANT INSERT ON k.seen TO PUBLIC;
TRUNCATE k.seen;
SQL
as_role($node, 'sink', <<'SQL');
SELECT cdc_sink.create_subscription('moves', 'kafka', enabled => false);
SELECT cdc_sink.add_mapping('moves', 'moves', 'k.chg', 'public.chg');
SELECT cdc_sink.add_mapping('moves', 'moves', 'v.items', 'public.items');
SQL
# the mock broker knows no headers: the records are fed
$node->safe_psql($db, <<'SQL');
CREATE FUNCTION public.cdc_test_feed(subscription name, events text)
RETURNS TABLE (topic text, partition int, next_offset bigint, state text, state_reason text, sqlstate text, message text)
AS '$libdir/cdc_sink', 'cdc_test_feed' LANGUAGE C;
SQL
my @moves = (
	{ %{ record_of('chg', 'd', { id => 1 }) }, headers => [ [ '__debezium.newkey', '{"id":2}' ] ] },
	{ %{ record_of('chg', 'c', { id => 2, v => '__debezium_unavailable_value' }) }, headers => [ [ '__debezium.oldkey', '{"id":1}' ] ] },
	record_of('items', 'c', { id => 6000, note => 'LAST' }));
my $moves = join("\n", map { encode_json({ topic => 'moves', %$_ }) } @moves);
is($node->safe_psql($db, "SELECT next_offset, state FROM public.cdc_test_feed('moves', \$x\$$moves\$x\$) WHERE topic IS NOT NULL"), '3|streaming', 'a key change, and a row of another owner behind it');
is($node->safe_psql($db, 'SELECT id, v FROM k.chg'), '2|kept', 'the key change takes along what it left out');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT who || ' ' || outcome, ', ') FROM k.seen WHERE tag = 'key'"), 'keeper refused', 'fault 42: the domain of a key runs as the owner of its table, whoever was written before');
as_role($node, 'sink', "SELECT cdc_sink.drop_subscription('moves')");

# --- event triggers fire for what the worker does, as the role that does it
$node->safe_psql($db, <<'SQL');
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO k.loot VALUES (current_user, tg_tag); END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.watch();
ALTER EVENT TRIGGER watch ENABLE ALWAYS;
SET ROLE keeper;
CREATE TABLE k.grows (id int PRIMARY KEY);
TRUNCATE k.loot;
RESET ROLE;
SQL
as_role($node, 'sink', q(SELECT cdc_sink.add_mapping('s', 'grows', 'k.grows', options => '{"on_unknown_column": "add"}')));
my $schema = '{"type":"struct","fields":[{"type":"struct","field":"after","fields":[{"type":"int32","field":"id"},{"type":"int32","optional":true,"field":"x\" int; DROP TABLE v.secret; --"}]},{"type":"string","field":"op"}]}';
$broker->produce('grows', 0, { key => '{"id":1}', value => qq({"schema":$schema,"payload":{"after":{"id":1,"x\\" int; DROP TABLE v.secret; --":7},"op":"c","source":{"schema":"public","table":"t"}}}) });
ok_caught_up($node, 's', 'a column of a hostile name is added');
is($node->safe_psql($db, q(SELECT "x"" int; DROP TABLE v.secret; --" FROM k.grows)), '7', 'and filled');
is($node->safe_psql($db, 'SELECT * FROM k.loot'), 'keeper|ALTER TABLE', 'fault 42: an event trigger sees the owner of the table');
is($node->safe_psql($db, 'SELECT word FROM v.secret'), 'secret', 'nothing else happened');
$node->safe_psql($db, 'DROP EVENT TRIGGER watch');

# --- a domain that changes the table while a row for it is converted: values of the old type must not go in
as_role($node, 'keeper', <<'SQL');
CREATE TABLE k.meddles (id int PRIMARY KEY, v int8);
CREATE FUNCTION k.meddle(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE k.meddles ALTER v TYPE text; RETURN true; END $$;
CREATE DOMAIN k.meddling AS int CHECK (k.meddle(VALUE));
ALTER TABLE k.meddles ADD n k.meddling;
CREATE INDEX ON k.meddles (v);
SQL
as_role($node, 'sink', "SELECT cdc_sink.add_mapping('s', 'meddles', 'k.meddles')");
my $meddled = worker_pid($node, 's');
$broker->produce('meddles', 0, inserted({ id => 1, v => 1094795585, n => 1 }));
ok_stops($node, 'meddles', 'configuration_error', qr/^55000 k\.meddles was altered while changes of it were applied/, 'fault 42: a domain that alters the table under way');
as_role($node, 'keeper', 'CREATE OR REPLACE FUNCTION k.meddle(int) RETURNS bool LANGUAGE sql RETURN true');
$node->poll_query_until($db, 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription') or die 'it stays stopped';
ok_caught_up($node, 's', 'and goes on by itself once it does not');
is($node->safe_psql($db, 'SELECT id, v, n FROM k.meddles') . ' ' . worker_pid($node, 's'), "1|1094795585|1 $meddled", 'with the row as it was sent, in the worker that it always was');

# --- rules, row security and foreign keys that come while the subscription runs
as_role($node, 'keeper', 'CREATE TABLE k.ruled (id int PRIMARY KEY, what text); CREATE TABLE k.parent (id int PRIMARY KEY)');
as_role($node, 'sink', "SELECT cdc_sink.add_mapping('s', 'ruled', 'k.ruled')");
attack('ruled', 'before');
ok_caught_up($node, 's', 'a table without rules');
foreach my $change (
	[ 'CREATE RULE r AS ON INSERT TO k.ruled DO ALSO INSERT INTO k.loot VALUES (current_user, NEW.what)', 'DROP RULE r ON k.ruled', qr/^0A000 cannot use k\.ruled as a target/, 'a rule' ],
	[ 'ALTER TABLE k.ruled ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON k.ruled USING (k.spy(what))', 'ALTER TABLE k.ruled DISABLE ROW LEVEL SECURITY; DROP POLICY p ON k.ruled',
		qr/^0A000 user "keeper" cannot apply changes to relation with row-level security enabled/, 'row security that binds the owner' ])
{
	my ($do, $undo, $why, $name) = @$change;
	as_role($node, 'keeper', $do);
	attack('ruled', $name);
	ok_stops($node, 'ruled', 'configuration_error', $why, "fault 42: $name");
	as_role($node, 'keeper', $undo);
	$node->poll_query_until($db, 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription') or die 'it stays stopped';
	ok_caught_up($node, 's', "without $name it goes on by itself");
}
is($node->safe_psql($db, "SELECT count(*) FROM k.loot WHERE what <> 'ALTER TABLE'"), '0', 'no rule was run');
as_role($node, 'keeper', 'ALTER TABLE k.ruled ADD parent int REFERENCES k.parent');
$broker->produce('ruled', 0, inserted({ id => ++$id, what => 'child', parent => 4711 }));
ok_caught_up($node, 's', 'fault 42: a foreign key is not checked under role replica');
as_role($node, 'sink', q(SELECT cdc_sink.alter_subscription('s', options => '{"session_replication_role": "origin"}')));
$broker->produce('ruled', 0, inserted({ id => ++$id, what => 'child', parent => 4712 }));
ok_stops($node, 'ruled', 'data_error', qr/^23503 /, 'fault 42: a foreign key under role origin');
as_role($node, 'keeper', 'INSERT INTO k.parent VALUES (4711), (4712)');
as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'with the parent it goes on');
as_role($node, 'sink', q(SELECT cdc_sink.alter_subscription('s', options => '{"session_replication_role": null}')));

# --- the owner of the subscription shoots itself: the worker ends, comes back, and waits for the repair
as_role($node, 'sink', <<'SQL');
CREATE TABLE s.own (id int PRIMARY KEY, what text);
CREATE FUNCTION s.break_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.what; RETURN NEW; END $$;
CREATE TRIGGER break_out BEFORE INSERT ON s.own FOR EACH ROW EXECUTE FUNCTION s.break_out();
ALTER TABLE s.own ENABLE ALWAYS TRIGGER break_out;
SELECT cdc_sink.add_mapping('s', 'own', 's.own');
SQL
foreach my $what ("SELECT cdc_sink.disable_subscription('s')", "SELECT cdc_sink.wait_for_catchup('s')", "SELECT cdc_sink.wait_for_offset('s', 'own', 0, 100)")
{
	attack('own', $what);
	ok_stops($node, 'own', 'configuration_error', qr/^55000 an apply worker of cdc_sink cannot wait for apply workers/, "fault 42: a trigger that waits for its own worker: $what");
	pass_over($node, 's', 'own');
	ok_caught_up($node, 's', 'its partition goes on behind it');
}
my $pid = worker_pid($node, 's');
attack('own', 'SELECT pg_terminate_backend(pg_backend_pid())');
wait_for(sub { my $new = worker_pid($node, 's'); $new && $new != $pid }, 'the worker ends and comes back');
$broker->produce('victim', 0, inserted({ id => 5000, note => 'BEHIND' }));
as_role($node, 'sink', 'ALTER TABLE s.own DISABLE TRIGGER break_out');
ok_caught_up($node, 's', 'fault 42: a trigger that ends its own worker is repaired by taking it away');
is($node->safe_psql($db, 'SELECT note FROM v.items WHERE id = 5000'), 'behind', 'and nothing is lost');

# --- run_as_owner: the table's code has the rights of the subscription's owner, as documented, for as long as it runs
as_role($node, 'sink', <<'SQL');
CREATE TABLE s.asowner (id int PRIMARY KEY, what text);
CREATE TRIGGER break_out BEFORE INSERT ON s.asowner FOR EACH ROW EXECUTE FUNCTION s.break_out();
ALTER TABLE s.asowner ENABLE ALWAYS TRIGGER break_out;
SELECT cdc_sink.create_subscription('o', 'kafka', options => '{"run_as_owner": true}');
SELECT cdc_sink.add_mapping('o', 'asowner', 's.asowner');
SQL
foreach my $what ('SET ROLE keeper', "SELECT set_config('search_path', 'k', false)", 'CREATE TEMP TABLE subscription (id int)')
{
	attack('asowner', $what);
	ok_caught_up($node, 'o', "run_as_owner: $what");
	attack('asowner', q{DO $$ BEGIN IF current_user <> 'sink' OR current_setting('search_path') NOT IN ('', '""') THEN RAISE '% %', current_user, current_setting('search_path'); END IF; END $$});
	ok_caught_up($node, 'o', 'the next batch starts as it should');
}
is($node->safe_psql($db, 'SELECT count(*) FROM s.asowner'), '6', 'with all rows');

$node->stop('fast');
ok_no_crash($node);
done_testing();
