# fault 44: databases come and go: no command on a database fails because of us, and a database that is gone is forgotten.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use CdcSink::Node;
use CdcSink::Workers;

my $node = new_read_side('databases');
my $log = -s $node->logfile;

# --- CREATE DATABASE from a database that is scanned all the time
$node->safe_psql('postgres', 'CREATE DATABASE origin');
$node->safe_psql('origin', 'CREATE EXTENSION cdc_sink');
create_idle_subscription($node, 'origin', 's', ', enabled => false');
my $rounds = 20;
my $failed = 0;
foreach my $i (1 .. $rounds)
{
	# the commit has the launcher scan the database while it is copied
	$node->safe_psql('origin', "SELECT cdc_sink.alter_subscription('s', options => '{\"batch_rows\": $i}')");
	$failed++ if $node->psql('postgres', "CREATE DATABASE copy$i TEMPLATE origin");
}
is($failed, 0, "CREATE DATABASE TEMPLATE succeeds while the launcher looks into the database, $rounds times");

# --- DROP DATABASE of one that is scanned
foreach my $i (1 .. $rounds)
{
	$node->safe_psql("copy$i", "SELECT cdc_sink.alter_subscription('s', options => '{\"batch_rows\": 7}')");
	$failed++ if $node->psql('postgres', "DROP DATABASE copy$i");
}
is($failed, 0, 'and so does DROP DATABASE');

# --- a copy does not run by itself
$node->safe_psql('origin', "SELECT cdc_sink.enable_subscription('s')");
my ($pid) = wait_for_workers($node, 'origin', 1);
$node->safe_psql('origin', "SELECT cdc_sink.disable_subscription('s')");
$node->safe_psql('origin', "BEGIN; SELECT cdc_sink.enable_subscription('s'); COMMIT; SELECT cdc_sink.disable_subscription('s');");
$node->safe_psql('origin', "UPDATE cdc_sink.subscription SET enabled = true");
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE origin');
$node->safe_psql('copy', "SELECT cdc_sink.add_mapping('s', 'another', 'target')");
$node->safe_psql('copy', 'CREATE EXTENSION IF NOT EXISTS cdc_sink');
settle($node, 'copy');
is(scalar(worker_pids($node, 'copy')), 0, 'a subscription in a copy of its database does not run');
is($node->safe_psql('copy', "SELECT concat_ws(' ', state, state_reason) FROM cdc_sink.pg_stat_cdc_sink_subscription WHERE subscription = 's'"),
	'disabled restored', 'and says why');
$node->safe_psql('copy', "SELECT cdc_sink.enable_subscription('s')");
wait_for_workers($node, 'copy', 1);
pass('enable_subscription makes it run');

# --- DROP DATABASE against a worker
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE copy');
like($err, qr/being accessed by other users/, 'a worker is an ordinary session to DROP DATABASE');
my $start = time;
$node->safe_psql('postgres', 'DROP DATABASE copy WITH (FORCE)');
cmp_ok(time - $start, '<', 5, 'DROP DATABASE WITH (FORCE) takes less than 5 s');
settle($node, 'postgres');
is(scalar(worker_pids($node)), 0, 'nothing runs for a database that is gone');

# --- rename, and no connections
$node->safe_psql('origin', "SELECT cdc_sink.enable_subscription('s')");
wait_for_workers($node, 'origin', 1);
$node->safe_psql('origin', "SELECT cdc_sink.disable_subscription('s')");
$node->safe_psql('postgres', 'ALTER DATABASE origin RENAME TO renamed');
$node->safe_psql('renamed', "SELECT cdc_sink.enable_subscription('s')");
wait_for_workers($node, 'renamed', 1);
pass('a renamed database goes on');
$node->safe_psql('renamed', "SELECT cdc_sink.disable_subscription('s')");
$node->safe_psql('postgres', 'DROP DATABASE renamed');

my $text = slurp_file($node->logfile, $log);
my $strays = () = $text =~ /FATAL:  database ".*" does not exist/g;
cmp_ok($strays, '<=', 1, 'no process is started over and over for a database that is gone');
is(join("\n", $text =~ /^(.*launcher (?:FATAL|ERROR).*)$/mg), '', 'the launcher met no error');
ok_no_crash($node);

done_testing();
