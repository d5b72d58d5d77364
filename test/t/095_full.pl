# Disks that are full and memory that is not to be had: the batch is tried again, and applied when there is room.
use strict;
use warnings;

use File::Path;

# Small disks of our own: mounted in a name space as its root, in which the test then runs as who it was. Before anything is loaded that
# takes hold of the output.
BEGIN
{
	if (!$ENV{CDC_TEST_DISKS})
	{
		my $disks = ($ENV{TESTDATADIR} // 'tmp_check') . '/disks';
		File::Path::make_path(map { "$disks/$_" } qw(data temp wal));
		my $mount = join(' && ', map { "mount -t tmpfs -o size=$_->[1],mode=777 cdc_sink '$disks/$_->[0]'" } [ 'data', '24m' ], [ 'temp', '4m' ], [ 'wal', '24m' ]);
		my @inside = ('unshare', '-U', "--map-user=$<", '--map-group=' . ($( + 0));
		if (system("unshare -r -m sh -c \"$mount && @inside true\" 2>/dev/null") != 0)
		{
			print "1..0 # SKIP mounts are not allowed here\n";
			exit 0;
		}
		$ENV{CDC_TEST_DISKS} = $disks;
		exec 'unshare', '-r', '-m', 'sh', '-c', "$mount && exec \"\$@\"", 'sh', @inside, $^X, $0;
		die "could not run unshare: $!";
	}
}

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IO::Handle;
use Test::More;
use CdcSink::Events;
use CdcSink::Faults;
use CdcSink::MockBroker;
use CdcSink::Node;
use CdcSink::Process qw(wait_for);

my $disks = $ENV{CDC_TEST_DISKS};

# Takes what is left of a disk, and gives it back.
sub fill
{
	my ($disk) = @_;
	open(my $f, '>', "$disks/$disk/filler") or die "$disk: $!";
	$f->autoflush(1);
	my $block = "\0" x 4096;
	1 while syswrite($f, $block);
	close($f);
	return;
}
sub free { unlink "$disks/$_[0]/filler" or die "$_[0]: $!"; return; }

my $db = 'postgres';
my $broker = CdcSink::MockBroker->new;
$broker->create_topic($_, 1) foreach qw(items sorted hungry calm);
my $node = new_read_side('full');
create_server($node, $db, $broker->bootstrap);
sub sql { return $node->safe_psql($db, $_[0]); }
mkdir "$disks/$_/space" foreach qw(data temp);
my $retry = q("retry_backoff_ms": 10, "retry_backoff_max_ms": 200);
sql("CREATE TABLESPACE small LOCATION '$disks/data/space'");
sql("CREATE TABLESPACE scratch LOCATION '$disks/temp/space'");
sql("ALTER SYSTEM SET temp_tablespaces = 'scratch'; ALTER SYSTEM SET work_mem = '64kB'");
$node->reload;
sql(<<SQL);
CREATE TABLE items (id int PRIMARY KEY, v text) TABLESPACE small;
CREATE TABLE log (id int, __offset bigint) TABLESPACE small;
CREATE TABLE sorted (id int PRIMARY KEY, v text);
CREATE TABLE hungry (id int PRIMARY KEY, v text);
CREATE TABLE calm (id int PRIMARY KEY, v text);
-- needs ten megabytes of temporary files
CREATE FUNCTION sorts() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM v FROM (SELECT md5(g::text) AS v FROM generate_series(1, 150000) g ORDER BY 1) s OFFSET 149999; RETURN NEW; END \$\$;
CREATE TRIGGER sorts BEFORE INSERT ON sorted FOR EACH ROW EXECUTE FUNCTION sorts();
ALTER TABLE sorted ENABLE ALWAYS TRIGGER sorts;
-- needs memory
CREATE FUNCTION eats() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN NEW.v := length(repeat('x', 200000000)); RETURN NEW; END \$\$;
CREATE TRIGGER eats BEFORE INSERT ON hungry FOR EACH ROW EXECUTE FUNCTION eats();
ALTER TABLE hungry ENABLE ALWAYS TRIGGER eats;
SELECT cdc_sink.create_subscription('items', 'kafka', options => '{$retry}');
SELECT cdc_sink.add_mapping('items', 'items', 'items');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{$retry, "on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('log', 'items', 'log', columns => '{"v": null}', options => '{"mode": "append"}');
SELECT cdc_sink.create_subscription('sorted', 'kafka', options => '{$retry, "on_error": "skip"}');
SELECT cdc_sink.add_mapping('sorted', 'sorted', 'sorted');
SELECT cdc_sink.create_subscription('hungry', 'kafka', options => '{$retry, "on_error": "dead_letter"}');
SELECT cdc_sink.add_mapping('hungry', 'hungry', 'hungry');
SELECT cdc_sink.create_subscription('calm', 'kafka', options => '{$retry}');
SELECT cdc_sink.add_mapping('calm', 'calm', 'calm');
SQL
my $next = 0;
sub put { my ($topic, $n) = @_; $broker->produce($topic, 0, map { inserted({ id => ++$next, v => 'v' x 500 }) } 1 .. $n); return; }

# --- data
put('items', 100);
ok_caught_up($node, $_, "$_: rows on the small disk") foreach qw(items log);
fill('data');
my $before = sql("SELECT next_offset FROM cdc_sink.position WHERE subscription = 'items'");
put('items', 3000);
wait_for_state($node, $_, qr/^retrying insufficient_resources$/) foreach qw(items log);
pass('fault 48: a full disk under the data is waited for, whatever on_error says');
like(last_error($node, 'items') . sql("SELECT string_agg(sqlstate || ' ' || message, ' ') FROM cdc_sink.pg_stat_cdc_sink_error"), qr/53100 could not extend file/, 'the error says which');
is(sql("SELECT next_offset <= count FROM cdc_sink.position, (SELECT count(*) FROM items) c WHERE subscription = 'items'"), 't', 'the position says no more than the table holds');
put('calm', 10);
ok_caught_up($node, 'calm', 'tables on other disks go on');
free('data');
ok_caught_up($node, $_, "fault 48: with room, $_ goes on by itself") foreach qw(items log);
is(sql('SELECT (SELECT count(*) FROM items), (SELECT concat(count(*), $$ $$, count(DISTINCT __offset)) FROM log), (SELECT count(*) FROM cdc_sink.dead_letter)'), '3100|3100 3100|0', 'nothing lost, nothing twice, no dead letter');

# --- temporary files
fill('temp');
put('sorted', 1);
wait_for_state($node, 'sorted', qr/^retrying insufficient_resources$/);
pass('fault 48: a full disk for temporary files is waited for');
is(sql("SELECT skipped FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 'sorted'"), '0', 'no record is skipped');
free('temp');
sql("ALTER SYSTEM SET work_mem = '64MB'");
$node->reload;
ok_caught_up($node, 'sorted', 'fault 48: with room it goes on');
is(sql('SELECT count(*) FROM sorted'), '1', 'and the row is there');

# --- memory: the worker may map only a little more than it has
my $pid = worker_pid($node, 'hungry');
my ($size) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+)/m;
system_or_bail('prlimit', "--pid=$pid", '--as=' . ($size + 60_000) * 1024 . ':');
put('hungry', 1);
wait_for_state($node, 'hungry', qr/^retrying insufficient_resources$/);
pass('fault 49: memory that is not to be had is waited for');
like(sql("SELECT string_agg(sqlstate || ' ' || message, ' ') FROM cdc_sink.pg_stat_cdc_sink_error WHERE subscription = 'hungry'"), qr/53200 out of memory/, 'the error says so');
system_or_bail('prlimit', "--pid=$pid", '--as=unlimited:');
ok_caught_up($node, 'hungry', 'fault 49: when there is some, it goes on');
is(sql('SELECT v FROM hungry'), '200000000', 'with its row');
is(worker_pid($node, 'hungry'), $pid, 'in the same process');
is(sql('SELECT count(*) FROM cdc_sink.dead_letter'), '0', 'and no dead letter');
$node->stop('fast');
ok_no_crash($node);

# --- WAL: the server falls, as PostgreSQL does; what it had committed is kept
my $wal = PostgreSQL::Test::Cluster->new('wal');
$wal->init(extra => [ '--wal-segsize=1', "--waldir=$disks/wal/pg_wal" ]);
$wal->append_conf('postgresql.conf', "shared_preload_libraries = 'cdc_sink'\nmax_worker_processes = 32\nmin_wal_size = 2MB\nmax_wal_size = 8MB\nfsync = on\nrestart_after_crash = on\n");
$wal->start;
$wal->safe_psql($db, 'CREATE EXTENSION cdc_sink; CREATE TABLE items (id int PRIMARY KEY, v text); CREATE TABLE log (id int, __offset bigint); CREATE TABLE more (v text)');
create_server($wal, $db, $broker->bootstrap);
fill('wal');
$wal->psql($db, <<'SQL');
SELECT cdc_sink.create_subscription('items', 'kafka', options => '{"batch_rows": 100, "synchronous_commit": "on"}');
SELECT cdc_sink.add_mapping('items', 'items', 'items');
SELECT cdc_sink.create_subscription('log', 'kafka', options => '{"batch_rows": 100, "synchronous_commit": "on"}');
SELECT cdc_sink.add_mapping('log', 'items', 'log', columns => '{"v": null}', options => '{"mode": "append"}');
SQL
# more than the segments that are there already
eval { $wal->psql($db, 'INSERT INTO more SELECT repeat(md5(g::text), 30) FROM generate_series(1, 50000) g') };
wait_for(sub { slurp_file($wal->logfile) =~ /No space left on device/ }, 'the disk of the WAL is full');
pass('fault 48: the server meets the full disk');
free('wal');
# it may be up again by itself, on its way, or down for good
wait_for(
	sub {
		# a psql that finds no server may be gone before it was told what to do
		return 1 if eval { ($wal->psql($db, 'SELECT 1'))[0] == 0 };
		unlink $wal->data_dir . '/postmaster.pid' unless -e $wal->data_dir . '/postmaster.pid' && kill(0, (split /\n/, slurp_file($wal->data_dir . '/postmaster.pid'))[0]);
		$wal->{_pid} = undef;
		$wal->start(fail_ok => 1) unless -e $wal->data_dir . '/postmaster.pid';
		return 0;
	},
	'the server runs again');
is($wal->safe_psql($db, 'SELECT count(*) FROM cdc_sink.subscription'), '2', 'the subscriptions are there');
ok_caught_up($wal, $_, "fault 48: with room for WAL, $_ goes on by itself") foreach qw(items log);
is($wal->safe_psql($db, 'SELECT (SELECT count(*) FROM items), (SELECT concat(count(*), $$ $$, count(DISTINCT __offset)) FROM log)'), '3100|3100 3100', 'nothing lost, nothing twice');
is(join("\n", slurp_file($wal->logfile) =~ /^(.*(?:PANIC|TRAP|terminated by signal (?!6)).*)$/mg) =~ s/^.*PANIC:  could not write to file "pg_wal.*\n?//mgr, '', 'nothing but the missing room ended a process');
$wal->stop('fast');
done_testing();
