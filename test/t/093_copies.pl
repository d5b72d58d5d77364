# Failover, old backups, clones, dumps and upgrades: positions go with the data, and what does not belong here does not run.
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
use CdcSink::Process qw(wait_for work_dir);
use CdcSink::Workers;

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
$broker->create_topic('items', 2);
my (%rows, %history, $version);

# Random changes, and what they lead to.
sub write_records
{
	my ($count) = @_;
	my @records = ([], []);
	foreach (1 .. $count)
	{
		my $id = int(rand(100));
		my $old = $rows{$id};
		my $new = $old && rand() < 0.2 ? undef : { id => $id, version => ++$version };
		push @{ $records[ $id % 2 ] }, $new ? ($old ? updated($new) : inserted($new)) : deleted($old);
		push @{ $history{$id} }, join('|', $id, $new ? ($old ? 'u' : 'c', $new->{version}) : ('d', ''));
		$rows{$id} = $new;
	}
	$broker->produce('items', $_, @{ $records[$_] }) foreach 0, 1;
	return;
}

# Caught up, the table as the records say, each event once and in order.
sub ok_all
{
	my ($node, $title) = @_;
	ok_caught_up($node, $_, "$title: $_ is caught up") foreach qw(s log);
	is_text($node->safe_psql($db, 'SELECT id, version FROM items ORDER BY id'),
		join("\n", map { "$_->{id}|$_->{version}" } grep { defined } map { $rows{$_} } sort { $a <=> $b } keys %rows), "$title: the table is as its records say");
	is_text($node->safe_psql($db, 'SELECT id, __op, version FROM log ORDER BY id, __offset'), join("\n", map { @{ $history{$_} } } sort { $a <=> $b } keys %history), "$title: each event once");
	is($node->safe_psql($db, 'SELECT count(*) - count(DISTINCT (__partition, __offset)) FROM log'), '0', "$title: no offset twice");
	return;
}

