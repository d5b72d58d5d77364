# What is transient is tried again until it works; what is wrong stops its partition, says where and why, and goes on after the repair.
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
# the worker finds a deadlock before it gives up on a lock, which it does after a second
my $node = new_read_side('retry', "deadlock_timeout = 600ms\n");
create_server($node, 'postgres', $broker->bootstrap);
$broker->create_topic('items', 2);

# the trigger fires for the worker, too, and fails as the table "fault" says
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE keeper;
CREATE TABLE items (id int PRIMARY KEY, n int, v text);
CREATE TABLE fault (code text);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE c text := (SELECT code FROM public.fault);
BEGIN
	IF c IS NOT NULL THEN
		RAISE EXCEPTION 'the fault %', c USING ERRCODE = c;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION fail();
ALTER TABLE items ENABLE ALWAYS TRIGGER fail;
ALTER TABLE items OWNER TO keeper;
ALTER TABLE fault OWNER TO keeper;
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"retry_backoff_ms": 10, "retry_backoff_max_ms": 200}');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SQL
my %rows;
my @next = (0, 0);

# Writes rows to a partition, and remembers them.
sub put
{
	my ($partition, @new) = @_;
	$broker->produce('items', $partition, map { inserted($_) } @new);
	$next[$partition] += @new;
	$rows{ $_->{id} } = $_ foreach @new;
	return;
}

sub ok_rows
{
	my $title = shift;
	my $want = join("\n", map { join('|', $_, $rows{$_}{n}, $rows{$_}{v}) } sort { $a <=> $b } keys %rows);
	is_text($node->safe_psql('postgres', 'SELECT id, n, v FROM items ORDER BY id'), $want, $title);
	return;
}

# The newest error with this SQLSTATE: columns as text.
sub last_error
{
	my ($sqlstate, $columns) = @_;
	return $node->safe_psql('postgres',
		"SELECT $columns FROM cdc_sink.pg_stat_cdc_sink_error WHERE sqlstate = '$sqlstate' ORDER BY occurred_at DESC LIMIT 1");
}

sub partition_state
{
	my $partition = shift;
	return $node->safe_psql('postgres',
		"SELECT concat_ws(' ', state, state_reason, next_offset) FROM cdc_sink.pg_stat_cdc_sink_partition WHERE topic = 'items' AND partition = $partition");
}

sub wait_for_partition
{
	my ($partition, $want, $title) = @_;
	my $state = '';
	eval { wait_for(sub { ($state = partition_state($partition)) eq $want }, $title) };
	is($state, $want, $title) or diag(show_views($node));
	return;
}

put(0, { id => 1, n => 1, v => 'first' });
ok_caught_up($node, 's', 'a record arrives');

# --- transient
my $id = 10;
foreach my $fault (
	[ '53100', 'insufficient_resources' ],
	[ '57014', 'operator_intervention' ],
	[ '40001', 'transaction_rollback' ],
	[ '58030', 'system_error' ],
	[ '08006', 'connection_error' ])
{
	my ($code, $reason) = @$fault;
	$node->safe_psql('postgres', "INSERT INTO fault VALUES ('$code')");
	put(0, { id => ++$id, n => $id, v => $code });
	wait_for_state($node, 's', qr/^retrying $reason$/);
	pass("$code is retried, reason $reason");
	is(last_error($code, 'message, disposition'), "the fault $code|retry", 'and is in the list of errors');
	$node->safe_psql('postgres', 'DELETE FROM fault');
	ok_caught_up($node, 's', 'and applied once it is over');
}
ok_rows('nothing is lost');
my $retries = $node->safe_psql('postgres', 'SELECT retries FROM cdc_sink.pg_stat_cdc_sink_subscription');
cmp_ok($retries, '>=', 5, 'the retries are counted');

# --- a lock
my $session = $node->background_psql('postgres');
$session->query_until(qr/locked/, "BEGIN;\nLOCK TABLE items IN EXCLUSIVE MODE;\n\\echo locked\n");
put(1, { id => 20, n => 20, v => 'behind the lock' });
wait_for_state($node, 's', qr/^waiting lock$/);
pass('a lock is waited for');
my ($ask) = $node->safe_psql('postgres', "SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription") =~ /^(SELECT pg_blocking_pids\(\d+\)) tells/;
ok($node->poll_query_until('postgres', "$ask = (SELECT array_agg(pid) FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'ExclusiveLock' AND granted)"),
	'the hint asks who holds it');
$session->query_until(qr/unlocked/, "ROLLBACK;\n\\echo unlocked\n");
ok_caught_up($node, 's', 'and the batch applied when it is free');
ok_rows('once');

# --- a deadlock: the session holds the last row and wants the first one as soon as the worker waits for the last
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");
put(0, map { { id => $_, n => 1, v => 'old' } } 100 .. 150);
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'the rows of the deadlock are there');
$node->safe_psql('postgres', "SELECT cdc_sink.disable_subscription('s')");
put(0, map { { id => $_, n => 2, v => 'new' } } 100 .. 150);
$session->query_until(qr/held/, "SET deadlock_timeout = '1 min';\nBEGIN;\nUPDATE items SET v = 'session' WHERE id = 150;\n\\echo held\n");
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
$session->query_until(qr/crossed/, <<'SQL');
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_get_activity(l.pid) a ON true
					  WHERE NOT l.granted AND l.locktype = 'transactionid') LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
	UPDATE items SET v = 'session' WHERE id = 100;
