# fault 51: on a standby nothing runs; at promotion everything does.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use CdcSink::Node;
use CdcSink::Workers;

my $db = 'postgres';
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'cdc_sink'\n");
$primary->start;
$primary->safe_psql($db, 'CREATE EXTENSION cdc_sink');
create_idle_subscription($primary, $db, 's');
wait_for_workers($primary, $db, 1);

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

is($standby->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdc_sink%'"), '0', 'no process of ours runs on a standby');
is($standby->safe_psql($db, 'SELECT count(*) FROM cdc_sink.pg_stat_cdc_sink_subscription'), '1', 'the views can be read there');
my ($rc, $out, $err) = $standby->psql($db, "\\set VERBOSITY verbose\nSELECT cdc_sink.wait_for_catchup('s')");
like($err, qr/55000: recovery is in progress/, 'waiting is refused there');

$primary->stop('fast');
$standby->promote;
ok($standby->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'"), 'promotion starts the launcher');
my ($pid) = wait_for_workers($standby, $db, 1);
ok($pid, 'and the workers');

done_testing();
