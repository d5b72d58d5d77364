# faults 45, 46, 52, 59, 68: whatever the server, a database or a role is set to, and whatever the clock says: a worker applies the same rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Events;
use CdcSink::Faults;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for work_dir);
use CdcSink::Workers;

# the sessions of this test are not what is tested
$ENV{PGOPTIONS} = join(' ', map { "-c $_" } qw(statement_timeout=0 lock_timeout=0 idle_in_transaction_session_timeout=0 idle_session_timeout=0 default_transaction_read_only=off DateStyle=ISO TimeZone=UTC IntervalStyle=postgres
	extra_float_digits=1 bytea_output=hex search_path=public quote_all_identifiers=off standard_conforming_strings=on)) . ' -c default_transaction_isolation=read\\ committed';

# a clock that can be set: what CLOCK_REALTIME says is moved by the seconds in a file
my $dir = work_dir('clock');
append_to_file("$dir/offset", "0\n");
append_to_file("$dir/clock.c", <<'C');
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void)
{
	char text[32] = "";
	int fd = open(getenv("CDC_TEST_CLOCK"), O_RDONLY);
	if (fd < 0) return 0;
	if (read(fd, text, sizeof(text) - 1) < 0) text[0] = 0;
	close(fd);
	return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *t)
{
	int result = syscall(SYS_clock_gettime, id, t);
	if (id == CLOCK_REALTIME) t->tv_sec += offset();
	return result;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}
time_t time(time_t *t)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (t) *t = now.tv_sec;
	return now.tv_sec;
}
C
system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$dir/clock.so", "$dir/clock.c");
$ENV{CDC_TEST_CLOCK} = "$dir/offset";

sub set_clock
{
	my $seconds = shift;
	open(my $f, '>', "$dir/new") or die "$dir/new: $!";
	print $f "$seconds\n";
	close($f);
	rename("$dir/new", "$dir/offset") or die "$dir/offset: $!";
	return;
}

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
my $node;
{
	local $ENV{LD_PRELOAD} = "$dir/clock.so";
	$node = new_read_side('settings', "restart_after_crash = on\n");
}
create_server($node, $db, $broker->bootstrap);
sub sql { return $node->safe_psql($db, $_[0]); }
my $options = q({"retry_backoff_ms": 50, "retry_backoff_max_ms": 200});

my $columns = 'id int PRIMARY KEY, d date, t timestamptz, w timestamp, i interval, f float8, n numeric, a text[], b bytea, x xml, m text';
sql(<<SQL);
CREATE ROLE sink LOGIN;
CREATE ROLE keeper;
GRANT keeper TO sink;
GRANT CREATE ON DATABASE postgres TO sink;
GRANT USAGE ON FOREIGN SERVER kafka TO sink;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA cdc_sink TO sink;
CREATE SCHEMA k AUTHORIZATION keeper;
SET ROLE keeper;
CREATE TABLE k.plain ($columns);
CREATE TABLE k.hostile ($columns);
CREATE TABLE k."Qu""oted" ($columns);
CREATE TABLE k.log (id int, __offset bigint, __partition int);
SET ROLE sink;
SELECT cdc_sink.create_subscription('s', 'kafka', options => '$options', source => '{"interval.handling.mode": "string", "time.precision.mode": "adaptive_time_microseconds", "decimal.handling.mode": "string"}');
SQL
my @rows = (
	{ d => 19793, t => '2024-03-10T02:30:00Z', w => 1710037800000000, i => 'P1Y2M3DT4H5M6.7S', f => 0.1, n => '12.340', a => [ 'a', undef, 'NULL', '{}' ], b => 'AP//', x => '<a>1</a><b/>', m => "back\\slash 'quote'" },
	{ d => -800000, t => '1883-11-18T12:03:58Z', w => 1730595600000000, i => 'P-1Y-2M-3DT-4H-5M-6S', f => 1e300, n => '-0.000', a => [], b => '', x => 'text', m => 'null' });
my $next = 0;

# The rows for a topic and its table; each table gets the same ones.
sub put
{
	my ($topic) = @_;
	my $id = 0;
	$broker->produce($topic, 0, map { inserted({ id => ++$id, %$_ }) } @rows);
	return;
}

sub rows_of
{
	return sql("SELECT id, d, t, w, i, f, n, a, b, x, m FROM k.$_[0] ORDER BY id");
}

$broker->create_topic($_, 1) foreach qw(plain hostile quoted log);
as_role($node, 'sink', "SELECT cdc_sink.add_mapping('s', 'plain', 'k.plain'); SELECT cdc_sink.add_mapping('s', 'log', 'k.log', options => '{\"mode\": \"append\"}')");
put('plain');
ok_caught_up($node, 's', 'a worker under default settings');
my $want = rows_of('plain');
is(() = $want =~ /^\d/mg, 2, 'applies the rows') or diag($want . show_views($node));

