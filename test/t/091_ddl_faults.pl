# DDL, locks and dead letters that cannot be written, against a running subscription: nothing lost, nothing twice, and it goes on by itself.
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
use CdcSink::Process qw(wait_for);

my $seed = $ENV{CDC_SINK_SEED} // time();
srand($seed);
note("CDC_SINK_SEED=$seed");

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
my $node = new_read_side('ddl', "cdc_sink.memory_limit = 16MB\n");
create_server($node, $db, $broker->bootstrap);
$broker->create_topic('storm', 2);
$broker->create_topic($_, 1) foreach qw(letters wide bulk here there shape);

sub sql { return $node->safe_psql($db, $_[0]); }
sub put { my ($topic, $partition, @records) = @_; $broker->produce($topic, $partition, @records); return; }
my $retry = q("retry_backoff_ms": 10, "retry_backoff_max_ms": 100);

# --- 36
sql(<<SQL);
CREATE TABLE letters (id int PRIMARY KEY, n int);
SELECT cdc_sink.create_subscription('letters', 'kafka', options => '{"on_error": "dead_letter", $retry}');
SELECT cdc_sink.add_mapping('letters', 'letters', 'letters');
ALTER TABLE cdc_sink.dead_letter ADD CONSTRAINT full_up CHECK (false) NOT VALID;
SQL
put('letters', 0, inserted({ id => 1, n => 1 }), inserted({ id => 2, n => 'bad' }), inserted({ id => 3, n => 3 }));
wait_for_state($node, 'letters', qr/^retrying/);
wait_for(sub { sql("SELECT retries FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'letters'") > 5 }, 'retries');
like(sql("SELECT hint FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'letters'"), qr/full_up/, 'fault 36: a dead letter that cannot be written is tried again, the view says why');
# the first record may have come alone
is(sql("SELECT next_offset <= 1, next_offset = (SELECT count(*) FROM letters) FROM cdc_sink.position WHERE topic = 'letters'"), 't|t', 'the position does not move past it, nothing is half applied');
sql('ALTER TABLE cdc_sink.dead_letter DROP CONSTRAINT full_up');
ok_caught_up($node, 'letters', 'fault 36: when it can be written, it goes on by itself');
is(sql(q(SELECT string_agg(id::text, ' ' ORDER BY id) FROM letters)), '1 3', 'good records are applied');
is(sql(q(SELECT string_agg("offset" || ' ' || status, ', ') FROM cdc_sink.dead_letter)), '1 open', 'the bad one is one dead letter');

# --- 37
my $columns = 1600;
sql('CREATE TABLE wide (id int PRIMARY KEY, ' . join(', ', map { "c$_ int" } 1 .. $columns - 1) . ');'
	  . q(CREATE TABLE bulk (id int PRIMARY KEY, v text);)
	  . qq(SELECT cdc_sink.create_subscription('wide', 'kafka', options => '{"batch_rows": 1000000, $retry}');)
	  . q(SELECT cdc_sink.add_mapping('wide', 'wide', 'wide'); SELECT cdc_sink.add_mapping('wide', 'bulk', 'bulk')));
my $row = sub { my ($id, $n) = @_; return { id => $id, map { ("c$_" => $n + $_) } 1 .. $columns - 1 } };
put('wide', 0, map { inserted($row->($_, 0)) } 1 .. 20);
put('wide', 0, map { updated($row->($_, 1000)) } 1 .. 10);
put('wide', 0, deleted($row->(20, 0)));
ok_caught_up($node, 'wide', 'fault 37: a table of 1600 columns');
is(sql('SELECT count(*), sum(c1), sum(c1599) FROM wide'), '19|' . (10 * 1001 + 9) . '|' . (10 * 2599 + 9 * 1599), 'every column has its value');
my $worker = worker_pid($node, 'wide');
my $chunks = $ENV{CDC_SINK_FULL} ? 40 : 2;
my $chunk = 25_000;
my @memory;
foreach my $c (0 .. $chunks - 1)
{
	put('bulk', 0, map { inserted({ id => $_, v => "row $_" }) } $c * $chunk + 1 .. ($c + 1) * $chunk);
	sql("SELECT cdc_sink.wait_for_offset('wide', 'bulk', 0, " . (($c + 1) * $chunk - 1) . ')') eq 't' or die show_views($node);
	push @memory, memory_kb($worker);
}
is(sql('SELECT count(*), count(DISTINCT id), max(id) FROM bulk'), join('|', ($chunks * $chunk) x 3), 'fault 37: ' . $chunks * $chunk . ' rows in the largest batches');
cmp_ok($memory[-1], '<', 110_000, "fault 37: the worker's memory stays bounded (kB: $memory[0] to $memory[-1])");
cmp_ok($memory[-1], '<', $memory[ @memory / 2 - 1 ] * 1.1 + 4000, 'and does not grow with the work') if $ENV{CDC_SINK_FULL};
my $megabytes = 4;
put('bulk', 0, inserted({ id => 0, v => 'v' x ($megabytes * 1_000_000) }));
ok_caught_up($node, 'wide', 'fault 37: a row of megabytes');
is(sql('SELECT length(v) FROM bulk WHERE id = 0'), $megabytes * 1_000_000, 'is stored whole');
sql("SELECT cdc_sink.disable_subscription('wide')");