sub processes { return $_[0]->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdc_sink%'"); }

my $settings = "shared_preload_libraries = 'cdc_sink'\nmax_worker_processes = 32\nlog_line_prefix = '%m [%p] %b '\nsynchronous_commit = on\n";
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', $settings);
$primary->start;
$primary->safe_psql($db, 'CREATE EXTENSION cdc_sink');
create_server($primary, $db, $broker->bootstrap);
$primary->safe_psql($db, <<'SQL');
CREATE TABLE items (id int PRIMARY KEY, version int);
CREATE TABLE log (id int, version int, __op text, __partition int, __offset bigint);
SELECT cdc_sink.create_subscription('s', 'kafka', options => '{"batch_rows": 20, "synchronous_commit": "local"}');
SELECT cdc_sink.add_mapping('s', 'items', 'items');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{"batch_rows": 30, "synchronous_commit": "local"}');
SELECT cdc_sink.add_mapping('log', 'items', 'log', options => '{"mode": "append"}');
SQL
write_records(300);
ok_all($primary, 'primary');

# --- a standby, a standby of the standby, and a backup that will be old
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$standby->backup('of_standby');
my $cascade = PostgreSQL::Test::Cluster->new('cascade');
$cascade->init_from_backup($standby, 'of_standby', has_streaming => 1);
$cascade->start;
write_records(200);
ok_all($primary, 'primary with standbys');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(processes($_), '0', 'fault 51: nothing of ours runs on ' . $_->name) foreach $standby, $cascade;
foreach my $call ("disable_subscription('s')", "enable_subscription('s')", "wait_for_offset('s', 'items', 0, 0)", "set_position('s', 'items', 0, 'earliest')")
{
	my ($code, $out, $err) = $standby->psql($db, "SELECT cdc_sink.$call");
	like($err, qr/read-only transaction|recovery/, "fault 51: $call is refused there");
}

# --- the standby is behind when the primary falls: what is lost was committed, with its position
$standby->stop;
write_records(200);
ok_all($primary, 'primary alone');
my $lost = $primary->safe_psql($db, 'SELECT sum(next_offset) FROM cdc_sink.position');
$primary->stop('immediate');
$standby->start;
cmp_ok($standby->safe_psql($db, 'SELECT sum(next_offset) FROM cdc_sink.position'), '<', $lost, 'the standby is behind');
$standby->promote;
wait_for_workers($standby, $db, 2);
ok_all($standby, 'fault 51: after a failover that lost commits');
write_records(100);
ok_all($standby, 'and what comes later');
is(processes($cascade), '0', 'fault 51: the cascading standby still runs nothing');
$standby->wait_for_catchup($cascade, 'replay', $standby->lsn('insert'));
is($cascade->safe_psql($db, 'SELECT count(*) FROM log'), $standby->safe_psql($db, 'SELECT count(*) FROM log'), 'and follows the new primary');
$cascade->promote;
wait_for_workers($cascade, $db, 2);
write_records(50);
ok_all($_, 'fault 54: two servers of one history, on ' . $_->name) foreach $standby, $cascade;
$cascade->stop('fast');

# --- the old backup, as a clone that is told not to run, then as the server
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init_from_backup($primary, 'base');
$old->append_conf('postgresql.conf', "cdc_sink.enabled = off\n");
$old->start;
wait_for_state($old, 's', qr/^disabled server_disabled/);
pass('fault 54: a clone with cdc_sink.enabled = off does not run');
$old->append_conf('postgresql.conf', "cdc_sink.enabled = on\n");
$old->reload;
wait_for_workers($old, $db, 2);
ok_all($old, 'fault 53: a restored old backup reads from its own position');
$old->stop('fast');

# --- dumps, made while records are applied
my $dir = work_dir('dumps');
my $fresh = PostgreSQL::Test::Cluster->new('fresh');
$fresh->init;
$fresh->append_conf('postgresql.conf', $settings);
$fresh->start;
write_records(400);
$standby->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dir/all", '-d', $standby->connstr($db) ], 'a parallel dump while records are applied');
$standby->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema", '-d', $standby->connstr($db) ], 'a dump of the schema');
$standby->command_ok([ 'pg_dump', '-a', '-f', "$dir/data", '-d', $standby->connstr($db) ], 'a dump of the data');
$standby->command_ok([ 'pg_dump', '-t', 'items', '-f', "$dir/table", '-d', $standby->connstr($db) ], 'a dump of one table');
ok_all($standby, 'the dumped server goes on');
unlike(slurp_file("$dir/schema"), qr/bootstrap.*password/, 'no secret is in it');
$fresh->safe_psql($db, 'CREATE DATABASE whole; CREATE DATABASE parts; CREATE DATABASE one');
$fresh->command_ok([ 'pg_restore', '-j2', '-d', $fresh->connstr('whole'), "$dir/all" ], 'fault 55: a parallel restore');
$fresh->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema", $fresh->connstr('parts') ], 'fault 55: the schema alone');
$fresh->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/table", $fresh->connstr('one') ], 'fault 55: a single table needs no extension');
is($fresh->safe_psql('whole', "SELECT string_agg(concat_ws(' ', state, state_reason), ', ') FROM cdc_sink.pg_stat_cdc_sink_subscription"), 'disabled restored, disabled restored', 'fault 55: what was restored does not run');
is($fresh->safe_psql('whole', 'SELECT (SELECT sum(next_offset) FROM cdc_sink.position WHERE subscription = $$log$$) = (SELECT count(*) FROM log)'), 't', 'fault 55: data and positions are of one moment');
settle($fresh, 'whole');
is(join(' ', worker_pids($fresh)), '', 'no worker runs');
foreach my $s (qw(s log)) { $fresh->safe_psql('whole', "SELECT cdc_sink.enable_subscription('$s')") }
wait_for_workers($fresh, 'whole', 2);
{
	my $was = $db;
	$db = 'whole';
	foreach my $s (qw(s log)) { ok_caught_up($fresh, $s, "fault 55: enabled, $s goes on where the dump was", 'whole') }
	is($fresh->safe_psql('whole', 'SELECT count(*), count(DISTINCT (__partition, __offset)) FROM log'), ($standby->safe_psql($was, 'SELECT count(*) FROM log') . '|') x 1 . $standby->safe_psql($was, 'SELECT count(*) FROM log'), 'fault 55: each event once');
	$db = $was;
}
$fresh->safe_psql('whole', "SELECT cdc_sink.create_subscription('next', 'kafka', enabled => false)");
pass('fault 55: sequences went along');

# --- pg_upgrade
$fresh->stop('fast');
my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
$upgraded->append_conf('postgresql.conf', $settings);
my $bin = $fresh->config_data('--bindir');
chdir $dir or die "$dir: $!";
command_ok([ 'pg_upgrade', '--no-sync', '-d', $fresh->data_dir, '-D', $upgraded->data_dir, '-b', $bin, '-B', $bin, '-s', $upgraded->host, '-p', $fresh->port, '-P', $upgraded->port ], 'fault 55: pg_upgrade');
$upgraded->start;
is($upgraded->safe_psql('whole', "SELECT string_agg(DISTINCT concat_ws(' ', state, state_reason), ', ') FROM cdc_sink.pg_stat_cdc_sink_subscription"), 'disabled restored', 'fault 55: after an upgrade nothing runs by itself');
is($upgraded->safe_psql('whole', "SELECT string_agg(relation::text, ' ' ORDER BY subscription) FROM cdc_sink.mapping"), 'log items', 'mappings still name their tables');
write_records(100);
$upgraded->safe_psql('whole', "SELECT cdc_sink.enable_subscription('s'); SELECT cdc_sink.enable_subscription('log')");
ok_caught_up($upgraded, $_, "fault 55: upgraded, $_ goes on", 'whole') foreach qw(s log);
ok_all($standby, 'meanwhile');
is($upgraded->safe_psql('whole', 'SELECT count(*), count(DISTINCT (__partition, __offset)) FROM log'), join('|', ($standby->safe_psql($db, 'SELECT count(*) FROM log')) x 2), 'each event once');
is($upgraded->safe_psql('whole', 'SELECT md5(string_agg(items::text, $$,$$ ORDER BY id)) FROM items'), $standby->safe_psql($db, 'SELECT md5(string_agg(items::text, $$,$$ ORDER BY id)) FROM items'), 'the same rows');

# --- a library and an extension of different versions
$upgraded->safe_psql('whole', "UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'cdc_sink'");
my ($pid) = worker_pids($upgraded, 'whole');
$upgraded->safe_psql('whole', 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = $$cdc_sink apply worker$$');
wait_for(sub { ($upgraded->safe_psql('whole', q(SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's')) eq 'stopped configuration_error') }, 'the worker notices');
like($upgraded->safe_psql('whole', 'SELECT message FROM cdc_sink.pg_stat_cdc_sink_error ORDER BY occurred_at DESC LIMIT 1'), qr/^extension cdc_sink is of version 0\.9, its library of version/, 'fault 56: a library of another version does not run');
foreach my $call ("disable_subscription('s', wait => false)", "wait_for_catchup('s')", "create_subscription('x', 'kafka')", "reset_stats('s')")
{
	my ($code, $out, $err) = $upgraded->psql('whole', "\\set VERBOSITY verbose\nSELECT cdc_sink.$call");
	like($err, qr/55000: extension cdc_sink is of version 0\.9.*HINT: .*ALTER EXTENSION cdc_sink UPDATE/s, "fault 56: nor does $call");
}
$upgraded->safe_psql('whole', "UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'cdc_sink'; SELECT cdc_sink.enable_subscription('s')");
ok_caught_up($upgraded, 's', 'fault 56: of the right version it goes on', 'whole');

$_->stop('fast') foreach $standby, $upgraded;
ok_no_crash($_) foreach $upgraded, $fresh, $cascade;
done_testing();