# --- every setting that could change what a row means or how long a worker lives, in all three places
my %hostile = (
	search_path => 'trap, public', statement_timeout => '1ms', lock_timeout => '1ms', idle_in_transaction_session_timeout => '1ms', idle_session_timeout => '1ms',
	default_transaction_read_only => 'on', default_transaction_isolation => 'serializable', default_transaction_deferrable => 'on', DateStyle => 'SQL, DMY', IntervalStyle => 'sql_standard',
	TimeZone => 'America/New_York', extra_float_digits => '-10', bytea_output => 'escape', xmloption => 'document', quote_all_identifiers => 'on', array_nulls => 'off', transform_null_equals => 'on',
	standard_conforming_strings => 'off', backslash_quote => 'on', plan_cache_mode => 'force_custom_plan', jit => 'on', jit_above_cost => '0', row_security => 'on', lc_monetary => 'C',
	session_replication_role => 'origin', enable_nestloop => 'off', enable_indexscan => 'off', client_min_messages => 'error', work_mem => '64kB');
$hostile{transaction_timeout} = '1ms' if $node->pg_version >= 17;
sql(<<'SQL');
CREATE SCHEMA trap;
CREATE FUNCTION trap.count(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.eq(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = trap.eq);
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
SQL
my $log = -s $node->logfile;
foreach my $place ([ 'role', 'ALTER ROLE sink SET', 'ALTER ROLE sink RESET ALL', 45 ], [ 'database', 'ALTER DATABASE postgres SET', 'ALTER DATABASE postgres RESET ALL', 45 ], [ 'server', 'ALTER SYSTEM SET', 'ALTER SYSTEM RESET ALL', 46 ])
{
	my ($name, $set, $reset, $row) = @$place;
	# "trap, public" is a list, a quoted word would be one schema
	sql(join(';', map { "$set $_ = " . ($_ eq 'search_path' ? 'trap, public' : "'$hostile{$_}'") } sort keys %hostile));
	sql('ALTER ROLE sink SET role = keeper') if $name eq 'role';
	$node->reload;
	my ($pid) = worker_pids($node, $db);
	sql("SELECT pg_terminate_backend($pid)");
	wait_for_new_worker($node, $db, $pid);
	# a session under these settings maps tables: names must come out alike
	$node->psql($db, q(SET quote_all_identifiers = on; SELECT cdc_sink.add_mapping('s', 'hostile', 'k.hostile'); SELECT cdc_sink.add_mapping('s', 'quoted', 'k."Qu""oted"'))) if $name eq 'role';
	put('hostile');
	put('quoted');
	$broker->produce('plain', 0, updated({ id => 1, %{ $rows[0] } }));
	ok_caught_up($node, 's', "fault $row: a worker under settings of the $name");
	is_text(rows_of('hostile'), $want, "fault $row: applies the same rows");
	is_text(rows_of('"Qu""oted"'), $want, 'also to a table with an odd name');
	is(sql("SELECT usename FROM pg_stat_activity WHERE backend_type = 'cdc_sink apply worker'"), 'sink', 'as whom it should be');
	$broker->produce($_, 0, deleted({ id => 1 }), deleted({ id => 2 })) foreach qw(hostile quoted);
	ok_caught_up($node, 's', 'and deletes them');
	is(sql('SELECT count(*) FROM k.hostile') . sql('SELECT count(*) FROM k."Qu""oted"'), '00', 'they are gone');
	is(join(' ', sort split /\n/, sql(q(SELECT item FROM cdc_sink.check_server('kafka') WHERE NOT ok))), '', 'a one-shot worker works, too');
	sql($reset);
	sql('ALTER ROLE sink RESET role');
	$node->reload;
}
is(join("\n", slurp_file($node->logfile, $log) =~ /^(.*\] cdc_sink (?:launcher|scan|apply|one-shot).*(?:timeout|trapped).*)$/mg), '', 'no time limit ended a process of ours');

# --- read only, for all
sql('ALTER SYSTEM SET default_transaction_read_only = on');
$node->reload;
put('hostile');
ok_caught_up($node, 's', 'fault 52: a server whose transactions are read only by default');
sql('ALTER SYSTEM RESET default_transaction_read_only');
$node->reload;
is_text(rows_of('hostile'), $want, 'with the rows');

# --- clock
my $day = 86400;
my ($pid) = worker_pids($node, $db);
foreach my $jump ($day, 0, -$day, -$day - 3600, 0)
{
	set_clock($jump);
	my $start = time;
	$broker->produce('log', 0, inserted({ id => ++$next }));
	ok_caught_up($node, 's', "fault 59: the clock at $jump s: a record arrives");
	cmp_ok(time - $start, '<', 15, 'soon');
	is(sql('SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE lag_records < 0 OR lag_interval < $$0$$'), '0', 'no lag is negative');
}
is(join(' ', worker_pids($node, $db)), $pid, 'the worker lives through it');
# set back while it waits for its next try, and while the launcher does

