# fault 57: without shared_preload_libraries the extension loads and says what is missing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('not_preloaded');
$node->init;
$node->append_conf('postgresql.conf', "cdc_sink.max_workers = 3\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cdc_sink');
$node->safe_psql('postgres', <<'SQL');
CREATE SERVER nowhere FOREIGN DATA WRAPPER cdc_sink OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE TABLE t (id int PRIMARY KEY);
SQL

foreach my $call ("wait_for_catchup('s')", "wait_for_offset('s', 'topic', 0, 1)", "create_subscription('s', 'nowhere', enabled => true)",
	"check_server('nowhere')")
{
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT cdc_sink.$call");
	like($err, qr/55000: cdc_sink must be loaded via shared_preload_libraries\nHINT: .*shared_preload_libraries = 'cdc_sink'/,
		"$call names the setting");
}
is($node->safe_psql('postgres', <<'SQL'), "0\n0\n0\n0", 'the functions behind the views return nothing');
SELECT count(*) FROM cdc_sink.pg_stat_get_cdc_sink_subscription();
SELECT count(*) FROM cdc_sink.pg_stat_get_cdc_sink_partition();
SELECT count(*) FROM cdc_sink.pg_stat_get_cdc_sink_table();
SELECT count(*) FROM cdc_sink.pg_stat_get_cdc_sink_error();
SQL
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cdc_sink%'"), '0', 'no process runs');
unlike(slurp_file($node->logfile), qr/WARNING/, 'settings in postgresql.conf raise no warning');

# with it, the same database works
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cdc_sink'\n");
$node->restart;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cdc_sink launcher'"),
	'after the restart with the setting the launcher runs');
is($node->safe_psql('postgres', 'SHOW cdc_sink.max_workers'), '3', 'and the setting is in force');

done_testing();
