# Who may SET ROLE to the owners of the tables runs a subscription without being superuser; who may not is told what a statement would tell.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Events;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('privileges');
create_server($node, 'postgres', $broker->bootstrap);
$broker->create_topic($_, 1) foreach qw(a b c evil);

# the triggers fire for the worker, too
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE sink LOGIN;
CREATE ROLE stranger LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats;
CREATE ROLE keeper_a NOLOGIN;
CREATE ROLE keeper_b NOLOGIN;
CREATE ROLE keeper_c NOLOGIN;
GRANT keeper_a, keeper_b TO sink;
GRANT USAGE ON FOREIGN SERVER kafka TO sink;
CREATE SCHEMA a AUTHORIZATION keeper_a;
CREATE SCHEMA b AUTHORIZATION keeper_b;
CREATE SCHEMA c AUTHORIZATION keeper_c;
GRANT USAGE ON SCHEMA c TO sink;
CREATE FUNCTION public.who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.who := concat_ws(' ', current_user, session_user, current_setting('role'));
	RETURN NEW;
END $$;
CREATE TABLE a.items (id int PRIMARY KEY, who text);
CREATE TABLE b.items (id int PRIMARY KEY, who text);
CREATE TABLE c.items (id int PRIMARY KEY, who text);
CREATE TABLE a.evil (id int PRIMARY KEY, what text);
CREATE TRIGGER who BEFORE INSERT ON a.items FOR EACH ROW EXECUTE FUNCTION public.who();
CREATE TRIGGER who BEFORE INSERT ON b.items FOR EACH ROW EXECUTE FUNCTION public.who();
CREATE TRIGGER who BEFORE INSERT ON c.items FOR EACH ROW EXECUTE FUNCTION public.who();
ALTER TABLE a.items ENABLE ALWAYS TRIGGER who;
ALTER TABLE b.items ENABLE ALWAYS TRIGGER who;
ALTER TABLE c.items ENABLE ALWAYS TRIGGER who;
CREATE FUNCTION public.break_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE NEW.what;
	RETURN NEW;
END $$;
CREATE TRIGGER break_out BEFORE INSERT ON a.evil FOR EACH ROW EXECUTE FUNCTION public.break_out();
ALTER TABLE a.evil ENABLE ALWAYS TRIGGER break_out;
ALTER TABLE a.items OWNER TO keeper_a;
ALTER TABLE a.evil OWNER TO keeper_a;
ALTER TABLE b.items OWNER TO keeper_b;
ALTER TABLE c.items OWNER TO keeper_c;
SQL