END $$;
\echo crossed
SQL
eval { wait_for(sub { last_error('40P01', 'disposition') eq 'retry' }, 'a deadlock') };
is(last_error('40P01', 'disposition'), 'retry', 'fault 38: a deadlock is retried');
$session->query_until(qr/done/, "COMMIT;\n\\echo done\n");
$session->quit;
ok_caught_up($node, 's', 'and the batch applied afterwards');
ok_rows('over what the session wrote');

# --- a data error stops its partition, and only that
put(0, { id => 200, n => 200, v => 'before' });
my $bad = $next[0];
put(0, { id => 201, n => 3000000000, v => 'too large' }, { id => 202, n => 202, v => 'behind' });
wait_for_partition(0, "stopped data_error $bad", 'fault 35: a data error stops its partition before the record');
wait_for_state($node, 's', qr/^stopped data_error$/);
put(1, { id => 203, n => 203, v => 'next door' });
is($node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'items', 1, " . ($next[1] - 1) . ')'), 't', 'the other one goes on');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM items WHERE id >= 200'), '200 203',
	'what stands before the record is applied, what stands behind it is not');
is(last_error('22003', 'subscription, topic, partition, "offset", relation, disposition'), "s|items|0|$bad|public.items|stop", 'the error says where');
like(last_error('22003', 'message'), qr/out of range/, 'and what');
like(last_error('22003', 'detail'), qr/Field "n"/, 'in which field');
like(last_error('22003', 'hint'), qr/enable_subscription\('s'\)/, 'and what to do');
is($node->safe_psql('postgres', 'SELECT partitions, partitions_stopped FROM cdc_sink.pg_stat_cdc_sink_subscription'), '2|1', 'the subscription counts it');
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT cdc_sink.wait_for_catchup('s', '20 s')");
like($err, qr/55000: .*\nDETAIL:.*stopped.*data_error.*\nHINT:/, 'who waits learns it');

$node->safe_psql('postgres', 'ALTER TABLE items ALTER n TYPE bigint');
put(1, { id => 204, n => 204, v => 'after the repair' });
$node->safe_psql('postgres', "SELECT cdc_sink.wait_for_offset('s', 'items', 1, " . ($next[1] - 1) . ')');
is(partition_state(0), "stopped data_error $bad", 'DDL alone does not try a data error again');
$node->safe_psql('postgres', "SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'enable_subscription does');
ok_rows('and nothing is lost');

# --- a configuration error goes away by itself
$node->safe_psql('postgres', 'REVOKE INSERT, UPDATE ON items FROM keeper');
my $at = $next[0];
put(0, { id => 300, n => 300, v => 'not allowed' });
wait_for_partition(0, "stopped configuration_error $at", 'a missing privilege stops the partition');
like(last_error('42501', 'message, "offset", disposition'), qr/^permission denied for table items\|$at\|stop$/, 'with the message of the server');
$node->safe_psql('postgres', 'GRANT INSERT, UPDATE ON items TO keeper');
ok_caught_up_by_itself('after GRANT');

$at = $next[1];
put(1, { id => 301, n => 301, v => 'new column', more => 'more' });
wait_for_partition(1, "stopped configuration_error $at", 'a field without a column stops the partition');
is(last_error('42703', '"offset", disposition'), "$at|stop", 'and is in the list of errors');
$node->safe_psql('postgres', 'ALTER TABLE items ADD more text');
ok_caught_up_by_itself('after ALTER TABLE');
is($node->safe_psql('postgres', 'SELECT more FROM items WHERE id = 301'), 'more', 'with the new column');

$node->safe_psql('postgres', 'ALTER TABLE items RENAME TO elsewhere');
put(0, { id => 302, n => 302, v => 'renamed' });
wait_for_state($node, 's', qr/^stopped configuration_error$/);
pass('fault 40: a table that goes by another name stops it');
$node->safe_psql('postgres', 'ALTER TABLE elsewhere RENAME TO items');
ok_caught_up_by_itself('after it has its name back');
ok_rows('nothing is lost');

# --- an internal error: five tries, then a human
$node->safe_psql('postgres', "INSERT INTO fault VALUES ('XX000')");
$at = $next[0];
put(0, { id => 303, n => 303, v => 'internal' });
wait_for_partition(0, "stopped internal_error $at", 'an internal error stops the partition');
is(last_error('XX000', 'disposition'), 'stop', 'after it was tried again');
is($node->safe_psql('postgres', "SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_error WHERE sqlstate = 'XX000' AND disposition = 'retry' AND message = 'the fault XX000'") > 0,
	1, 'which is in the list, too');
$node->safe_psql('postgres', "DELETE FROM fault; SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($node, 's', 'and goes on after enable_subscription');
ok_rows('nothing is lost');

# Resumes without any call: waited for, as the partition may still be stopped just after the repair.
sub ok_caught_up_by_itself
{
	my $title = shift;
	$node->poll_query_until('postgres', 'SELECT partitions_stopped = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
	ok_caught_up($node, 's', "$title it goes on by itself");
	return;
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
