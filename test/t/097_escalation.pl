# Ways into somebody else's rights or secrets: servers of others, things of the same name, odd names, what a caller prepared.
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
use CdcSink::Workers;

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
my $other = CdcSink::MockBroker->new;
$broker->create_topic($_, 1) foreach qw(items odd letters again children);
my $node = new_read_side('escalation', "cdc_sink.allowed_brokers = '127.0.0.1'\n");
sub sql { return $node->safe_psql($db, $_[0]); }
my $there = $broker->bootstrap;

# admin makes servers, sink and mallory subscribe; mallory is no member of anybody
sql(<<SQL);
CREATE ROLE admin LOGIN;
CREATE ROLE sink LOGIN;
CREATE ROLE mallory LOGIN;
GRANT USAGE ON FOREIGN DATA WRAPPER cdc_sink TO admin, mallory;
GRANT CREATE ON DATABASE postgres TO sink, mallory;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO admin, sink, mallory;
GRANT ALL ON SCHEMA public TO sink, mallory;
SQL
is(as_role($node, 'admin', qq{CREATE SERVER k FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '$there'); GRANT USAGE ON FOREIGN SERVER k TO sink, mallory;}), '', 'with a list of brokers, a plain role may make a server');
like(error_of(as_role($node, 'admin', q{CREATE SERVER x FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '192.0.2.1:9092')})), qr/^42501: broker "192\.0\.2\.1:9092" is not allowed/, 'of a broker on the list');
is(as_role($node, 'sink', <<'SQL') =~ s/\n//gr, '', 'another role subscribes there, without login');
CREATE TABLE items (id int PRIMARY KEY, v text);
SELECT cdc_sink.create_subscription('s', 'k', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SQL
$broker->produce('items', 0, inserted({ id => 1, v => 'a' }));
ok_caught_up($node, 's', 'and consumes');

# --- a secret on a server of somebody else
my $refused = qr/^42501: user mapping of role "sink" on server "k" is not used/;
as_role($node, 'sink', q{CREATE USER MAPPING FOR sink SERVER k OPTIONS ("sasl.username" 'u', "sasl.password" 'hunter2')});
foreach my $call ("create_subscription('t', 'k')", "create_subscription('t', 'k', enabled => false)", "enable_subscription('s')", "check_server('k')", "peek('k', 'items')", "alter_subscription('s', server => 'k')")
{
	like(error_of(as_role($node, 'sink', "SELECT * FROM cdc_sink.$call")), $refused, "a secret on a server of another role is not used: $call");
}
unlike(as_role($node, 'sink', q{SELECT cdc_sink.enable_subscription('s')}), qr/hunter2/, 'nor told');
my ($pid) = worker_pids($node, $db);
sql("SELECT pg_terminate_backend($pid)");
wait_for_state($node, 's', qr/^stopped configuration_error$/);
like(sql(q{SELECT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic IS NULL ORDER BY occurred_at DESC LIMIT 1}), qr/^user mapping of role "sink" on server "k" is not used/, 'the worker does not use it either');
is(as_role($node, 'admin', qq{ALTER SERVER k OPTIONS (SET "bootstrap.servers" '@{[$other->bootstrap]}')}), '', 'where its owner might send it');
as_role($node, 'admin', qq{ALTER SERVER k OPTIONS (SET "bootstrap.servers" '$there')});
sql('GRANT admin TO sink');
wait_for_state($node, 's', qr/^(?!stopped)/);
pass('with the owner\'s role it is used, by itself');
sql('REVOKE admin FROM sink; ALTER SERVER k OWNER TO ' . sql('SELECT quote_ident(current_user)'));
as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')");
is(error_of(as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')")), 'no error: ', 'on a server of a superuser it is used');
sql('ALTER SERVER k OWNER TO admin; DROP USER MAPPING FOR sink SERVER k');
as_role($node, 'admin', q{CREATE USER MAPPING FOR PUBLIC SERVER k OPTIONS ("sasl.username" 'u')});
is(error_of(as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')")), 'no error: ', 'what the owner of the server wrote for PUBLIC is the owner\'s own');
as_role($node, 'admin', 'DROP USER MAPPING FOR PUBLIC SERVER k');
sql(q{CREATE USER MAPPING FOR PUBLIC SERVER k OPTIONS ("sasl.password_file" 'secret')});
like(error_of(as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')")), $refused, 'but for a file that a superuser named');
sql('DROP USER MAPPING FOR PUBLIC SERVER k');
as_role($node, 'sink', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'without it, all goes on');
is(as_role($node, 'mallory', 'SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL'), '0', 'options of others are not shown');

# --- the validator, called by hand, tells nothing of the list to who may not make servers
foreach my $broker ('127.0.0.1:1', '192.0.2.1:1')
{
	like(error_of(as_role($node, 'sink', "SELECT cdc_sink.cdc_sink_validator(ARRAY['bootstrap.servers=$broker'], 'pg_foreign_server'::regclass)")), qr/^42501: permission denied for foreign-data wrapper cdc_sink/, "a query cannot ask whether $broker is allowed");
}
like(error_of(as_role($node, 'mallory', q{SELECT cdc_sink.cdc_sink_validator(ARRAY['bootstrap.servers=192.0.2.1:1'], 'pg_foreign_server'::regclass)})), qr/^42501: broker "192\.0\.2\.1:1" is not allowed/, 'but for a role with USAGE on the wrapper');

# --- things of the same name
sql('REVOKE USAGE ON FOREIGN SERVER k FROM mallory');
as_role($node, 'admin', 'DROP SERVER k CASCADE');
as_role($node, 'mallory', qq{CREATE SERVER k FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '@{[$other->bootstrap]}')});
($pid) = worker_pids($node, $db);
sql("SELECT pg_terminate_backend($pid)") if $pid;
wait_for_state($node, 's', qr/^stopped configuration_error$/);
like(sql(q{SELECT message FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic IS NULL ORDER BY occurred_at DESC LIMIT 1}), qr/^permission denied for foreign server k/, 'a server that somebody else made under the name is not used');
sql(qq{DROP SERVER k; CREATE SERVER k FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '$there'); GRANT USAGE ON FOREIGN SERVER k TO sink});
$broker->produce('items', 0, inserted({ id => 2, v => 'b' }));
wait_for_state($node, 's', qr/^streaming/);
ok_caught_up($node, 's', 'one that the owner may use is, by itself');
sql('CREATE ROLE gone LOGIN; GRANT gone TO sink; GRANT CREATE ON DATABASE postgres TO gone; GRANT USAGE ON FOREIGN SERVER k TO gone; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO gone; GRANT ALL ON SCHEMA public TO gone');
as_role($node, 'gone', "CREATE TABLE again (id int PRIMARY KEY, v text); SELECT cdc_sink.create_subscription('again', 'k'); SELECT cdc_sink.add_mapping('again', 'again', 'again')");
ok_caught_up($node, 'again', 'a subscription of a role that will go');
sql('REASSIGN OWNED BY gone TO sink; DROP OWNED BY gone; DROP ROLE gone; CREATE ROLE gone LOGIN; GRANT CREATE ON DATABASE postgres TO gone; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO gone');
sql(q{SELECT pg_terminate_backend(pid) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'again'});
wait_for_state($node, 'again', qr/^stopped owner_missing$/);
pass('fault 45: a subscription whose owner was dropped stops');
foreach my $call ("drop_subscription('again')", "alter_subscription('again', owner => 'gone')", "enable_subscription('again')")
{
	like(error_of(as_role($node, 'gone', "SELECT cdc_sink.$call")), qr/^42501: permission denied for subscription "again"/, "fault 45: a new role of the name does not inherit it: $call");
}
is(as_role($node, 'gone', 'SELECT count(*) FROM cdc_sink.subscription'), '0', 'nor see it');
sql(q{SELECT cdc_sink.alter_subscription('again', owner => 'sink')});
$broker->produce('again', 0, inserted({ id => 1, v => 'x' }));
wait_for_state($node, 'again', qr/^streaming/);
ok_caught_up($node, 'again', 'fault 45: with another owner it goes on');
sql('CREATE ROLE boss SUPERUSER LOGIN; GRANT CREATE ON DATABASE postgres TO boss; GRANT USAGE ON FOREIGN SERVER k TO boss');
sql(q{SELECT cdc_sink.alter_subscription('again', owner => 'boss')});
$broker->produce('again', 0, inserted({ id => 2, v => 'x' }));
ok_caught_up($node, 'again', 'a superuser may own one');
sql('ALTER ROLE boss NOSUPERUSER');
$broker->produce('again', 0, inserted({ id => 3, v => 'x' }));
ok_stops($node, 'again', 'configuration_error', qr/^42501 role "boss" cannot SET ROLE to "sink"/, 'fault 45: one that is no superuser any more');
sql('GRANT sink TO boss; ALTER ROLE boss RENAME TO clerk');
$node->poll_query_until($db, 'SELECT sum(partitions_stopped) = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_caught_up($node, 'again', 'fault 45: with the role of the table\'s owner it goes on, also renamed');

# --- odd names everywhere
my $odd = q{x"'); DROP TABLE items; --};
my ($literal, $identifier) = ($odd =~ s/'/''/gr, '"' . ($odd =~ s/"/""/gr) . '"');
is(as_role($node, 'sink', <<SQL) =~ s/\n//gr, '', 'names may be odd');
CREATE SCHEMA $identifier;
CREATE TABLE $identifier.$identifier ($identifier int PRIMARY KEY, id int, v int CHECK (v > 0));
SELECT cdc_sink.create_subscription('$literal', 'k', options => '{"on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('$literal', 'odd', '@{["$identifier.$identifier" =~ s/'/''/gr]}', columns => jsonb_build_object('k', '$literal', 'id', NULL));
SQL
$broker->produce('odd', 0, map { { key => qq({"k":$_}), value => qq({"before":null,"after":{"k":$_,"v":) . ($_ - 1) . q(},"op":"c","ts_ms":1,"source":{"schema":"public","table":"t"}}) } } 1 .. 4);
is(as_role($node, 'sink', "SELECT cdc_sink.wait_for_catchup('$literal')"), 't', 'such a subscription works');
is(sql("SELECT count(*) FROM $identifier.$identifier"), '3', 'its rows are there');
is(sql("SELECT subscription, relation_name FROM cdc_sink.dead_letter"), "$odd|$identifier.$identifier", 'and its dead letter');
as_role($node, 'sink', "SELECT cdc_sink.alter_subscription('$literal', options => '{\"on_error\": \"stop\"}')");
$broker->produce('odd', 0, { key => '{"k":9}', value => '{"before":null,"after":{"k":9,"v":-1},"op":"c","ts_ms":1,"source":{"schema":"public","table":"t"}}' });
ok_stops($node, 'odd', 'data_error', qr/^23514 /, 'a bad record of it');
my ($advice) = sql("SELECT hint FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'odd'") =~ /(cdc_sink\.enable_subscription\(.*\))\.$/;
is(sql("SELECT $advice"), '', 'what the hint says can be typed as it stands');
as_role($node, 'sink', "SELECT cdc_sink.skip_record('$literal', 'odd', 0, 4, '$literal'); SELECT cdc_sink.alter_subscription('$literal', new_name => '$literal' || '2'); SELECT cdc_sink.reset_stats('${literal}2')");
is(as_role($node, 'sink', "SELECT cdc_sink.wait_for_catchup('${literal}2'); SELECT ok FROM cdc_sink.dead_letter d, cdc_sink.retry_dead_letter(ARRAY[d.id]) WHERE status = 'open'"), "t\nf", 'it is renamed, skipped, retried');
is(as_role($node, 'sink', "SELECT cdc_sink.drop_subscription('${literal}2')"), '', 'and dropped');
is(sql('SELECT count(*) FROM items'), '2', 'nothing in a name was run');
foreach my $value ("a\\nb", "x', 'y", "\$(id)", 'a;b', "\\u0000", 'x' x 100)
{
	like(as_role($node, 'sink', qq{SELECT cdc_sink.alter_subscription('s', options => '{"client.id": "@{[$value =~ s/'/''/gr]}"}')}), qr/ERROR:  (?:22023|22P05|HV00|22)/, 'an option of odd value is refused: ' . substr($value, 0, 20));
}

# --- what a caller has prepared for a function that runs as the extension's owner
my $prepared = <<'SQL';
CREATE TEMP TABLE subscription (id bigint, subscription name, owner regrole, server name, enabled boolean);
CREATE TEMP TABLE position (subscription name, topic text, partition int, next_offset bigint);
CREATE TABLE stolen (who text);
CREATE FUNCTION pg_temp.steal(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN true; END $$;
CREATE FUNCTION public.steal(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.steal);
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION public.nextval(regclass) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN 1; END $$;
CREATE FUNCTION public.pg_has_role(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN true; END $$;
SET search_path = pg_temp, public, pg_catalog;
SET client_min_messages = error;
SQL
my $tour = join(';', map { "SELECT * FROM cdc_sink.$_" } "create_subscription('m', 'k', enabled => false)", "add_mapping('m', 'mine', 'public.mine')", "alter_mapping('m', 'mine', options => '{\"mode\": \"append\"}')", "alter_subscription('m', new_name => 'm2')",
	"enable_subscription('m2')", "disable_subscription('m2')", "remove_mapping('m2', 'mine')", "purge_dead_letter('0')", "resolve_dead_letter('{}', 'x')", "retry_dead_letter('{}')", "reset_stats()", "drop_subscription('m2')", "pg_stat_cdc_sink_subscription", "pg_stat_cdc_sink_partition", "pg_stat_cdc_sink_table", "pg_stat_cdc_sink_error", "dead_letter");
sql('GRANT USAGE ON FOREIGN SERVER k TO mallory');
my $said = as_role($node, 'mallory', "CREATE TABLE public.mine (id int PRIMARY KEY);\n$prepared$tour");
unlike($said, qr/ERROR/, 'functions called from a search_path full of traps work');
is(sql('SELECT string_agg(DISTINCT who, $$, $$) FROM stolen'), '', 'and run none of them');

# --- a relation of another role, and rights that a member has
as_role($node, 'mallory', "SELECT cdc_sink.create_subscription('m', 'k')");
like(error_of(as_role($node, 'mallory', "SELECT cdc_sink.add_mapping('m', 'items', 'public.items')")), qr/^42501: role "mallory" cannot SET ROLE to "sink"/, 'a table of another role cannot be fed');
like(error_of(as_role($node, 'mallory', "SELECT cdc_sink.alter_subscription('m', owner => 'sink')")), qr/^42501: must be able to SET ROLE "sink"/, 'nor can a subscription be given to one to get there');
is(as_role($node, 'mallory', q{SELECT cdc_sink.alter_subscription('m', options => '{"run_as_owner": true}'); SELECT cdc_sink.add_mapping('m', 'items', 'public.items')}) =~ s/\n//gr, '', 'run_as_owner takes the mapping');
wait_for_state($node, 'm', qr/^stopped configuration_error/);
pass('but writes nothing without rights on the table');
is(sql('SELECT count(*) FROM items'), '2', 'which is as it was');

# --- run_as_owner with rights on the rows alone: triggers and foreign keys of the other role work
as_role($node, 'sink', <<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE audit (id int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER audit AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION audit();
GRANT SELECT, INSERT, UPDATE, DELETE ON child TO mallory;
SQL
as_role($node, 'mallory', q{SELECT cdc_sink.create_subscription('rows', 'k', options => '{"run_as_owner": true}'); SELECT cdc_sink.add_mapping('rows', 'children', 'public.child')});
sub ok_refused
{
	my ($id, $what) = @_;
	$broker->produce('children', 0, inserted({ id => $id, parent => $id }));
	ok_stops($node, 'children', 'data_error', qr/^23503 /, $what);
	sql("INSERT INTO parent VALUES ($id)");
	as_role($node, 'mallory', "SELECT cdc_sink.enable_subscription('rows')");
	ok_caught_up($node, 'rows', 'with the parent it goes on');
	return;
}
ok_refused(1, 'rights on the rows are none to leave out a foreign key');
is(sql('SELECT id FROM audit'), '1', 'nor a trigger');
sql('GRANT SET ON PARAMETER session_replication_role TO mallory');
$broker->produce('children', 0, inserted({ id => 2, parent => 2 }));
ok_caught_up($node, 'rows', 'who may set session_replication_role may');
sql('REVOKE SET ON PARAMETER session_replication_role FROM mallory');
ok_refused(3, 'for as long as that lasts');
sql('GRANT sink TO mallory');
$broker->produce('children', 0, inserted({ id => 4, parent => 4 }));
ok_caught_up($node, 'rows', 'and who has the role of the table\'s owner');
is(sql('SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM audit'), '1,3', 'triggers likewise');
sql('REVOKE sink FROM mallory');

# --- a list of brokers without an entry is none
foreach my $list (',', ' ', ' , ')
{
	$node->append_conf('postgresql.conf', "cdc_sink.allowed_brokers = '$list'\n");
	$node->reload;
	$node->poll_query_until($db, "SELECT current_setting('cdc_sink.allowed_brokers') = '$list'") or die 'the list is not read';
	like(error_of(as_role($node, 'mallory', q{CREATE SERVER y FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '192.0.2.1:9092')})), qr/^42501: permission denied to create or alter a server/, "with '$list' only superusers make servers");
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