# --- 38
sql(<<SQL);
CREATE TABLE storm (id int PRIMARY KEY, n int, v text);
CREATE TABLE log (id int, n int, __op text, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('storm', 'kafka', options => '{"on_unknown_column": "ignore", $retry}');
SELECT cdc_sink.add_mapping('storm', 'storm', 'storm');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{"on_unknown_column": "ignore", "batch_rows": 50, $retry}');
SELECT cdc_sink.add_mapping('log', 'storm', 'log', options => '{"mode": "append"}');
SQL
put('storm', $_, inserted({ id => $_, n => 0, v => 'first' })) foreach 0, 1;
my (%rows, @history, @next);
$next[$_] = 1 foreach 0, 1;
foreach my $id (0, 1) { $rows{$id} = { id => $id, n => 0, v => 'first' }; push @history, "$id|0|c"; }
ok_caught_up($node, $_, "$_ runs") foreach qw(storm log);
my $pid = worker_pid($node, 'storm');
my $before = memory_kb($pid);
my $session = $node->background_psql($db);
$session->query_until(qr/locked/, "BEGIN;\nALTER TABLE storm ADD extra int;\n\\echo locked\n");
write_records(1500);
wait_for_state($node, 'storm', qr/^waiting lock$/);
pass('fault 38: DDL that is not committed is waited for, the state says so');
my $hold = $ENV{CDC_SINK_FULL} ? 120 : 6;
my $start = time;
my $most = 0;
while (time - $start < $hold)
{
	my $kb = memory_kb($pid);
	$most = $kb if $kb > $most;
	die 'the worker ended' if worker_pid($node, 'storm') != $pid;
	is(sql("SELECT cdc_sink.wait_for_catchup('storm', '1 s')"), 'f', 'who waits gets an answer') if $most == $kb;
	select(undef, undef, undef, 0.2);
}
cmp_ok($most - $before, '<', 30_000, "fault 38: nothing piles up in $hold s behind the lock (kB: $before, $most)");
is(subscription_state($node, 'storm'), 'waiting lock', 'it still waits for the lock');
is(sql("SELECT cdc_sink.wait_for_catchup('log')"), 't', 'other subscriptions go on');
$start = time;
sql("SELECT cdc_sink.disable_subscription('storm'); SELECT cdc_sink.enable_subscription('storm')");
cmp_ok(time - $start, '<', 10, 'it can be disabled behind the lock');
$session->query_until(qr/unlocked/, "COMMIT;\n\\echo unlocked\n");
$session->quit;
ok_caught_up($node, 'storm', 'fault 38: after the lock it goes on by itself');
ok_storm('the DDL');

# --- 39
my @ddl = (
	'ALTER TABLE storm ADD more int DEFAULT 7', 'ALTER TABLE storm DROP more', 'ALTER TABLE storm ALTER n TYPE bigint', 'ALTER TABLE storm ALTER n TYPE int',
	'ALTER TABLE storm RENAME TO elsewhere; ALTER TABLE elsewhere RENAME TO storm', 'ALTER TABLE storm RENAME v TO w; ALTER TABLE storm RENAME w TO v',
	'ALTER TABLE storm ALTER v SET DEFAULT $$x$$', 'CREATE INDEX i ON storm (n)', 'DROP INDEX i', 'ALTER TABLE storm ADD CONSTRAINT c CHECK (n >= 0)', 'ALTER TABLE storm DROP CONSTRAINT c',
	'ALTER TABLE storm DROP CONSTRAINT storm_pkey; ALTER TABLE storm ADD PRIMARY KEY (id)', 'CLUSTER storm USING storm_pkey', 'VACUUM FULL storm', 'ANALYZE storm',
	'CREATE TABLE parted (LIKE storm INCLUDING DEFAULTS) PARTITION BY HASH (id); DROP TABLE parted', 'ALTER TABLE storm SET SCHEMA other; ALTER TABLE other.storm SET SCHEMA public',
	'CREATE TRIGGER t BEFORE INSERT ON storm FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); DROP TRIGGER t ON storm',
	'GRANT SELECT ON storm TO pg_monitor', 'ALTER TABLE storm REPLICA IDENTITY FULL');
sql('CREATE SCHEMA other');
my $rounds = $ENV{CDC_SINK_FULL} ? 150 : 12;
my $failed = 0;
foreach my $round (1 .. $rounds)
{
	write_records(200);
	foreach (1 .. 3)
	{
		my ($code, $out, $err) = $node->psql($db, $ddl[ int(rand(@ddl)) ]);
		$failed++ if $err =~ /FATAL|server closed/;
	}
}
is($failed, 0, "fault 39: $rounds rounds of DDL");
sql('ALTER TABLE storm DROP IF EXISTS more');
eval { wait_for(sub { sql('SELECT sum(partitions_stopped) = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription') eq 't' }, 'no partition is stopped') };
is($@, '', 'fault 39: after the storm nobody has to help');
ok_caught_up($node, $_, "$_ is caught up") foreach qw(storm log);
ok_storm('the storm');
is(sql('SELECT count(*) - count(DISTINCT (__partition, __offset)) FROM log'), '0', 'no offset twice');
is_text(sql('SELECT id, n, __op FROM log ORDER BY id, __offset'), join("\n", history()), 'each event once, in order');

# partitions that come and go
sql(<<'SQL');
CREATE TABLE here (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE here_1 PARTITION OF here FOR VALUES FROM (0) TO (100);
SELECT cdc_sink.add_mapping('storm', 'here', 'here');
SQL
put('here', 0, inserted({ id => 1, n => 1 }));
ok_caught_up($node, 'storm', 'a partitioned table');
put('here', 0, inserted({ id => 101, n => 1 }));
ok_stops($node, 'here', 'data_error', qr/^23514 no partition of relation "here" found for row/, 'fault 39: a row without a partition');
sql('CREATE TABLE here_2 (n int, dropped text, id int NOT NULL); ALTER TABLE here_2 DROP dropped; ALTER TABLE here ATTACH PARTITION here_2 FOR VALUES FROM (100) TO (200)');
sql("SELECT cdc_sink.enable_subscription('storm')");
ok_caught_up($node, 'storm', 'fault 39: an attached partition, of another column order, takes it');
sql('ALTER TABLE here DETACH PARTITION here_1');
put('here', 0, updated({ id => 101, n => 2 }));
ok_caught_up($node, 'storm', 'fault 39: a detached one is not missed');
is(sql('SELECT id, n FROM here ORDER BY id') . ' ' . sql('SELECT id, n FROM here_1'), '101|2 1|1', 'rows are where they belong');

# --- 40
sql('CREATE ROLE other; GRANT ALL ON SCHEMA public TO other; CREATE TABLE there (id int PRIMARY KEY, n int)');
sql("SELECT cdc_sink.add_mapping('storm', 'there', 'there')");
put('there', 0, inserted({ id => 1, n => 1 }));
ok_caught_up($node, 'storm', 'a table that will be replaced');
sql('DROP TABLE there; SET ROLE other; CREATE TABLE there (id int PRIMARY KEY, n int)');
put('there', 0, inserted({ id => 2, n => 2 }));
ok_stops($node, 'there', 'configuration_error', qr/^42P01 relation public\.there of the mapping of topic "there" does not exist/, 'fault 40: a table that was dropped');
write_records(20);
is(sql("SELECT cdc_sink.wait_for_offset('storm', 'storm', 0, " . ($next[0] - 1) . ')'), 't', 'other topics go on');
is(sql('SELECT count(*) FROM there'), '0', 'fault 40: one of its name, made by somebody else, is not written');
sql(q(ALTER TABLE there OWNER TO other; SELECT cdc_sink.remove_mapping('storm', 'there', keep_position => true); SELECT cdc_sink.add_mapping('storm', 'there', 'there')));
ok_caught_up($node, 'storm', 'fault 40: mapped again, it goes on where it was');
is(sql('SELECT id FROM there'), '2', 'with the record that waited');
sql('ALTER TABLE there RENAME TO moved; CREATE VIEW there AS SELECT * FROM moved');
put('there', 0, inserted({ id => 3, n => 3 }));
ok_stops($node, 'there', 'configuration_error', qr/^42809 relation public\.there .* is now called public\.moved/, 'fault 40: a table that goes by another name');
sql('DROP VIEW there; ALTER TABLE moved RENAME TO there');
$node->poll_query_until($db, 'SELECT sum(partitions_stopped) = 0 FROM cdc_sink.pg_stat_cdc_sink_subscription');
ok_caught_up($node, 'storm', 'fault 40: with its name back it goes on by itself');

# --- 41
sql(<<'SQL');
CREATE TABLE shape (gone1 int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone2 text DEFAULT 'x', n int, twice int GENERATED ALWAYS AS (n * 2) STORED, v text);
ALTER TABLE shape DROP gone1, DROP gone2;
SELECT cdc_sink.add_mapping('storm', 'shape', 'shape');
SQL
put('shape', 0, inserted({ id => 1, n => 1, twice => 99, v => 'a' }), inserted({ id => 2, n => 2, twice => 99, v => 'b' }));
ok_caught_up($node, 'storm', 'fault 41: dropped columns, a generated one and an identity that is always generated');
sql('ALTER TABLE shape DROP v, ADD v text, ADD late int GENERATED ALWAYS AS (n + 1) STORED');
put('shape', 0, updated({ id => 1, n => 10, twice => 0, v => 'c', late => 5 }), inserted({ id => 3, n => 3, twice => 0, v => 'd', late => 5 }), deleted({ id => 2, n => 2 }));
ok_caught_up($node, 'storm', 'fault 41: columns dropped and added between batches');
is(sql('SELECT id, n, twice, v, late FROM shape ORDER BY id'), "1|10|20|c|11\n3|3|6|d|4", 'values are in their columns');
$session = $node->background_psql($db);
$session->query_until(qr/dropped/, "BEGIN;\nALTER TABLE shape DROP v;\n\\echo dropped\n");
put('shape', 0, map { updated({ id => 3, n => $_, v => 'e' }) } 1 .. 50);
wait_for_state($node, 'storm', qr/^waiting lock$/);
$session->query_until(qr/done/, "COMMIT;\n\\echo done\n");
$session->quit;
ok_caught_up($node, 'storm', 'fault 41: a column dropped while a batch waits for it');
is(sql('SELECT id, n, twice FROM shape ORDER BY id'), "1|10|20\n3|50|100", 'the others go on');

# Random changes of the table "storm" and what they lead to.
sub write_records
{
	my ($count) = @_;
	my @records = ([], []);
	foreach (1 .. $count)
	{
		my $id = int(rand(100));
		my $old = $rows{$id};
		my $new = $old && rand() < 0.2 ? undef : { id => $id, n => int(rand(1000)), v => "v$id" };
		push @{ $records[ $id % 2 ] }, $new ? ($old ? updated($new) : inserted($new)) : deleted($old);
		$next[ $id % 2 ]++;
		$rows{$id} = $new;
		push @history, join('|', $id, $new ? ($new->{n}, $old ? 'u' : 'c') : ('', 'd'));
	}
	put('storm', $_, @{ $records[$_] }) foreach 0, 1;
	return;
}

sub ok_storm
{
	my $title = shift;
	my $want = join("\n", map { "$_->{id}|$_->{n}|$_->{v}" } grep { defined } map { $rows{$_} } sort { $a <=> $b } keys %rows);
	is_text(sql('SELECT id, n, v FROM storm ORDER BY id'), $want, "after $title the table is as its records say");
	return;
}

# Events by key, each key's in order.
sub history
{
	my %of;
	push @{ $of{ (split /\|/, $_)[0] } }, $_ foreach @history;
	return map { @{ $of{$_} } } sort { $a <=> $b } keys %of;
}

$node->stop('fast');
ok_no_crash($node);
done_testing();