sql(q(CREATE FUNCTION k.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$;
	CREATE TRIGGER f BEFORE INSERT ON k.log FOR EACH ROW EXECUTE FUNCTION k.f(); ALTER TABLE k.log ENABLE ALWAYS TRIGGER f));
$broker->produce('log', 0, inserted({ id => ++$next }));
wait_for_state($node, 's', qr/^retrying insufficient_resources/);
set_clock(-$day);
sql('DROP TRIGGER f ON k.log');
my $start = time;
ok_caught_up($node, 's', 'fault 59: set back by a day between two tries');
cmp_ok(time - $start, '<', 15, 'it does not wait for the old time');
sql("SELECT pg_terminate_backend($pid)");
set_clock(-2 * $day);
wait_for_new_worker($node, $db, $pid);
cmp_ok(time - $start, '<', 30, 'fault 59: set back between two runs, the next one starts soon');
$broker->produce('log', 0, inserted({ id => ++$next }));
ok_caught_up($node, 's', 'and goes on');
set_clock(0);
is(sql('SELECT count(*), count(DISTINCT __offset) FROM k.log'), "$next|$next", 'each record once');

# --- another encoding
sql(q(CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'));
$ENV{PGCLIENTENCODING} = 'UTF8';
$node->safe_psql('latin1', "CREATE EXTENSION cdc_sink; CREATE TABLE \"t\xC3\xA4ble\" (id int PRIMARY KEY, \"n\xC3\xA4me\" text, j jsonb)", extra_params => [ '-v', 'ON_ERROR_STOP=1' ]);
create_server($node, 'latin1', $broker->bootstrap);
$broker->create_topic('latin', 2);
$node->safe_psql('latin1', "SELECT cdc_sink.create_subscription('l', 'kafka', options => '{\"on_error\": \"dead_letter\"}'); SELECT cdc_sink.add_mapping('l', 'latin', (SELECT oid::regclass FROM pg_class WHERE relname LIKE 't%ble'))");
my $value = sub { my ($id, $text) = @_; return { key => qq({"id":$id}), value => qq({"before":null,"after":{"id":$id,"n\xC3\xA4me":"$text","j":"{\\"k\\": \\"$text\\"}"},"op":"c","ts_ms":1,"source":{"schema":"public","table":"t"}}) } };
$broker->produce('latin', 0, $value->(1, "caf\xC3\xA9"), $value->(2, "\xE2\x82\xAC 5"), $value->(3, "bad \xFF"), $value->(4, 'plain'));
ok_caught_up($node, 'l', 'a database that is not UTF-8', 'latin1');
is($node->safe_psql('latin1', "SELECT id, \"n\xC3\xA4me\", j->>'k' FROM \"t\xC3\xA4ble\" ORDER BY id"), "1|caf\xC3\xA9|caf\xC3\xA9\n4|plain|plain", 'fault 68: what the encoding has is stored');
is($node->safe_psql('latin1', q(SELECT string_agg("offset" || ' ' || sqlstate, ', ' ORDER BY id) FROM cdc_sink.dead_letter)), '1 22P05, 2 22032', 'fault 68: what it has not, or is no text, is an error of its record');

# --- messages that are cut stay text
$broker->create_topic('cut', 1);
sql(<<'SQL');
CREATE TABLE k.cut (id int PRIMARY KEY, v text);
CREATE FUNCTION k.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '%', NEW.v USING DETAIL = NEW.v, HINT = NEW.v; END $$;
CREATE TRIGGER shout BEFORE INSERT ON k.cut FOR EACH ROW EXECUTE FUNCTION k.shout();
ALTER TABLE k.cut ENABLE ALWAYS TRIGGER shout;
ALTER TABLE k.cut OWNER TO keeper;
SELECT cdc_sink.add_mapping('s', 'cut', 'k.cut');
SQL
foreach my $length (200 .. 203)
{
	$broker->produce('cut', 0, { key => '{"id":1}', value => '{"before":null,"after":{"id":1,"v":"' . ('x' x $length) . ("\xC3\xA4" x 300) . '"},"op":"c","ts_ms":1,"source":{"schema":"public","table":"t"}}' });
	ok_stops($node, 'cut', 'data_error', qr/^P0001 x/, 'fault 68: a long message') if $length == 200;
	wait_for_state($node, 's', qr/^stopped data_error/);
	my ($code, $out, $err) = $node->psql($db, "SET client_encoding = 'LATIN1'; SELECT message, detail, hint FROM cdc_sink.pg_stat_cdc_sink_error WHERE topic = 'cut'");
	is($err, '', "fault 68: a message cut at any place stays text ($length)");
	pass_over($node, 's', 'cut');
	ok_caught_up($node, 's', 'and it goes on');
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