# What a role gets for a script: output and errors, with SQLSTATE.
sub as_role
{
	my ($role, $sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', $role ]);
	return $out . ($err =~ s/^psql:<stdin>:\d+: //mgr);
}

# The first line of an error.
sub error_of
{
	my ($text) = @_;
	my ($error) = $text =~ /ERROR:  (.*)/;
	return $error // "no error: $text";
}

sub put { my ($topic, $row) = @_; $broker->produce($topic, 0, inserted($row)); return; }

sub last_error
{
	my $topic = shift;
	return $node->safe_psql('postgres',
		"SELECT concat(sqlstate, ': ', message) FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = '$topic' ORDER BY occurred_at DESC LIMIT 1");
}

sub ok_error
{
	my ($topic, $want, $title) = @_;
	my $got = '';
	eval { wait_for(sub { ($got = last_error($topic)) eq $want }, $title) };
	is($got, $want, $title) or diag(show_views($node));
	return;
}

# --- what a role needs to begin with
my $create = q(SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"retry_backoff_ms": 10}'););
like(error_of(as_role('sink', $create)), qr/^42501: permission denied for function create_subscription/, 'without EXECUTE');
$node->safe_psql('postgres', 'GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink, stranger');
like(error_of(as_role('sink', $create)), qr/^42501: permission denied for database postgres/, 'without CREATE on the database');
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO sink, stranger');
like(error_of(as_role('stranger', $create)), qr/^42501: permission denied for foreign server kafka/, 'without USAGE on the server');

# --- with that, all of it
is(as_role('sink', $create), '', 'a plain role creates a subscription');
is(as_role('sink', "SELECT cdc_sink.add_mapping('s', 'a', 'a.items'); SELECT cdc_sink.add_mapping('s', 'b', 'b.items')"), "\n", 'and maps tables of others whose role it has');
like(error_of(as_role('sink', "SELECT cdc_sink.add_mapping('s', 'c', 'c.items')")), qr/^42501: role "sink" cannot SET ROLE to "keeper_c"/, 'but no other');
put($_, { id => 1, who => '' }) foreach qw(a b);
is(as_role('sink', "SELECT cdc_sink.wait_for_catchup('s')"), 't', 'it waits');
is($node->safe_psql('postgres', 'SELECT who FROM a.items UNION ALL SELECT who FROM b.items'), "keeper_a sink none\nkeeper_b sink none",
	'each table is written as its owner, by a session of the subscription\'s owner');
is($node->safe_psql('postgres', "SELECT usename FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'"), 'sink', 'as which the worker is connected');
my $tour = <<'SQL';
SELECT cdc_sink.alter_subscription('s', options => '{"batch_rows": 100}');
SELECT cdc_sink.alter_mapping('s', 'a', options => '{"on_truncate": "ignore"}');
SELECT cdc_sink.disable_subscription('s');
SELECT cdc_sink.set_position('s', 'a', 0, 'earliest');
CALL cdc_sink.run_batches('s');
SELECT cdc_sink.enable_subscription('s');
SELECT cdc_sink.reset_stats('s');
SELECT bool_and(ok) FROM cdc_sink.check_server('kafka');
SELECT count(*) FROM cdc_sink.peek('kafka', 'a');
SELECT cdc_sink.remove_mapping('s', 'b', keep_position => true);
SELECT cdc_sink.add_mapping('s', 'b', 'b.items');
SELECT cdc_sink.wait_for_catchup('s');
SQL
is(as_role('sink', $tour) =~ s/\n+/ /gr, ' t 1 t', 'and does all the rest');

# --- the code of a table's owner stays its owner's; what its attempts do counts as DDL, and they are far apart
$node->safe_psql('postgres', 'ALTER SERVER kafka OPTIONS (ADD "fetch.wait.max.ms" \'1500\')');
foreach my $what ('SET ROLE sink', 'SET SESSION AUTHORIZATION sink', 'CREATE TEMP TABLE t (i int)', "SELECT set_config('role', 'sink', false)",
	'SET session_replication_role = origin')
{
	$node->safe_psql('postgres', "SELECT cdc_sink.add_mapping('s', 'evil', 'a.evil')") if $what eq 'SET ROLE sink';
	put('evil', { id => 1, what => $what });
	wait_for_state($node, 's', qr/^stopped/);
	like(last_error('evil'), qr/^42501: (?:cannot set parameter|cannot create temporary table|permission denied to set parameter)/, "fault 42: a trigger cannot: $what");
	$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s'); SELECT cdc_sink.set_position('s', 'evil', 0, '+1'); SELECT cdc_sink.enable_subscription('s')");
	ok_caught_up($node, 's', 'the subscription goes on behind it');
}
$node->safe_psql('postgres', "SELECT cdc_sink.remove_mapping('s', 'evil')");

# --- a role that is taken away
$node->safe_psql('postgres', 'REVOKE keeper_b FROM sink');
put('b', { id => 2, who => '' });
put('a', { id => 2, who => '' });
ok_error('b', '42501: role "sink" cannot SET ROLE to "keeper_b"', 'fault 45: without the role of the table\'s owner');
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'a', 0, 1)"), 't', 'the other table goes on');

# --- who sees what
is(as_role('stranger', "SELECT DISTINCT sqlstate, message, detail, hint FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'b'"), '42501|<insufficient privilege>||', 'a stranger does not see what an error says');
is(as_role('stranger', "SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE hint IS NOT NULL"), '0', 'nor hints');
is(as_role('stranger', "SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE hint IS NOT NULL"), '0', 'of partitions neither');
# REVOKE is a change of the catalog, too, at which the worker tries once more
eval { wait_for(sub { as_role('stranger', 'SELECT state, state_reason FROM cdc_sink.pg_stat_cdc_sink_subscription') eq 'stopped|configuration_error' }, 'the state') };
is($@, '', 'but the state');
foreach my $table (qw(subscription mapping position dead_letter moved_row))
{
	is(as_role('stranger', "SELECT count(*) FROM cdc_sink.$table"), '0', "and no row of $table");
}
foreach my $role ('sink', 'monitor')
{
	is(as_role($role, "SELECT DISTINCT message, hint IS NOT NULL FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'b'"), 'role "sink" cannot SET ROLE to "keeper_b"|t', "$role sees it");
}
is(as_role('sink', 'SELECT count(*) FROM cdc_sink.position'), '2', 'the owner sees its positions');
foreach my $call ("disable_subscription('s')", "enable_subscription('s')", "drop_subscription('s')", "alter_subscription('s', new_name => 'mine')", "alter_subscription('s', owner => 'stranger')",
	"add_mapping('s', 'c', 'pg_class')", "alter_mapping('s', 'a', options => '{}')", "remove_mapping('s', 'a')", "set_position('s', 'a', 0, 'earliest')", "wait_for_catchup('s')",
	"wait_for_offset('s', 'a', 0, 0)", "reset_stats('s')", "skip_record('s', 'a', 0, 0)")
{
	like(error_of(as_role('stranger', "SELECT cdc_sink.$call")), qr/^42501: permission denied for subscription "s"/, "a stranger cannot: $call");
}
like(error_of(as_role('stranger', "CALL cdc_sink.run_batches('s')")), qr/^42501: permission denied for subscription "s"/, 'a stranger cannot: run_batches');
like(error_of(as_role('stranger', 'SELECT * FROM cdc_sink.' . $_)), qr/^42501: permission denied for foreign server kafka/, "a stranger cannot: $_")
  foreach ("peek('kafka', 'a')", "check_server('kafka')");
is(as_role('stranger', 'UPDATE cdc_sink.position SET next_offset = 0') =~ s/\n.*//sr, 'ERROR:  42501: permission denied for table position', 'nor write the tables');
$node->safe_psql('postgres', 'GRANT keeper_b TO sink');
$node->poll_query_until('postgres', 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_caught_up($node, 's', 'after GRANT it goes on by itself');

# --- run_as_owner
is(as_role('sink', "SELECT cdc_sink.alter_subscription('s', options => '{\"run_as_owner\": true}')"), '', 'run_as_owner may be set by the owner');
is(as_role('sink', "SELECT cdc_sink.add_mapping('s', 'c', 'c.items')"), '', 'then a table of somebody else can be mapped');
put('c', { id => 1, who => '' });
my $manual = "INSERT INTO c.items VALUES (1, '')";
ok_error('c', error_of(as_role('sink', $manual)), 'without rights on it the error is that of a statement');
$node->safe_psql('postgres', 'GRANT SELECT, INSERT, UPDATE, DELETE ON c.items TO sink; GRANT ALL ON a.items, b.items TO sink');
$node->poll_query_until('postgres', 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_caught_up($node, 's', 'with them it goes on');
is($node->safe_psql('postgres', 'SELECT who FROM c.items'), 'sink sink none', 'as the subscription\'s owner');
$node->safe_psql('postgres', 'REVOKE USAGE ON SCHEMA c FROM sink');
put('c', { id => 2, who => '' });
$manual = "INSERT INTO c.items VALUES (2, '')";
ok_error('c', error_of(as_role('sink', $manual)), 'so it is without USAGE on its schema');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA c TO sink');
$node->poll_query_until('postgres', 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_caught_up($node, 's', 'and it goes on');

# --- the right to log in
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s'); ALTER ROLE sink NOLOGIN");
like(error_of(join('', ($node->psql('postgres', "\\set VERBOSITY verbose\nSELECT cdc_sink.enable_subscription('s')"))[2])),
	$node->pg_version < 17 ? qr/^42501: role "sink" cannot own an enabled subscription/ : qr/^no error/, 'enable refuses an owner that cannot log in');
$node->safe_psql('postgres', "ALTER ROLE sink LOGIN; SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'with LOGIN it runs');
is(as_role('sink', "SELECT cdc_sink.drop_subscription('s')"), '', 'and its owner drops it');

$node->stop('fast');
ok_no_crash($node);
done_testing();
